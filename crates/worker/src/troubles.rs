//! What is wrong at the moment: shown by the readiness endpoint until it is over.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Troubles by what they are about.
#[derive(Default)]
pub(crate) struct Troubles(Mutex<BTreeMap<String, String>>);

impl Troubles {
    /// Something is wrong.
    pub(crate) fn set(&self, about: impl Into<String>, text: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(about.into(), text);
    }

    /// It is well again.
    pub(crate) fn clear(&self, about: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(about);
    }

    /// Notes how something went that is tried again and again.
    pub(crate) fn note<E: std::fmt::Display>(&self, about: &str, outcome: &Result<(), E>) {
        match outcome {
            Ok(()) => self.clear(about),
            Err(error) => self.set(about, format!("{about}: {error}")),
        }
    }

    pub(crate) fn list(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
