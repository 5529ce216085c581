//! What a restore would do, asked of whoever can look at the vault and at the target.

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use tidemark_catalog::{Catalog, Instance};
use tidemark_model::{DocumentChoice, Failure, RestorePlan, SnapshotId};

use crate::restore_jobs::{
    Ask, CreateRestoreJobError, Wish, find_complete, find_target, plan as plan_moment,
};

/// What a restore would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rehearsed {
    /// Bytes of documents that are written.
    pub bytes: u64,
    /// Documents that are written.
    pub documents: u64,
    /// What the target has of single documents, if those are restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documents_there: Option<DocumentsThere>,
    /// Collections of the target that go.
    pub dropped: Vec<String>,
    /// Oplog entries that are replayed.
    pub entries: u64,
    /// How long it takes, about.
    pub estimated_seconds: u64,
    /// Whether everything takes its place in one commit.
    pub is_atomic: bool,
    /// Collections of the target that stay.
    pub kept: Vec<String>,
    /// What is written.
    pub namespaces: Vec<RehearsedNamespace>,
    /// Why it would fail.
    #[serde(serialize_with = "reasons")]
    pub obstacles: Vec<Failure>,
    /// The snapshot from which it begins.
    pub snapshot_id: SnapshotId,
    /// What is done, in order.
    pub steps: Vec<RehearsedStep>,
}

/// Obstacles are sentences for whoever asks over HTTP.
fn reasons<S: Serializer>(obstacles: &[Failure], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(obstacles.iter().map(|obstacle| &obstacle.reason))
}

/// What a target has of the documents that would be written into a collection of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentsThere {
    /// Those that are there and are different.
    pub different: u64,
    /// Those that are there as they would be written.
    pub equal: u64,
}

/// A collection that a restore would write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RehearsedNamespace {
    /// Their bytes.
    pub bytes: u64,
    /// Its documents.
    pub documents: u64,
    /// Its name in the snapshot.
    pub from: String,
    /// `collection`, `view` or `timeseries`.
    pub kind: String,
    /// Whether the target has one of that name, which goes.
    pub replaces: bool,
    /// Its name in the target.
    pub to: String,
}

/// A step of a restore.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RehearsedStep {
    /// Its name.
    pub step: &'static str,
    /// Bytes of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Documents of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documents: Option<u64>,
    /// Oplog entries of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// What it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<&'static str>,
}

/// Why it cannot be said what a restore would do.
#[derive(Debug, thiserror::Error)]
pub enum RehearseError {
    /// It changes nothing.
    #[error("a download changes nothing")]
    Download,
    /// The restore would be refused.
    #[error(transparent)]
    Refused(#[from] CreateRestoreJobError),
    /// The vault or the target cannot be looked at.
    #[error("{0}")]
    Unknown(Failure),
}

/// Finds out what a restore would do.
pub trait Rehearsal: Send + Sync + std::fmt::Debug {
    /// What a restore of some namespaces of a snapshot, with a replay through a moment, would do to
    /// a target; or why that cannot be said. Nothing is written.
    fn rehearse(
        &self,
        source: &Instance,
        target: &Instance,
        what: (SnapshotId, Option<RestorePlan>),
        wish: &Wish,
    ) -> Result<Rehearsed, Failure>;

    /// Why documents cannot be told by a filter, if they cannot.
    fn check_documents(&self, choice: &DocumentChoice) -> Result<(), String>;
}

/// Checks a restore as if it were asked for, and finds out what it would do. Nothing is written.
pub fn rehearse(
    (catalog, rehearsal): (&Catalog, &dyn Rehearsal),
    source: &Instance,
    wish: &Wish,
    now: Timestamp,
) -> Result<Rehearsed, RehearseError> {
    let (to, snapshot, plan) = match &wish.ask {
        Ask::Automated { snapshot, to } => (to, *snapshot, None),
        Ask::PointInTime { moment, base, to } => {
            let plan = plan_moment(catalog, source, (*moment, *base), now)?;
            (to, plan.base, Some(plan))
        }
        Ask::Download { .. } | Ask::DownloadOf { .. } => return Err(RehearseError::Download),
    };
    find_complete(catalog, source, snapshot)?;
    let target = find_target(catalog, to)?;
    rehearsal.rehearse(source, &target, (snapshot, plan), wish).map_err(RehearseError::Unknown)
}
