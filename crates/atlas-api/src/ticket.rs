//! The secret part of a download's link.
//!
//! It is made of the job's id with a key, so it is kept nowhere: whoever reads a copy of the
//! catalog's tables of jobs finds no link in it.

use tidemark_model::RestoreJobId;

use crate::api::Api;
use crate::token::Signer;

/// The ticket of a job.
pub(crate) fn token_of(signer: &Signer, job: RestoreJobId) -> String {
    signer.ticket(&job.to_string())
}

impl Api {
    /// Whether a text is the ticket of a job.
    pub fn is_ticket(&self, job: RestoreJobId, text: &str) -> bool {
        let ticket = token_of(&self.signer, job);
        let differs = ticket.bytes().zip(text.bytes()).fold(0, |found, (a, b)| found | (a ^ b));
        ticket.len() == text.len() && differs == 0
    }
}
