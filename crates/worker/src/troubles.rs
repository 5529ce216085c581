//! What is wrong at the moment: shown by the readiness endpoint until it is over.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something is damaged or late and needs a look; the rest works.
    Degraded,
    /// Work cannot be done or recorded.
    Failing,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, as a sentence.
    pub text: String,
}

/// Troubles by what they are about. Held for lookups.
#[derive(Default)]
pub(crate) struct Troubles(Mutex<BTreeMap<String, Trouble>>);

impl Troubles {
    /// Something is damaged or late.
    pub(crate) fn warn(&self, about: impl Into<String>, text: String) {
        self.set(about.into(), Trouble { severity: Severity::Degraded, text });
    }

    /// Work cannot be done.
    pub(crate) fn fail(&self, about: impl Into<String>, text: String) {
        self.set(about.into(), Trouble { severity: Severity::Failing, text });
    }

    fn set(&self, about: String, trouble: Trouble) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(about, trouble);
    }

    /// It is well again.
    pub(crate) fn clear(&self, about: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(about);
    }

    /// Notes how something went that is tried again and again.
    pub(crate) fn note<E: std::fmt::Display>(&self, about: &str, outcome: &Result<(), E>) {
        match outcome {
            Ok(()) => self.clear(about),
            Err(error) => self.fail(about, format!("{about}: {error}")),
        }
    }

    pub(crate) fn list(&self) -> Vec<Trouble> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
