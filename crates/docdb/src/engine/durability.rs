//! How far the store is behind the transactions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemark_model::OplogTime;
use tidemark_store::Batch;

use crate::error::{Code, CommandError, Result};

/// How far the store is behind the transactions.
pub(super) struct Durability {
    pub(super) durable: OplogTime,
    pub(super) is_committing: bool,
    /// The group that is being committed; transactions see it although readers do not.
    pub(super) committing: Option<Arc<Batch>>,
    /// Positions that failed: after the first, through the second.
    pub(super) failed: Vec<(OplogTime, OplogTime)>,
    /// The writer's state is ahead of the store and must be read again.
    pub(super) is_stale: bool,
}

impl Durability {
    pub(super) fn new(durable: OplogTime) -> Self {
        Self {
            durable,
            is_committing: false,
            committing: None,
            failed: Vec::new(),
            is_stale: false,
        }
    }

    pub(super) fn outcome(&self, at: OplogTime) -> Option<Result<()>> {
        if self.failed.iter().any(|(after, through)| at > *after && at <= *through) {
            return Some(Err(not_written()));
        }
        (self.durable >= at).then_some(Ok(()))
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere does not make the state wrong: it changes only as a whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn not_written() -> CommandError {
    let text = "the write did not reach the disk and is undone; see the server's log, free space \
                on the disk and try again";
    CommandError::new(Code::OutOfDiskSpace, text)
}
