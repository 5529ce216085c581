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
    /// For how long snapshots of attached deployments may be made in the vault, of the one before and the
    /// captured oplog, until a deployment is read again; zero for never.
    pub full_read_interval: SignedDuration,
    /// How long snapshots and oplog of a deleted instance are kept.
    pub retention_after_delete: SignedDuration,
}

impl Default for BackupPolicy {
    /// What Atlas promised for serverless instances: every six hours, kept for 35 days, and
    /// continuous restore over the last 72 hours. Attached deployments are read once a week.
    fn default() -> Self {
        Self {
            snapshot_interval: SignedDuration::from_hours(6),
            snapshot_retention: SignedDuration::from_hours(35 * 24),
            oplog_retention: SignedDuration::from_hours(72),
            full_read_interval: SignedDuration::from_hours(7 * 24),
            retention_after_delete: SignedDuration::from_hours(7 * 24),
        }
    }
}
