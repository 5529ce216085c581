//! Stopping work in progress, and saying how far it is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::MoverError;

/// A wish to stop that all threads of one job share.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A wish that nobody has yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody asked.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// An error once somebody asked; called between two pieces of work.
    pub fn check(&self) -> Result<(), MoverError> {
        if self.is_requested() { Err(MoverError::Stopped) } else { Ok(()) }
    }
}

/// How much a job has moved so far, and of what. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Moved>);

#[derive(Debug, Default)]
struct Moved {
    documents: AtomicU64,
    bytes: AtomicU64,
    /// Bytes that are to be moved; 0 while that is not known.
    total: AtomicU64,
    /// What is being moved. Held for a look.
    namespace: Mutex<Option<String>>,
    /// When the rate was looked at last, at how many bytes, and what it was. Held for a look.
    rate: Mutex<Option<(Instant, u64, u64)>>,
}

/// A rate is of so much time at least.
const RATE_INTERVAL: Duration = Duration::from_secs(1);

impl Progress {
    /// Notes that this much was moved.
    pub fn add(&self, documents: u64, bytes: u64) {
        self.0.documents.fetch_add(documents, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes how many bytes there are to move.
    pub fn expect(&self, bytes: u64) {
        self.0.total.store(bytes, Ordering::Relaxed);
    }

    /// Notes what is being moved.
    pub fn enter(&self, namespace: &str) {
        *self.0.namespace.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(namespace.to_owned());
    }

    /// Documents moved so far.
    pub fn documents(&self) -> u64 {
        self.0.documents.load(Ordering::Relaxed)
    }

    /// Bytes moved so far.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that are to be moved; 0 while that is not known.
    pub fn total(&self) -> u64 {
        self.0.total.load(Ordering::Relaxed)
    }

    /// What is being moved.
    pub fn namespace(&self) -> Option<String> {
        self.0.namespace.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes that were moved in a second, since it was asked last or a second before that.
    pub fn bytes_per_second(&self) -> u64 {
        let mut rate = self.0.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, bytes) = (Instant::now(), self.bytes());
        let Some((then, before, last)) = *rate else {
            *rate = Some((now, bytes, 0));
            return 0;
        };
        let passed = now.saturating_duration_since(then);
        if passed < RATE_INTERVAL {
            return last;
        }
        let milliseconds = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
        let present = bytes.saturating_sub(before).saturating_mul(1_000) / milliseconds;
        *rate = Some((now, bytes, present));
        present
    }
}
