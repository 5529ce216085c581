//! Keeping a lease while work goes on.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tidemark_catalog::CatalogError;
use tidemark_mover::Stop;

/// Several renewals fit into a lease, so that one slow commit does not lose it.
const RENEWAL: Duration = Duration::from_millis(500);

/// Why work was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interruption {
    /// Nobody told it.
    None,
    /// Somebody asked to cancel the job.
    Cancelled,
    /// Another worker may hold the job now: write nothing.
    LeaseLost,
}

/// A database that is away for a shorter time costs no lease: nobody else can have the job before that is
/// over. The lease lasts fifteen seconds.
const PATIENCE: Duration = Duration::from_secs(8);

/// Does `work` while `renew` keeps the lease; `renew` answers whether to cancel.
pub(crate) fn keep_lease<T>(
    shutdown: &Stop,
    renew: impl Fn() -> Result<bool, CatalogError> + Send,
    work: impl FnOnce(&Stop) -> T,
) -> (T, Interruption) {
    let stop = Stop::new();
    let for_work = stop.clone();
    let (done, is_done) = channel::<()>();
    std::thread::scope(|scope| {
        let beat = scope.spawn(move || {
            let mut interruption = Interruption::None;
            let mut renewed_at = Instant::now();
            while is_done.recv_timeout(RENEWAL) == Err(RecvTimeoutError::Timeout) {
                // What is renewed is so from this instant on, at least.
                let asked_at = Instant::now();
                match renew() {
                    Ok(false) => renewed_at = asked_at,
                    Ok(true) => interruption = Interruption::Cancelled,
                    Err(CatalogError::Database(error)) if renewed_at.elapsed() < PATIENCE => {
                        tracing::warn!(%error, "a lease could not be renewed, it is tried again");
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a lease could not be renewed");
                        interruption = Interruption::LeaseLost;
                    }
                }
                if interruption != Interruption::None || shutdown.is_requested() {
                    stop.request();
                }
            }
            interruption
        });
        let outcome = work(&for_work);
        drop(done);
        (outcome, beat.join().unwrap_or(Interruption::LeaseLost))
    })
}
