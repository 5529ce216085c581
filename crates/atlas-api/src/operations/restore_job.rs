//! Restore jobs, whichever API they are looked at through: asking for, finding, cancelling.

use jiff::{SignedDuration, Timestamp};
use tidemark_catalog::{
    CatalogError, Instance, NewRestoreJob, Project, RestoreJob, Snapshot, TargetName,
};
use tidemark_model::{
    Delivery, InstanceName, InstanceState, ProjectId, RestoreJobId, Role, SnapshotState,
};

use super::snapshot::NotFound;
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};

/// What is restored.
pub(super) struct Wanted {
    pub(super) delivery: Delivery,
    pub(super) snapshot: Snapshot,
    pub(super) target: TargetName,
    /// How long the link of a download works.
    pub(super) download_lifetime: SignedDuration,
}

/// Records that a restore job is wanted.
pub(super) fn insert(call: &Call<'_>, source: &Instance, wanted: Wanted) -> Result<RestoreJob> {
    let created_at = call.api.clock.now();
    let job = NewRestoreJob {
        id: RestoreJobId::new(created_at),
        instance: source.id,
        delivery: wanted.delivery,
        snapshot_at: snapshot_instant(&wanted.snapshot),
        target: wanted.target,
        created_at,
        download_lifetime: wanted.download_lifetime,
    };
    call.api.catalog.insert_restore_job(&job)?;
    Ok(call.api.catalog.load_restore_job(job.id)?)
}

/// The moment that a snapshot shows.
fn snapshot_instant(snapshot: &Snapshot) -> Timestamp {
    match &snapshot.state {
        SnapshotState::Completed { consistent_at: Some(at), .. } => {
            Timestamp::from_second(i64::from(at.seconds)).unwrap_or(snapshot.created_at)
        }
        _ => snapshot.created_at,
    }
}

/// Refuses a snapshot that is not complete.
pub(super) fn check_complete(snapshot: &Snapshot, error: fn() -> ApiError) -> Result<()> {
    if matches!(snapshot.state, SnapshotState::Completed { .. }) { Ok(()) } else { Err(error()) }
}

/// The instance that a restore shall write to, if the caller has the role in its project.
pub(super) fn find_target(
    call: &Call<'_>,
    source: &Project,
    (project, name): (ProjectId, &InstanceName),
    role: Role,
) -> Result<(Instance, TargetName)> {
    let project = if project == source.id {
        source.clone()
    } else {
        let found = call.api.catalog.find_project(project)?;
        let found = found.ok_or_else(|| ApiError::group_not_found(project))?;
        if !call.caller.may_in_project(found.org, found.id, role) {
            return Err(ApiError::cannot_restore_to_target());
        }
        found
    };
    let target = call.api.catalog.find_instance(project.id, name.as_str())?;
    let target = target.ok_or_else(|| ApiError::cluster_not_found(name.as_str(), project.id))?;
    if !matches!(target.state, InstanceState::Idle | InstanceState::Updating) {
        return Err(ApiError::target_unavailable());
    }
    Ok((target, TargetName { project: project.id, name: name.to_string() }))
}

/// The restore job of the path.
pub(super) fn find(call: &Call<'_>, target: &Target, not_found: NotFound) -> Result<RestoreJob> {
    let id = call.restore_job_id()?;
    let job = call.api.catalog.find_restore_job(target.instance.id, id)?;
    job.ok_or_else(|| not_found(&id.to_string(), target.instance.name.as_str()))
}

/// Asks to stop the restore job of the path.
pub(super) fn cancel(call: &Call<'_>, target: &Target, not_found: NotFound) -> Result<()> {
    let job = find(call, target, not_found)?;
    match call.api.catalog.request_cancel(job.id, call.api.clock.now()) {
        Err(CatalogError::Transition(error)) => Err(ApiError::not_cancellable(error.state)),
        outcome => Ok(outcome?),
    }
}

/// The link of a download, whether its file is there yet or not; nothing once it is over.
pub(super) fn download_link(call: &Call<'_>, job: &RestoreJob, now: Timestamp) -> Option<String> {
    let download = job.download.as_ref()?;
    let is_over = download.expires_at.is_some_and(|end| end <= now)
        || (job.state.is_final() && download.expires_at.is_none());
    (!is_over).then(|| format!("{}/download/{}/{}", call.base_url, download.token, download.file))
}
