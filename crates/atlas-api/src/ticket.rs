//! The secret part of a download's link.
//!
//! It is made of the job's id with a key, so it is kept nowhere: whoever reads a copy of the
//! catalog's tables of jobs finds no link in it.

use jiff::Timestamp;
use tidemark_catalog::RestoreJob;
use tidemark_model::RestoreJobId;

use crate::api::Api;
use crate::token::Signer;

/// The ticket of a job.
pub(crate) fn token_of(signer: &Signer, job: RestoreJobId) -> String {
    signer.ticket(&job.to_string())
}

/// The link of a download below an address, whether its file is there yet or not; nothing once it is
/// over.
pub(crate) fn link_of(
    api: &Api,
    base_url: &str,
    (job, now): (&RestoreJob, Timestamp),
) -> Option<String> {
    let download = job.download.as_ref()?;
    let is_over = download.expires_at.is_some_and(|end| end <= now)
        || (job.state.is_final() && download.expires_at.is_none());
    let token = token_of(&api.signer, job.id);
    (!is_over).then(|| format!("{base_url}/download/{token}/{}", download.file))
}

impl Api {
    /// Whether a text is the ticket of a job.
    pub fn is_ticket(&self, job: RestoreJobId, text: &str) -> bool {
        let ticket = token_of(&self.signer, job);
        let differs = ticket.bytes().zip(text.bytes()).fold(0, |found, (a, b)| found | (a ^ b));
        ticket.len() == text.len() && differs == 0
    }
}
