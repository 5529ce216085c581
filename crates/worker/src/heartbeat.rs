//! Keeping a lease while work goes on.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

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
            while is_done.recv_timeout(RENEWAL) == Err(RecvTimeoutError::Timeout) {
                match renew() {
                    Ok(false) => {}
                    Ok(true) => interruption = Interruption::Cancelled,
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
