//! The secret part of a download's link.
//!
//! It is made of the job's id with a key, so it is kept nowhere: whoever reads a copy of the
//! catalog's tables of jobs finds no link in it.

use jiff::Timestamp;
use tidemark_catalog::RestoreJob;
use tidemark_model::{InstanceId, RestoreJobId, SnapshotId};

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
    let token = token_of(&api.signing.newest(), job.id);
    (!is_over).then(|| format!("{base_url}/download/{token}/{}", download.file))
}

/// A dump that may be uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportTicket {
    /// Whose snapshot it becomes.
    pub instance: InstanceId,
    /// The snapshot's id.
    pub snapshot: SnapshotId,
    /// Until when it is kept.
    pub expires_at: Timestamp,
}

impl ImportTicket {
    /// When the link was made.
    pub fn made_at(&self) -> Timestamp {
        let [a, b, c, d, ..] = self.snapshot.bytes();
        Timestamp::from_second(i64::from(u32::from_be_bytes([a, b, c, d])))
            .unwrap_or(Timestamp::MIN)
    }

    fn path(&self) -> String {
        format!("{}/{}/{}", self.instance, self.snapshot, self.expires_at.as_second())
    }

    fn token(&self, signer: &Signer) -> String {
        signer.ticket(&format!("import {}", self.path()))
    }

    /// The link below an address.
    pub(crate) fn link(&self, api: &Api, base_url: &str) -> String {
        let token = self.token(&api.signing.newest());
        format!("{base_url}/upload/{token}/{}", self.path())
    }
}

impl Api {
    /// Whether a text is the ticket of a job. The records may be asked: whoever calls may wait.
    pub fn is_ticket(&self, job: RestoreJobId, text: &str) -> bool {
        let check = |signer: &Signer| is_same(&token_of(signer, job), text).then_some(());
        self.signing.check(check).is_some()
    }

    /// Whether a text is the token of a dump that may be uploaded. The records may be asked, too.
    pub fn is_import_ticket(&self, ticket: &ImportTicket, text: &str) -> bool {
        let check = |signer: &Signer| is_same(&ticket.token(signer), text).then_some(());
        self.signing.check(check).is_some()
    }
}

/// Whether two texts are the same, in a time that does not say where they differ.
fn is_same(ticket: &str, text: &str) -> bool {
    let differs = ticket.bytes().zip(text.bytes()).fold(0, |found, (a, b)| found | (a ^ b));
    ticket.len() == text.len() && differs == 0
}
