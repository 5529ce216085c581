//! Stopping work in progress, and saying how far it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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

/// How much a job has moved so far.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    documents: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Progress {
    /// Notes that this much was moved.
    pub fn add(&self, documents: u64, bytes: u64) {
        self.documents.fetch_add(documents, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Documents moved so far.
    pub fn documents(&self) -> u64 {
        self.documents.load(Ordering::Relaxed)
    }

    /// Bytes moved so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
