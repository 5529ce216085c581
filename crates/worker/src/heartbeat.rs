//! Keeping a lease while work goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidemark_catalog::CatalogError;
use tidemark_mover::Stop;

use crate::shared::Shared;

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

/// Does the work of a job of this kind while `renew` keeps its lease, and notes how long it took.
pub(crate) fn work_under_lease<T>(
    (shared, kind): (&Shared, &'static str),
    renew: impl Fn() -> Result<bool, CatalogError> + Send,
    work: impl FnOnce(&Stop) -> T,
) -> (T, Interruption) {
    let begun = Instant::now();
    let others_may_take_it = shared.config.membership.is_shared();
    let (outcome, interruption) = keep_lease((&shared.stop, others_may_take_it), renew, work);
    shared.figures.note(kind, begun.elapsed());
    if interruption == Interruption::LeaseLost {
        shared.figures.note_lost_lease();
    }
    (outcome, interruption)
}

/// Does `work` while `renew` keeps the lease; `renew` answers whether to cancel.
fn keep_lease<T>(
    (shutdown, others_may_take_it): (&Stop, bool),
    renew: impl Fn() -> Result<bool, CatalogError> + Send,
    work: impl FnOnce(&Stop) -> T,
) -> (T, Interruption) {
    let stop = Stop::new();
    let for_work = stop.clone();
    let (done, is_done) = channel::<()>();
    // Asking may take as long as a lost connection takes to be noticed: somebody else watches the time.
    let (watched, is_over) = channel::<()>();
    let renewed_at = Mutex::new(Instant::now());
    let is_lost = AtomicBool::new(false);
    let look = || *renewed_at.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        if others_may_take_it {
            let stop = stop.clone();
            let (look, is_lost) = (&look, &is_lost);
            scope.spawn(move || {
                while is_over.recv_timeout(RENEWAL) == Err(RecvTimeoutError::Timeout) {
                    if look().elapsed() >= PATIENCE {
                        is_lost.store(true, Ordering::SeqCst);
                        return stop.request();
                    }
                }
            });
        }
        let (renewed_at, is_lost) = (&renewed_at, &is_lost);
        let beat = scope.spawn(move || {
            let mut interruption = Interruption::None;
            let note = |at| *renewed_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
            while is_done.recv_timeout(RENEWAL) == Err(RecvTimeoutError::Timeout) {
                // What is renewed is so from this instant on, at least.
                let asked_at = Instant::now();
                match renew() {
                    Ok(false) => note(asked_at),
                    Ok(true) => interruption = Interruption::Cancelled,
                    Err(CatalogError::Database(error)) if look().elapsed() < PATIENCE => {
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
            if is_lost.load(Ordering::SeqCst) { Interruption::LeaseLost } else { interruption }
        });
        let outcome = work(&for_work);
        drop((done, watched));
        (outcome, beat.join().unwrap_or(Interruption::LeaseLost))
    })
}
