//! Snapshots: how they came about and where they stand.

use crate::OplogTime;

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
        finished_at: jiff::Timestamp,
        /// The position in the oplog that the data shows; `None` when the deployment has no oplog.
        consistent_at: Option<OplogTime>,
        /// Bytes of documents that it holds.
        size_bytes: u64,
    },
    /// It could not be taken.
    Failed {
        /// When it was given up.
        finished_at: jiff::Timestamp,
        /// What went wrong and what the operator can do.
        reason: String,
    },
}

impl SnapshotState {
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
    pub fn finished_at(&self) -> Option<jiff::Timestamp> {
        match self {
            Self::Queued | Self::InProgress => None,
            Self::Completed { finished_at, .. } | Self::Failed { finished_at, .. } => {
                Some(*finished_at)
            }
        }
    }
}
