//! When what has to be done from time to time is due.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time between two looks at the vault.
const INTERVAL: Duration = Duration::from_secs(20);
/// Time between two trims of all oplogs.
const TRIM_INTERVAL: Duration = Duration::from_secs(30);
/// Packs that were young become old enough to be removed.
const PRUNE_INTERVAL: Duration = Duration::from_hours(24);

/// When what was done last. Held for a look at the clock.
#[derive(Default)]
pub(crate) struct Due(Mutex<Times>);

#[derive(Default)]
struct Times {
    look: Option<Instant>,
    trim: Option<Instant>,
    prune: Option<Instant>,
}

impl Due {
    fn lock(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for pruning: something was removed that needed packs.
    pub(crate) fn want_pruning(&self) {
        let mut times = self.lock();
        times.prune = None;
        times.look = None;
    }

    /// Whether oplogs are to be trimmed again.
    pub(crate) fn is_trimming_due(&self) -> bool {
        let mut times = self.lock();
        let is_due = times.trim.is_none_or(|at| at.elapsed() >= TRIM_INTERVAL);
        if is_due {
            times.trim = Some(Instant::now());
        }
        is_due
    }

    /// Whether the vault is to be looked at again.
    pub(crate) fn is_look_due(&self) -> bool {
        let mut times = self.lock();
        let is_due = times.look.is_none_or(|at| at.elapsed() >= INTERVAL);
        if is_due {
            times.look = Some(Instant::now());
        }
        is_due
    }

    /// Whether packs are to be removed again; it stays so until that is done.
    pub(crate) fn is_pruning_due(&self) -> bool {
        self.lock().prune.is_none_or(|at| at.elapsed() >= PRUNE_INTERVAL)
    }

    /// Notes that packs were removed just now.
    pub(crate) fn note_pruning(&self) {
        self.lock().prune = Some(Instant::now());
    }
}
