//! Leases: who works on a job, and until when.

use jiff::{SignedDuration, Timestamp};

/// A worker, and the present.
#[derive(Debug, Clone)]
pub struct LeaseHolder {
    /// The worker's name; another after every start.
    pub worker: String,
    /// How long a lease lasts unless it is renewed.
    pub duration: SignedDuration,
}

impl LeaseHolder {
    pub(crate) fn until(&self, now: Timestamp) -> i64 {
        now.as_second().saturating_add(self.duration.as_secs())
    }
}

/// The proof that a worker holds a job: its attempt is the fencing token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim<I> {
    /// The job.
    pub id: I,
    /// Which attempt at the job this is.
    pub attempt: i64,
}

/// How much a job has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    /// Documents.
    pub documents: u64,
    /// Bytes of documents.
    pub bytes: u64,
}
