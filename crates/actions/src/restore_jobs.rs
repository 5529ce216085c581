//! Restore jobs: asked for, cancelled; and what can be restored.
//!
//! Everything that can be known when a job is asked for is checked then: the snapshot, the target,
//! and whether the wanted moment can be reached.

use jiff::{SignedDuration, Timestamp};
use tidemark_catalog::{
    Catalog, CatalogError, Instance, NewRestoreJob, RestoreJob, Snapshot, TargetName,
};
use tidemark_model::{
    Base, Captured, Delivery, DocumentChoice, ExportFormat, InstanceName, InstanceState, Material,
    OplogSpan, OplogTime, PlanError, PointInTime, ProjectId, RestoreJobId, RestorePlan, Selection,
    SnapshotId, SnapshotState, plan_restore, restorable,
};

/// Where a restore writes to: an instance by its project and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The project.
    pub project: ProjectId,
    /// The instance's name.
    pub name: InstanceName,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A snapshot replaces the data of an instance.
    Automated {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The instance.
        to: Destination,
    },
    /// A snapshot becomes a file.
    Download {
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// The state at a moment becomes a file.
    DownloadOf {
        /// The moment.
        moment: PointInTime,
        /// From which snapshot; `None` for the newest that leads there.
        base: Option<SnapshotId>,
    },
    /// The state at a moment replaces the data of an instance.
    PointInTime {
        /// The moment.
        moment: PointInTime,
        /// From which snapshot; `None` for the newest that leads there.
        base: Option<SnapshotId>,
        /// The instance.
        to: Destination,
    },
}

/// What of it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// What is asked for.
    pub ask: Ask,
    /// Which namespaces of it.
    pub selection: Selection,
    /// Only these documents of one collection, into a collection as it is; then `selection` says nothing.
    pub documents: Option<DocumentChoice>,
    /// Whether documents may be replaced where they are, where the target cannot rename.
    pub replaces_in_place: bool,
    /// What the file of a download is.
    pub format: ExportFormat,
}

impl From<Ask> for Wish {
    /// Everything of it.
    fn from(ask: Ask) -> Self {
        let (selection, format) = (Selection::everything(), ExportFormat::default());
        Self { ask, selection, documents: None, replaces_in_place: false, format }
    }
}

/// Why a restore job is not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateRestoreJobError {
    /// The instance has no such snapshot.
    #[error("the instance has no snapshot {0}")]
    SnapshotNotFound(SnapshotId),
    /// The snapshot is not complete.
    #[error("the snapshot is not complete")]
    SnapshotIncomplete,
    /// There is no such instance.
    #[error("there is no instance {name} in the project {project}", name = .0.name, project = .0.project)]
    TargetNotFound(Destination),
    /// The instance cannot be written to now.
    #[error("the target is {}", .0.as_str())]
    TargetUnavailable(InstanceState),
    /// The moment cannot be reached.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The records could not be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Records that a restore is wanted.
pub fn create(
    catalog: &Catalog,
    source: &Instance,
    wish: &Wish,
    (now, download_lifetime): (Timestamp, SignedDuration),
) -> Result<RestoreJob, CreateRestoreJobError> {
    let Wish { ask, selection, .. } = wish;
    let own = TargetName { project: source.project, name: source.name.to_string() };
    let (delivery, snapshot, target) = match ask {
        Ask::Download { snapshot } => {
            let snapshot = find_complete(catalog, source, *snapshot)?;
            (Delivery::Download { snapshot: snapshot.id, moment: None }, snapshot, own)
        }
        Ask::DownloadOf { moment, base } => {
            if let Some(base) = base {
                find_complete(catalog, source, *base)?;
            }
            let plan = plan(catalog, source, (*moment, *base), now)?;
            let snapshot = find_complete(catalog, source, plan.base)?;
            (Delivery::Download { snapshot: snapshot.id, moment: Some(*moment) }, snapshot, own)
        }
        Ask::Automated { snapshot, to } => {
            let snapshot = find_complete(catalog, source, *snapshot)?;
            let target = find_target(catalog, to)?;
            let delivery = Delivery::Automated { snapshot: snapshot.id, target: target.id };
            (delivery, snapshot, name_of(&target))
        }
        Ask::PointInTime { moment, base, to } => {
            if let Some(base) = base {
                find_complete(catalog, source, *base)?;
            }
            let plan = plan(catalog, source, (*moment, *base), now)?;
            let snapshot = find_complete(catalog, source, plan.base)?;
            let target = find_target(catalog, to)?;
            let delivery =
                Delivery::PointInTime { moment: *moment, base: plan.base, target: target.id };
            (delivery, snapshot, name_of(&target))
        }
    };
    let job = NewRestoreJob {
        id: RestoreJobId::new(now),
        instance: source.id,
        delivery,
        selection: selection.clone(),
        documents: wish.documents.clone(),
        replaces_in_place: wish.replaces_in_place,
        snapshot_at: moment_of(&snapshot),
        target,
        created_at: now,
        download_lifetime,
        format: wish.format,
    };
    catalog.insert_restore_job(&job)?;
    Ok(catalog.load_restore_job(job.id)?)
}

/// How a moment of an instance is reached, as far as that is known now.
pub fn plan(
    catalog: &Catalog,
    source: &Instance,
    (moment, base): (PointInTime, Option<SnapshotId>),
    now: Timestamp,
) -> Result<RestorePlan, CreateRestoreJobError> {
    Ok(plan_restore(moment, base, &Facts::load(catalog, source, now)?.material())?)
}

/// The spans of moments of an instance that can be restored.
pub fn list_restorable(
    catalog: &Catalog,
    instance: &Instance,
    now: Timestamp,
) -> Result<Vec<OplogSpan>, CatalogError> {
    Ok(restorable(&Facts::load(catalog, instance, now)?.material()))
}

/// Asks to stop a job: at once while it waits, otherwise through its worker.
pub fn cancel(catalog: &Catalog, id: RestoreJobId, now: Timestamp) -> Result<(), CatalogError> {
    catalog.request_cancel(id, now)
}

/// What is known of an instance's backups.
struct Facts {
    captured: Vec<Captured>,
    bases: Vec<Base>,
}

impl Facts {
    fn load(catalog: &Catalog, instance: &Instance, now: Timestamp) -> Result<Self, CatalogError> {
        // Asked first: a swap that is found meanwhile only makes less of it known.
        let swap = catalog.find_unnoticed_swap(instance.id)?;
        let mut captured = catalog.list_captured(instance.id)?;
        if let Some(newest) = captured.last_mut().filter(|_| instance.state.runs()) {
            // What an instance that runs did up to now will be captured; when a restore replaced its
            // data, what it did before that second.
            let until = match swap {
                Some(swap) => now.as_second().min(swap.as_second() - 1),
                None => now.as_second(),
            };
            let until = u32::try_from(until).unwrap_or(u32::MAX);
            *newest = newest.through(OplogTime::end_of_second(until));
        }
        Ok(Self { captured, bases: catalog.list_bases(instance.id)? })
    }

    fn material(&self) -> Material<'_> {
        Material { captured: &self.captured, bases: &self.bases }
    }
}

/// The snapshot of an instance, if it is complete.
pub fn find_complete(
    catalog: &Catalog,
    source: &Instance,
    id: SnapshotId,
) -> Result<Snapshot, CreateRestoreJobError> {
    let found = catalog.find_snapshot(source.id, id)?;
    let snapshot = found.ok_or(CreateRestoreJobError::SnapshotNotFound(id))?;
    match snapshot.state {
        SnapshotState::Completed { .. } => Ok(snapshot),
        _ => Err(CreateRestoreJobError::SnapshotIncomplete),
    }
}

/// The instance of a destination, if it can be written to.
pub fn find_target(catalog: &Catalog, to: &Destination) -> Result<Instance, CreateRestoreJobError> {
    let found = catalog.find_instance(to.project, to.name.as_str())?;
    let target = found.ok_or_else(|| CreateRestoreJobError::TargetNotFound(to.clone()))?;
    if target.state.runs() {
        Ok(target)
    } else {
        Err(CreateRestoreJobError::TargetUnavailable(target.state))
    }
}

fn name_of(target: &Instance) -> TargetName {
    TargetName { project: target.project, name: target.name.to_string() }
}

/// The moment that a snapshot shows.
fn moment_of(snapshot: &Snapshot) -> Timestamp {
    match &snapshot.state {
        SnapshotState::Completed { consistent_at: Some(at), .. } => {
            Timestamp::from_second(i64::from(at.seconds)).unwrap_or(snapshot.created_at)
        }
        _ => snapshot.created_at,
    }
}
