//! How often snapshots are taken and how long they are kept.

use jiff::SignedDuration;

/// The backup policy of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupPolicy {
    /// Time between two scheduled snapshots.
    pub snapshot_interval: SignedDuration,
    /// How long a snapshot is kept after it was taken.
    pub snapshot_retention: SignedDuration,
    /// How far back the captured oplog reaches.
    pub oplog_retention: SignedDuration,
    /// How long snapshots and oplog of a deleted instance are kept.
    pub retention_after_delete: SignedDuration,
}

impl Default for BackupPolicy {
    /// What Atlas promised for serverless instances: every six hours, kept for 35 days, and
    /// continuous restore over the last 72 hours.
    fn default() -> Self {
        Self {
            snapshot_interval: SignedDuration::from_hours(6),
            snapshot_retention: SignedDuration::from_hours(35 * 24),
            oplog_retention: SignedDuration::from_hours(72),
            retention_after_delete: SignedDuration::from_hours(7 * 24),
        }
    }
}
