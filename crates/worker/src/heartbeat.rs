//! Keeping a lease while work goes on.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tidemark_catalog::CatalogError;
use tidemark_mover::Stop;

/// Several renewals fit into a lease, so that one slow commit does not lose it.
const RENEWAL: Duration = Duration::from_millis(500);

/// Where the catalog does not answer a lease is taken for lost after so long, well before it ends.
const PATIENCE: Duration = Duration::from_secs(15);

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
            let mut renewed_at = Instant::now();
            while is_done.recv_timeout(RENEWAL) == Err(RecvTimeoutError::Timeout) {
                match renew() {
                    Ok(false) => renewed_at = Instant::now(),
                    Ok(true) => interruption = Interruption::Cancelled,
                    // A database that is away for a moment takes no lease: nobody else gets it.
                    Err(CatalogError::Database(error)) if renewed_at.elapsed() < PATIENCE => {
                        tracing::warn!(%error, "a lease could not be renewed; it is tried again");
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tidemark_catalog::DatabaseError;

    use super::*;

    fn interruption(answers: &[fn() -> Result<bool, CatalogError>]) -> Interruption {
        let asked = AtomicU32::new(0);
        let renew = || {
            let number = asked.fetch_add(1, Ordering::SeqCst) as usize;
            answers.get(number).map_or(Ok(false), |answer| answer())
        };
        let work = |stop: &Stop| {
            while asked.load(Ordering::SeqCst) as usize <= answers.len() && !stop.is_requested() {
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        keep_lease(&Stop::new(), renew, work).1
    }

    #[test]
    fn a_catalog_that_is_away_for_a_moment_takes_no_lease() {
        let away = || Err(CatalogError::Database(DatabaseError::NoRow));
        let lost = || Err(CatalogError::LeaseLost("job".to_owned()));
        assert_eq!(interruption(&[away, away]), Interruption::None);
        assert_eq!(interruption(&[away, lost]), Interruption::LeaseLost);
        assert_eq!(interruption(&[|| Ok(false), || Ok(true)]), Interruption::Cancelled);
    }
}
