//! Snapshots: taken on demand, removed.

use jiff::{SignedDuration, Timestamp};
use tidemark_catalog::{Catalog, CatalogError, Instance, NewSnapshot, Snapshot};
use tidemark_model::{InstanceId, InstanceState, SnapshotId, SnapshotKind, SnapshotState};

/// Why no snapshot is taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeSnapshotError {
    /// The instance is not available.
    #[error("the instance is {}", .0.as_str())]
    Unavailable(InstanceState),
    /// One that was asked for is waiting or being taken.
    #[error("an earlier snapshot is not finished")]
    Unfinished,
    /// The records could not be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Why the end of a snapshot stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum KeepSnapshotError {
    /// It is not complete yet, or never was.
    #[error("the snapshot is not complete")]
    Incomplete,
    /// It would be over already.
    #[error("a snapshot cannot be kept until a time that is over")]
    Over,
    /// The records could not be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Says anew until when a complete snapshot is kept.
pub fn keep(
    catalog: &Catalog,
    snapshot: &Snapshot,
    until: Timestamp,
    now: Timestamp,
) -> Result<(), KeepSnapshotError> {
    if !matches!(snapshot.state, SnapshotState::Completed { .. }) {
        return Err(KeepSnapshotError::Incomplete);
    }
    if until <= now {
        return Err(KeepSnapshotError::Over);
    }
    Ok(catalog.set_snapshot_expiry(snapshot.id, until)?)
}

/// Why a snapshot is not removed.
#[derive(Debug, thiserror::Error)]
pub enum DeleteSnapshotError {
    /// It is being taken or restored.
    #[error("the snapshot is in use")]
    InUse,
    /// It was promised to keep it until then.
    #[error("the snapshot is kept until {0}")]
    Kept(Timestamp),
    /// The records could not be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// A snapshot that somebody wants now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDemand {
    /// How long it is kept.
    pub retention: SignedDuration,
    /// What it is for, in the words of who wants it.
    pub description: Option<String>,
}

impl From<SignedDuration> for OnDemand {
    fn from(retention: SignedDuration) -> Self {
        Self { retention, description: None }
    }
}

/// Records that a snapshot is wanted now.
pub fn take(
    catalog: &Catalog,
    instance: &Instance,
    wanted: impl Into<OnDemand>,
    now: Timestamp,
) -> Result<Snapshot, TakeSnapshotError> {
    let OnDemand { retention, description } = wanted.into();
    if !instance.state.runs() {
        return Err(TakeSnapshotError::Unavailable(instance.state));
    }
    if catalog.is_taken_on_demand(instance.id)? {
        return Err(TakeSnapshotError::Unfinished);
    }
    let snapshot = NewSnapshot {
        description,
        ..NewSnapshot::new(instance.id, SnapshotKind::OnDemand, now, retention)
    };
    catalog.insert_snapshot(&snapshot)?;
    let found = catalog.find_snapshot(instance.id, snapshot.id)?;
    found.ok_or_else(|| CatalogError::Missing(format!("snapshot {}", snapshot.id)).into())
}

/// A dump that was uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Whose snapshot it becomes.
    pub instance: InstanceId,
    /// The snapshot's id.
    pub snapshot: SnapshotId,
    /// Until when it is kept.
    pub expires_at: Timestamp,
}

/// Records that a snapshot is to be made of an uploaded dump.
pub fn import(catalog: &Catalog, imported: &Imported, now: Timestamp) -> Result<(), CatalogError> {
    let instance = catalog.load_instance(imported.instance)?;
    if !instance.state.runs() && instance.state != InstanceState::Repairing {
        return Err(CatalogError::Missing(format!("instance {}", instance.id)));
    }
    let new = NewSnapshot::new(instance.id, SnapshotKind::OnDemand, now, SignedDuration::ZERO);
    catalog.insert_snapshot(&NewSnapshot {
        id: imported.snapshot,
        expires_at: imported.expires_at,
        description: Some("imported from a dump".to_owned()),
        is_imported: true,
        ..new
    })
}

/// Removes a snapshot.
pub fn delete(
    catalog: &Catalog,
    instance: &Instance,
    id: SnapshotId,
) -> Result<(), DeleteSnapshotError> {
    match catalog.delete_snapshot(instance.id, id) {
        Err(CatalogError::InUse(_)) => Err(DeleteSnapshotError::InUse),
        Err(CatalogError::Kept { until, .. }) => Err(DeleteSnapshotError::Kept(until)),
        outcome => Ok(outcome?),
    }
}
