//! What snapshots and restore jobs have in common: a claim, a heartbeat, an outcome that must be
//! recorded.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tidemark_catalog::{CatalogError, Done};
use tidemark_mover::Progress;

use crate::shared::Shared;

/// A job that fails for a passing reason is tried again this often.
pub(crate) const ATTEMPTS: i64 = 5;
/// The wait before the second try; the next ones wait twice as long each.
const FIRST_WAIT_SECONDS: i64 = 2;
/// Between two tries to record an outcome.
const RECORD_WAIT: Duration = Duration::from_secs(1);

/// How far a job is, as it is recorded.
pub(crate) fn done_of(progress: &Progress) -> Done {
    Done {
        documents: progress.documents(),
        bytes: progress.bytes(),
        total_bytes: progress.total(),
        bytes_per_second: progress.bytes_per_second(),
        namespace: progress.namespace(),
    }
}

/// When a job is tried again that was given back now, after so many attempts.
pub(crate) fn next_try(now: Timestamp, attempt: i64) -> Timestamp {
    let wait = FIRST_WAIT_SECONDS << (attempt - 1).clamp(0, 6);
    now.saturating_add(SignedDuration::from_secs(wait)).unwrap_or(now)
}

/// Does work; a panic is answered as its text.
pub(crate) fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .map_err(|panic| panic_text(panic.as_ref()))
}

/// Records how a job ended, again and again until it is recorded, the lease is lost or the server
/// stops: a disk that is full for a while must not leave the job without an end.
pub(crate) fn record_until_done(
    shared: &Shared,
    what: &str,
    record: impl Fn() -> Result<(), CatalogError>,
) -> Result<(), CatalogError> {
    loop {
        let outcome = record();
        shared.troubles.note(what, &outcome);
        match outcome {
            Err(CatalogError::Database(error)) if !shared.stop.is_requested() => {
                tracing::warn!(%error, what, "an outcome could not be recorded, it is tried again");
                std::thread::sleep(RECORD_WAIT);
            }
            outcome => {
                shared.troubles.clear(what);
                return outcome;
            }
        }
    }
}

/// What a panic says.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
