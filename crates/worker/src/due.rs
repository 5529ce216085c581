//! When what has to be done from time to time is due.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time between two looks at the vault.
const INTERVAL: Duration = Duration::from_secs(20);
/// Time between two trims of all oplogs.
const TRIM_INTERVAL: Duration = Duration::from_secs(30);
/// Time between two merges, and two trims, where every request has its price.
const PAID_INTERVAL: Duration = Duration::from_hours(1);
/// Time between two looks for old files in a vault where every request has its price.
const FILES_INTERVAL: Duration = Duration::from_mins(10);
/// Packs that were young become old enough to be removed.
const PRUNE_INTERVAL: Duration = Duration::from_hours(24);

/// When what is due.
#[derive(Default)]
pub(crate) struct Due {
    /// Whether requests to the vault have their price.
    is_paid: bool,
    /// When what was done last. Held for a look at the clock.
    times: Mutex<Times>,
}

#[derive(Default)]
struct Times {
    look: Option<Instant>,
    promise: Option<Instant>,
    merge: Option<Instant>,
    tidy: Option<Instant>,
    files: Option<Instant>,
    trim: Option<Instant>,
    /// By the name of the vault.
    prune: HashMap<Option<String>, Instant>,
}

impl Due {
    pub(crate) fn new(is_paid: bool) -> Self {
        Self { is_paid, times: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for pruning: something was removed that needed packs.
    pub(crate) fn want_pruning(&self) {
        let mut times = self.lock();
        times.prune.clear();
        times.look = None;
    }

    /// Whether oplogs are to be trimmed again.
    pub(crate) fn is_trimming_due(&self) -> bool {
        let interval = if self.is_paid { PAID_INTERVAL } else { TRIM_INTERVAL };
        take_turn(&mut self.lock().trim, interval)
    }

    /// Whether what nodes left behind is to be forgotten again.
    pub(crate) fn is_tidying_due(&self) -> bool {
        take_turn(&mut self.lock().tidy, TRIM_INTERVAL)
    }

    /// Whether old files are to be looked for in the vault again.
    pub(crate) fn is_removing_files_due(&self) -> bool {
        take_turn(&mut self.lock().files, FILES_INTERVAL)
    }

    /// Whether segments are to be merged again.
    pub(crate) fn is_merging_due(&self) -> bool {
        let interval = if self.is_paid { PAID_INTERVAL } else { Duration::ZERO };
        take_turn(&mut self.lock().merge, interval)
    }

    /// Whether what was promised to be kept is to be looked at again.
    pub(crate) fn is_promise_due(&self) -> bool {
        take_turn(&mut self.lock().promise, PAID_INTERVAL)
    }

    /// Whether the vault is to be looked at again.
    pub(crate) fn is_look_due(&self) -> bool {
        take_turn(&mut self.lock().look, INTERVAL)
    }

    /// Whether packs are to be removed again from a vault; it stays so until that is done.
    pub(crate) fn is_pruning_due(&self, vault: Option<&str>) -> bool {
        let last = self.lock().prune.get(&vault.map(str::to_owned)).copied();
        last.is_none_or(|at| at.elapsed() >= PRUNE_INTERVAL)
    }

    /// Notes that packs were removed just now.
    pub(crate) fn note_pruning(&self, vault: Option<&str>) {
        self.lock().prune.insert(vault.map(str::to_owned), Instant::now());
    }
}

/// Whether it is time again; then the time until the next one begins.
fn take_turn(last: &mut Option<Instant>, interval: Duration) -> bool {
    let is_due = last.is_none_or(|at| at.elapsed() >= interval);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}
