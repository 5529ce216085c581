//! What a state machine refuses.

use std::fmt::Debug;

/// An event that the present state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {what} that is {state} cannot take the event {event}")]
pub struct InvalidTransition {
    /// What is in the state.
    pub what: &'static str,
    /// The state's word.
    pub state: &'static str,
    /// The event.
    pub event: String,
}

impl InvalidTransition {
    pub(crate) fn new(what: &'static str, state: &'static str, event: &impl Debug) -> Self {
        Self { what, state, event: format!("{event:?}") }
    }
}
