//! Why something could not be moved.

use tidemark_deployment::LinkError;
use tidemark_model::{Cause, Failure, OplogTime};
use tidemark_vault::VaultError;

/// Why a snapshot, a restore or a capture ended early.
#[derive(Debug, thiserror::Error)]
pub enum MoverError {
    /// A deployment did not do what it was asked.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The vault cannot give or take something.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Somebody asked to stop.
    #[error("the job was stopped")]
    Stopped,
    /// Restored data differs from what it must be; nothing was swapped in.
    #[error(
        "{namespace} was staged with {found}, but must hold {expected}; the target was left as it was"
    )]
    Mismatch {
        /// The collection.
        namespace: String,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// The oplog does not reach far enough.
    #[error("the oplog does not reach {what}; restore an earlier moment or another snapshot")]
    OplogGap {
        /// What is out of reach.
        what: String,
    },
    /// There is no such backup, or the moment cannot be reached.
    #[error("{what}")]
    OutOfReach {
        /// Why not.
        what: String,
    },
    /// What was captured could not be noted down.
    #[error("what was captured cannot be recorded: {what}")]
    Unrecorded {
        /// Why not.
        what: String,
    },
    /// A transaction began before what is replayed.
    #[error(
        "the transaction that goes on at {at} began before what is replayed: its part at {before} is missing; restore another moment or another snapshot"
    )]
    CutTransaction {
        /// The part whose parts before it are missing.
        at: OplogTime,
        /// The part before that one.
        before: OplogTime,
    },
    /// A collection could not be read to its end, and nothing says that it was dropped.
    #[error(
        "{namespace} was taken away while it was read, and the oplog does not say that it was dropped; it is read again"
    )]
    WentAway {
        /// The collection's name before.
        namespace: String,
    },
    /// A collection was renamed while collections were read by their names.
    #[error(
        "{namespace} was renamed while it was read, and this deployment finds collections by their names only; it is read again"
    )]
    Renamed {
        /// The collection's name before.
        namespace: String,
    },
    /// Something between two positions is missing.
    #[error("{0}; restore an earlier moment or another snapshot")]
    Hole(#[from] tidemark_model::OplogGap),
    /// The wanted moment cannot be reached.
    #[error("{0}")]
    Plan(#[from] tidemark_model::PlanError),
    /// What was staged is gone before it was swapped in.
    #[error(
        "what was staged is not there any more; the target was left as it was, create the restore job again"
    )]
    StageLost,
    /// A snapshot holds something that this release cannot restore.
    #[error("this release cannot restore {what}; the target was left as it was")]
    Unsupported {
        /// What it is.
        what: String,
    },
    /// What is selected is not there, or cannot be together.
    #[error("{what}; nothing was changed")]
    Selection {
        /// What is wrong with it.
        what: String,
    },
    /// A file is no dump, or not a whole one.
    #[error("the dump cannot be imported: {what}")]
    Import {
        /// What is wrong with it.
        what: String,
    },
    /// A snapshot cannot become the file that is wanted.
    #[error("this cannot be exported: {what}")]
    Export {
        /// What it is.
        what: String,
    },
    /// What is looked for cannot be found out from the vault.
    #[error("this cannot be looked up: {what}")]
    Lookup {
        /// Why not.
        what: String,
    },
    /// Documents were brought back only in part.
    #[error("{reason}; {documents} documents were written or were there before, and stay")]
    Halfway {
        /// Why not all.
        reason: String,
        /// How many of them the target has.
        documents: u64,
    },
    /// Documents that are brought back are there already, and are others.
    #[error(
        "{namespace} has {documents} of these documents already, and they are different, the first of them with _id {first}: replace them or skip them, or restore to another collection"
    )]
    Conflict {
        /// The collection.
        namespace: String,
        /// How many are.
        documents: u64,
        /// The `_id` of the first of them.
        first: String,
    },
    /// A snapshot cannot be made of the one before it and the oplog.
    #[error("no snapshot can be made of the one before it: {what}")]
    Synthesis {
        /// Why not.
        what: String,
    },
    /// An oplog entry that cannot be replayed.
    #[error("the oplog entry at {position} cannot be replayed: {reason}")]
    Replay {
        /// Its position.
        position: String,
        /// Why.
        reason: String,
    },
    /// A file cannot be written.
    #[error("{path} cannot be written: {source}; free space or change the data folder")]
    File {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
}

impl MoverError {
    /// Whether the same work may succeed later without anybody's help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Link(error) => error.is_transient(),
            Self::Vault(error) => error.is_transient(),
            Self::Renamed { .. } | Self::WentAway { .. } => true,
            _ => false,
        }
    }

    /// Its kind, for programs and for readers of other languages.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Link(error) => cause_of_link(error),
            Self::Vault(error) => cause_of_vault(error),
            // Nobody is told: who stops is no failure.
            Self::Stopped => Cause::Unknown,
            Self::Mismatch { .. } => Cause::Different,
            Self::OplogGap { .. }
            | Self::OutOfReach { .. }
            | Self::CutTransaction { .. }
            | Self::Hole(_)
            | Self::Plan(_) => Cause::OutOfReach,
            Self::Unrecorded { .. } => Cause::RecordsUnavailable,
            Self::WentAway { .. } | Self::Renamed { .. } => Cause::Changed,
            Self::StageLost => Cause::StageLost,
            Self::Selection { .. } => Cause::Selection,
            Self::Unsupported { .. } | Self::Export { .. } | Self::Synthesis { .. } => {
                Cause::Unsupported
            }
            Self::Import { .. } => Cause::Dump,
            Self::Lookup { .. } => Cause::Lookup,
            Self::Halfway { .. } => Cause::Partial,
            Self::Conflict { .. } => Cause::Conflict,
            Self::Replay { .. } => Cause::Replay,
            Self::File { .. } => Cause::Disk,
        }
    }

    /// Its kind and what it says.
    pub fn to_failure(&self) -> Failure {
        Failure::new(self.cause(), self)
    }

    /// MongoDB's code, if the deployment refused a command.
    pub(crate) fn code(&self) -> Option<i32> {
        match self {
            Self::Link(error) => error.code(),
            _ => None,
        }
    }
}

fn cause_of_link(error: &LinkError) -> Cause {
    match error {
        LinkError::Connection { .. } => Cause::Unreachable,
        LinkError::Login { .. } => Cause::Denied,
        LinkError::Command { .. } if error.is_denial() => Cause::Denied,
        LinkError::Settings { .. } => Cause::Settings,
        LinkError::Protocol { .. } | LinkError::Command { .. } => Cause::DeploymentRefused,
    }
}

fn cause_of_vault(error: &VaultError) -> Cause {
    match error {
        VaultError::Missing { .. } => Cause::VaultDamaged,
        error if error.is_damage() => Cause::VaultDamaged,
        VaultError::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            Cause::Disk
        }
        _ => Cause::VaultUnavailable,
    }
}
