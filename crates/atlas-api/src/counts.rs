//! How often each operation was asked for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Requests since the start, by the id of the operation. Held for one step of a count.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<HashMap<&'static str, u64>>);

impl Counts {
    /// Counts a request.
    pub(crate) fn note(&self, operation: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(operation).or_default() += 1;
    }

    /// Requests to an operation.
    pub(crate) fn of(&self, operation: &str) -> u64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(operation).copied().unwrap_or_default()
    }
}
