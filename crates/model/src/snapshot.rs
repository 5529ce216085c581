//! Snapshots: how they came about and where they stand.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::transition::InvalidTransition;
use crate::{Failure, OplogTime, SnapshotId};

/// Why a snapshot was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotKind {
    /// By the schedule.
    Scheduled,
    /// Because somebody asked.
    OnDemand,
}

impl SnapshotKind {
    /// The word that the API and the catalog use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::OnDemand => "onDemand",
        }
    }

    /// The kind with this word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Scheduled, Self::OnDemand].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Where a snapshot stands, with the facts that hold there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotState {
    /// Wanted; nobody works on it yet.
    Queued,
    /// A worker reads the deployment.
    InProgress,
    /// Its manifest is in the vault.
    Completed {
        /// When the manifest was written.
        finished_at: Timestamp,
        /// The position in the oplog that the data shows; `None` when the deployment has no oplog.
        consistent_at: Option<OplogTime>,
        /// Bytes of documents that it holds.
        size_bytes: u64,
    },
    /// It could not be taken.
    Failed {
        /// When it was given up.
        finished_at: Timestamp,
        /// What went wrong and what the operator can do.
        failure: Failure,
    },
}

/// How a snapshot that was read compares with what would have been made in the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// Of which snapshot it would have been made.
    pub with: SnapshotId,
    /// What is different, one sentence each; none is how it should be.
    pub differences: Vec<String>,
}

/// What can happen to a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotEvent {
    /// A worker takes it up, the first one or one after that.
    Claimed,
    /// Its manifest was written.
    Stored {
        /// When.
        at: Timestamp,
        /// The position in the oplog that the data shows; `None` when the deployment has no oplog.
        consistent_at: Option<OplogTime>,
        /// Bytes of documents that it holds.
        size_bytes: u64,
    },
    /// It cannot be taken.
    GivenUp {
        /// When.
        at: Timestamp,
        /// Why, and what the operator can do.
        failure: Failure,
    },
}

impl SnapshotState {
    /// The state after `event`.
    pub fn after(&self, event: SnapshotEvent) -> Result<Self, InvalidTransition> {
        match (self, event) {
            (Self::Queued | Self::InProgress, SnapshotEvent::Claimed) => Ok(Self::InProgress),
            (Self::InProgress, SnapshotEvent::Stored { at, consistent_at, size_bytes }) => {
                Ok(Self::Completed { finished_at: at, consistent_at, size_bytes })
            }
            (Self::InProgress, SnapshotEvent::GivenUp { at, failure }) => {
                Ok(Self::Failed { finished_at: at, failure })
            }
            (state, event) => Err(InvalidTransition::new("snapshot", state.as_str(), &event)),
        }
    }

    /// The word that the API and the catalog use.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "inProgress",
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether nothing more will happen.
    pub fn is_final(&self) -> bool {
        self.finished_at().is_some()
    }

    /// When it ended, if it did.
    pub fn finished_at(&self) -> Option<Timestamp> {
        match self {
            Self::Queued | Self::InProgress => None,
            Self::Completed { finished_at, .. } | Self::Failed { finished_at, .. } => {
                Some(*finished_at)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_taken_by_who_claimed_it_and_ends_once() {
        let at = Timestamp::UNIX_EPOCH;
        let stored = SnapshotEvent::Stored { at, consistent_at: None, size_bytes: 1 };
        let given_up =
            SnapshotEvent::GivenUp { at, failure: Failure::new(crate::Cause::Disk, "x") };
        assert!(SnapshotState::Queued.after(stored.clone()).is_err());
        let taken = SnapshotState::Queued.after(SnapshotEvent::Claimed).unwrap();
        assert_eq!(taken.after(SnapshotEvent::Claimed), Ok(SnapshotState::InProgress));
        for end in [taken.after(stored.clone()).unwrap(), taken.after(given_up.clone()).unwrap()] {
            assert!(end.is_final());
            for event in [SnapshotEvent::Claimed, stored.clone(), given_up.clone()] {
                assert!(end.after(event).is_err());
            }
        }
    }
}
