//! How long jobs took on this node, and how often it lost a lease, since it started.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the durations that are counted together, in seconds.
pub const BOUNDS: [u64; 10] = [1, 5, 15, 60, 300, 900, 3_600, 14_400, 43_200, 86_400];

/// Durations of jobs of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Durations {
    /// How many took no longer than each bound.
    pub within: [u64; BOUNDS.len()],
    /// How many there were.
    pub count: u64,
    /// Seconds of all of them.
    pub seconds: f64,
}

/// Figures of a worker.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// By the kind of job. Held for one step.
    durations: Mutex<BTreeMap<&'static str, Durations>>,
    leases_lost: AtomicU64,
}

impl Figures {
    /// Notes that an attempt of a job ended, well or not.
    pub(crate) fn note(&self, kind: &'static str, took: Duration) {
        let mut all = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.entry(kind).or_default();
        for (count, bound) in found.within.iter_mut().zip(BOUNDS) {
            *count += u64::from(took <= Duration::from_secs(bound));
        }
        found.count += 1;
        found.seconds += took.as_secs_f64();
    }

    /// Notes that another node took a job, or may have.
    pub(crate) fn note_lost_lease(&self) {
        self.leases_lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn durations(&self) -> BTreeMap<&'static str, Durations> {
        self.durations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn leases_lost(&self) -> u64 {
        self.leases_lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_under_every_bound_that_they_keep() {
        let figures = Figures::default();
        for seconds in [0, 5, 6, 100_000] {
            figures.note("snapshot", Duration::from_secs(seconds));
        }
        let found = figures.durations()["snapshot"];
        assert_eq!((found.within[..4].to_vec(), found.count), (vec![1, 2, 3, 3], 4));
        assert!((found.seconds - 100_011.0).abs() < 0.001);
    }
}
