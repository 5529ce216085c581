//! Restore jobs: what is asked for, the steps, and the one function that changes their state.

use jiff::Timestamp;

use crate::transition::InvalidTransition;
use crate::{Failure, InstanceId, OplogTime, SnapshotId};

/// The moment that a point-in-time restore shall show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointInTime {
    /// Everything that was written up to the end of this second.
    Second(u32),
    /// Everything up to this oplog entry, the entry included.
    Entry(OplogTime),
}

impl PointInTime {
    /// The last oplog position that belongs to the restored state.
    pub fn last_position(self) -> OplogTime {
        match self {
            Self::Second(seconds) => OplogTime::end_of_second(seconds),
            Self::Entry(position) => position,
        }
    }
}

/// What of an instance's backups is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupPoint {
    /// A snapshot.
    Snapshot(SnapshotId),
    /// A moment; made from this snapshot on, if one is named.
    Moment(PointInTime, Option<SnapshotId>),
}

/// What a restore job delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The snapshot replaces the data of the target instance.
    Automated {
        /// The snapshot to restore.
        snapshot: SnapshotId,
        /// The instance whose data is replaced.
        target: InstanceId,
    },
    /// A snapshot, or the state at a moment after it, becomes a file behind a link.
    Download {
        /// The snapshot to hand out.
        snapshot: SnapshotId,
        /// The moment; `None` for the snapshot as it is.
        moment: Option<PointInTime>,
    },
    /// The state at a moment replaces the data of the target instance.
    PointInTime {
        /// The moment.
        moment: PointInTime,
        /// The newest snapshot not after the moment; replay starts there.
        base: SnapshotId,
        /// The instance whose data is replaced.
        target: InstanceId,
    },
}

impl Delivery {
    /// The word that the API and the catalog use.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Automated { .. } => "automated",
            Self::Download { .. } => "download",
            Self::PointInTime { .. } => "pointInTime",
        }
    }

    /// The snapshot that is read.
    pub fn snapshot(&self) -> SnapshotId {
        match self {
            Self::Automated { snapshot, .. } | Self::Download { snapshot, .. } => *snapshot,
            Self::PointInTime { base, .. } => *base,
        }
    }

    /// What of the backups is read.
    pub fn point(&self) -> BackupPoint {
        match *self {
            Self::Automated { snapshot, .. } | Self::Download { snapshot, moment: None } => {
                BackupPoint::Snapshot(snapshot)
            }
            Self::Download { snapshot, moment: Some(moment) } => {
                BackupPoint::Moment(moment, Some(snapshot))
            }
            Self::PointInTime { moment, base, .. } => BackupPoint::Moment(moment, Some(base)),
        }
    }

    /// The instance that is written to, if any.
    pub fn target(&self) -> Option<InstanceId> {
        match self {
            Self::Automated { target, .. } | Self::PointInTime { target, .. } => Some(*target),
            Self::Download { .. } => None,
        }
    }
}

/// The folder in which a tar has a dump.
pub const DUMP_FOLDER: &str = "dump";

/// What the file of a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExportFormat {
    /// What `mongodump --archive --gzip` writes.
    #[default]
    Archive,
    /// The folder that `mongodump` writes, in a `.tgz`.
    Directory,
    /// The documents of one collection, one after the other.
    Bson,
    /// The documents of one collection, each a line of relaxed Extended JSON, as `mongoexport` writes it.
    Ndjson,
}

impl ExportFormat {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Archive, Self::Directory, Self::Bson, Self::Ndjson];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Directory => "directory",
            Self::Bson => "bson",
            Self::Ndjson => "ndjson",
        }
    }

    /// The one with this word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == text)
    }

    /// How names of its files end, with the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Archive => ".archive.gz",
            Self::Directory => ".tgz",
            Self::Bson => ".bson",
            Self::Ndjson => ".ndjson",
        }
    }

    /// The one of a file with this name.
    pub fn of_file(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| name.ends_with(format.extension()))
    }

    /// Whether its files hold the documents of one collection and nothing else.
    pub fn is_of_one_collection(self) -> bool {
        matches!(self, Self::Bson | Self::Ndjson)
    }

    /// The media type of its files.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Archive | Self::Directory => "application/gzip",
            Self::Bson => "application/bson",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

/// The steps that replace the data of a database, in order. Each may run twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplaceStep {
    /// Every chunk is read, decrypted and hashed, every entry parsed; nothing is written.
    Verify,
    /// Documents are loaded into staging collections.
    Stage,
    /// The oplog is replayed on the staging collections.
    Replay,
    /// Indexes are built on the staging collections.
    Index,
    /// Documents are written into the target's own collection; of restores of documents only.
    Write,
    /// Staging collections are compared with what they must hold.
    Compare,
    /// Staging collections take the place of the target's.
    Swap,
}

/// The steps that make a file for download, in order. Each may run twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DownloadStep {
    /// Every chunk is read, decrypted and hashed; nothing is written.
    Verify,
    /// The archive is written.
    Pack,
}

/// A step of a restore job: those of its delivery, and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreStep {
    /// Of a job that replaces the data of a database.
    Replace(ReplaceStep),
    /// Of a job that makes a file.
    Download(DownloadStep),
}

impl From<ReplaceStep> for RestoreStep {
    fn from(step: ReplaceStep) -> Self {
        Self::Replace(step)
    }
}

impl From<DownloadStep> for RestoreStep {
    fn from(step: DownloadStep) -> Self {
        Self::Download(step)
    }
}

impl RestoreStep {
    /// The step in which the target's data is replaced.
    pub const SWAP: Self = Self::Replace(ReplaceStep::Swap);

    const ALL: [Self; 9] = [
        Self::Replace(ReplaceStep::Verify),
        Self::Replace(ReplaceStep::Stage),
        Self::Replace(ReplaceStep::Replay),
        Self::Replace(ReplaceStep::Index),
        Self::Replace(ReplaceStep::Write),
        Self::Replace(ReplaceStep::Compare),
        Self::SWAP,
        Self::Download(DownloadStep::Verify),
        Self::Download(DownloadStep::Pack),
    ];

    /// The first step of a job.
    pub fn first(delivery: &Delivery) -> Self {
        match delivery {
            Delivery::Automated { .. } | Delivery::PointInTime { .. } => ReplaceStep::Verify.into(),
            Delivery::Download { .. } => DownloadStep::Verify.into(),
        }
    }

    /// The word that logs and the catalog use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replace(ReplaceStep::Verify) | Self::Download(DownloadStep::Verify) => "verify",
            Self::Replace(ReplaceStep::Stage) => "stage",
            Self::Replace(ReplaceStep::Replay) => "replay",
            Self::Replace(ReplaceStep::Index) => "index",
            Self::Replace(ReplaceStep::Write) => "write",
            Self::Replace(ReplaceStep::Compare) => "compare",
            Self::SWAP => "swap",
            Self::Download(DownloadStep::Pack) => "pack",
        }
    }

    /// The step of a delivery with this word.
    pub fn parse(delivery: &Delivery, text: &str) -> Option<Self> {
        let first = Self::first(delivery);
        Self::ALL.into_iter().find(|step| step.as_str() == text && step.may_follow(first))
    }

    /// Whether it is a later step of the same delivery, or the same step once more.
    fn may_follow(self, present: Self) -> bool {
        match (present, self) {
            (Self::Replace(present), Self::Replace(next)) => next >= present,
            (Self::Download(present), Self::Download(next)) => next >= present,
            (Self::Replace(_), Self::Download(_)) | (Self::Download(_), Self::Replace(_)) => false,
        }
    }
}

/// Where a restore job stands, with the facts that hold there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreState {
    /// Wanted; nobody works on it yet.
    Queued,
    /// A worker has it and is at this step.
    Running {
        /// The step that is being done; steps before it are done.
        step: RestoreStep,
    },
    /// Delivered.
    Completed {
        /// When the last step ended.
        finished_at: Timestamp,
    },
    /// Given up; the target is as it was, but for what a restore of documents had written.
    Failed {
        /// When it was given up.
        finished_at: Timestamp,
        /// What went wrong and what the operator can do.
        failure: Failure,
    },
    /// Stopped on request; the target is as it was, but for what a restore of documents had written.
    Cancelled {
        /// When it was stopped.
        finished_at: Timestamp,
    },
}

/// What can happen to a restore job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreEvent {
    /// A worker is about to do this step.
    StepStarted {
        /// The step.
        step: RestoreStep,
        /// When.
        at: Timestamp,
    },
    /// The worker before died; another one begins anew.
    Reclaimed,
    /// The last step ended.
    Delivered(Timestamp),
    /// The job cannot be done.
    GivenUp {
        /// When.
        at: Timestamp,
        /// Why, and what the operator can do.
        failure: Failure,
    },
    /// Somebody asked to stop it.
    CancelRequested(Timestamp),
}

impl RestoreState {
    /// The word that the catalog uses.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running { .. } => "running",
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// The step that is being done.
    pub fn step(&self) -> Option<RestoreStep> {
        match self {
            Self::Running { step } => Some(*step),
            _ => None,
        }
    }

    /// Whether the target's data is being replaced.
    pub fn is_swapping(&self) -> bool {
        self.step() == Some(RestoreStep::SWAP)
    }

    /// Whether nothing more will happen.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Queued | Self::Running { .. })
    }

    /// When it ended, if it did.
    pub fn finished_at(&self) -> Option<Timestamp> {
        match self {
            Self::Queued | Self::Running { .. } => None,
            Self::Completed { finished_at }
            | Self::Failed { finished_at, .. }
            | Self::Cancelled { finished_at } => Some(*finished_at),
        }
    }

    /// The state after `event`.
    ///
    /// Steps go forward or repeat, never back. A job in its swap is past cancelling: the target
    /// is about to show the new state.
    pub fn after(&self, event: RestoreEvent) -> Result<Self, InvalidTransition> {
        use RestoreEvent::{CancelRequested, Delivered, GivenUp, Reclaimed, StepStarted};
        match (self, event) {
            (Self::Queued, StepStarted { step, .. }) => Ok(Self::Running { step }),
            (Self::Running { step: present }, StepStarted { step, .. })
                if step.may_follow(*present) =>
            {
                Ok(Self::Running { step })
            }
            // A swap may have happened already, so it is taken up where it was.
            (Self::Running { step: RestoreStep::SWAP }, Reclaimed) => Ok(self.clone()),
            (Self::Queued | Self::Running { .. }, Reclaimed) => Ok(Self::Queued),
            (Self::Running { .. }, Delivered(finished_at)) => Ok(Self::Completed { finished_at }),
            (Self::Queued | Self::Running { .. }, GivenUp { at, failure }) => {
                Ok(Self::Failed { finished_at: at, failure })
            }
            (Self::Queued, CancelRequested(finished_at)) => Ok(Self::Cancelled { finished_at }),
            (Self::Running { step }, CancelRequested(finished_at))
                if *step != RestoreStep::SWAP =>
            {
                Ok(Self::Cancelled { finished_at })
            }
            (state, event) => Err(InvalidTransition::new("restore job", state.as_str(), &event)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const VERIFY: RestoreStep = RestoreStep::Replace(ReplaceStep::Verify);
    const STAGE: RestoreStep = RestoreStep::Replace(ReplaceStep::Stage);
    const SWAP: RestoreStep = RestoreStep::SWAP;
    const PACK: RestoreStep = RestoreStep::Download(DownloadStep::Pack);

    #[test]
    fn steps_go_forward_or_repeat_but_never_back() {
        let staging = RestoreState::Running { step: STAGE };
        assert!(staging.after(RestoreEvent::StepStarted { step: STAGE, at: NOW }).is_ok());
        assert!(staging.after(RestoreEvent::StepStarted { step: SWAP, at: NOW }).is_ok());
        assert!(staging.after(RestoreEvent::StepStarted { step: VERIFY, at: NOW }).is_err());
        assert!(
            staging.after(RestoreEvent::StepStarted { step: PACK, at: NOW }).is_err(),
            "of another delivery"
        );
    }

    #[test]
    fn a_delivery_has_its_own_steps() {
        let snapshot = SnapshotId::from_bytes([1; 12]);
        let download = Delivery::Download { snapshot, moment: None };
        let automated = Delivery::Automated { snapshot, target: InstanceId::from_bytes([2; 12]) };
        let count = |delivery| {
            let words = ["verify", "stage", "replay", "index", "write", "compare", "swap", "pack"];
            words.iter().filter(|word| RestoreStep::parse(delivery, word).is_some()).count()
        };
        assert_eq!((count(&download), count(&automated)), (2, 7));
    }

    #[test]
    fn a_swap_cannot_be_cancelled() {
        let swapping = RestoreState::Running { step: SWAP };
        assert!(swapping.after(RestoreEvent::CancelRequested(NOW)).is_err());
        let staging = RestoreState::Running { step: STAGE };
        assert!(staging.after(RestoreEvent::CancelRequested(NOW)).is_ok());
    }

    #[test]
    fn a_reclaimed_job_begins_anew_unless_it_was_in_its_swap() {
        let staging = RestoreState::Running { step: STAGE };
        assert_eq!(staging.after(RestoreEvent::Reclaimed), Ok(RestoreState::Queued));
        let swapping = RestoreState::Running { step: SWAP };
        assert_eq!(swapping.after(RestoreEvent::Reclaimed), Ok(swapping));
    }

    #[test]
    fn nothing_happens_after_the_end() {
        for end in [
            RestoreState::Completed { finished_at: NOW },
            RestoreState::Failed {
                finished_at: NOW,
                failure: Failure::new(crate::Cause::Disk, ""),
            },
            RestoreState::Cancelled { finished_at: NOW },
        ] {
            for event in [
                RestoreEvent::StepStarted { step: SWAP, at: NOW },
                RestoreEvent::Delivered(NOW),
                RestoreEvent::CancelRequested(NOW),
            ] {
                assert!(end.after(event).is_err());
            }
        }
    }
}
