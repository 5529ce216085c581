//! Instances: their names and the states that clients wait for.

use std::fmt;
use std::str::FromStr;

use crate::transition::InvalidTransition;

/// The longest name that is accepted, in characters (Atlas's limit for cluster names).
const LONGEST_NAME: usize = 64;

/// An instance's name: ASCII letters, digits and hyphens, not starting with a hyphen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceName(String);

/// Why a text is not an instance name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InstanceNameError {
    /// A character outside of letters, digits and hyphens, or a hyphen first, or nothing.
    #[error(
        "a name starts with a letter or digit and holds only ASCII letters, digits and hyphens"
    )]
    Invalid,
    /// More characters than a name may have.
    #[error("a name has at most {LONGEST_NAME} characters")]
    TooLong,
}

impl InstanceName {
    /// The limit in characters.
    pub const LONGEST: usize = LONGEST_NAME;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InstanceName {
    type Err = InstanceNameError;

    fn from_str(text: &str) -> Result<Self, InstanceNameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || !text.chars().all(allowed) {
            return Err(InstanceNameError::Invalid);
        }
        if text.len() > LONGEST_NAME {
            return Err(InstanceNameError::TooLong);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceState {
    /// Wanted, but its database is not up yet.
    Creating,
    /// Ready.
    Idle,
    /// A change was accepted and is being carried out.
    Updating,
    /// It should be ready, but its database cannot be started, or its data is gone.
    Repairing,
    /// To be removed.
    Deleting,
    /// Gone; the row stays so that its snapshots and jobs keep an owner.
    Deleted,
}

/// What can happen to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceEvent {
    /// Its database is up, and nothing waits to be done to it.
    Served,
    /// Its database is up again.
    Repaired,
    /// A change was accepted, or a restore into it begins.
    ChangeBegun,
    /// Its database cannot be started, or its data is gone.
    Unserved,
    /// It begins anew, without the data that it has lost.
    BegunAnew,
    /// It is to be removed.
    DeleteAsked,
    /// Its database is gone.
    Removed,
}

impl InstanceState {
    /// The state after `event`.
    pub fn after(self, event: InstanceEvent) -> Result<Self, InvalidTransition> {
        use InstanceEvent::{
            BegunAnew, ChangeBegun, DeleteAsked, Removed, Repaired, Served, Unserved,
        };
        match (self, event) {
            (Self::Creating | Self::Updating, Served) | (Self::Repairing, Repaired) => {
                Ok(Self::Idle)
            }
            (Self::Idle | Self::Updating, ChangeBegun) => Ok(Self::Updating),
            (Self::Idle | Self::Updating | Self::Repairing, Unserved) => Ok(Self::Repairing),
            (Self::Repairing, BegunAnew) => Ok(Self::Updating),
            (Self::Creating | Self::Idle | Self::Updating | Self::Repairing, DeleteAsked) => {
                Ok(Self::Deleting)
            }
            (Self::Deleting, Removed) => Ok(Self::Deleted),
            (state, event) => Err(InvalidTransition::new("instance", state.as_str(), &event)),
        }
    }

    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Creating,
        Self::Idle,
        Self::Updating,
        Self::Repairing,
        Self::Deleting,
        Self::Deleted,
    ];

    /// Whether its database is up, as far as is known.
    pub fn runs(self) -> bool {
        matches!(self, Self::Idle | Self::Updating)
    }

    /// The word that the API and the catalog use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Idle => "IDLE",
            Self::Updating => "UPDATING",
            Self::Repairing => "REPAIRING",
            Self::Deleting => "DELETING",
            Self::Deleted => "DELETED",
        }
    }

    /// The state with this word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_that_is_to_be_removed_is_nothing_else_any_more() {
        use InstanceEvent::{BegunAnew, ChangeBegun, DeleteAsked, Removed, Served, Unserved};
        for event in
            [Served, ChangeBegun, Unserved, BegunAnew, DeleteAsked, InstanceEvent::Repaired]
        {
            assert!(InstanceState::Deleting.after(event).is_err(), "{event:?}");
            assert!(InstanceState::Deleted.after(event).is_err(), "{event:?}");
        }
        for state in InstanceState::ALL {
            let is_going = state == InstanceState::Deleting;
            assert_eq!(state.after(Removed).is_ok(), is_going, "{state:?}");
        }
        assert_eq!(InstanceState::Creating.after(ChangeBegun).ok(), None);
        assert_eq!(InstanceState::Creating.after(Unserved).ok(), None, "it is tried again");
    }

    #[test]
    fn names_follow_the_published_pattern() {
        for good in ["a", "Cluster0", "my-instance-1"] {
            assert!(good.parse::<InstanceName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a_b", "a b", "é", "a/b"] {
            assert_eq!(bad.parse::<InstanceName>(), Err(InstanceNameError::Invalid), "{bad}");
        }
        assert_eq!("a".repeat(65).parse::<InstanceName>(), Err(InstanceNameError::TooLong));
    }
}
