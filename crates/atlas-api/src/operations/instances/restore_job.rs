//! Restore jobs, whichever API they are looked at through: asking for, finding, cancelling.

use jiff::{SignedDuration, Timestamp};
use tidemark_actions::restore_jobs::{self, Ask, CreateRestoreJobError, Destination};
use tidemark_catalog::{Catalog, CatalogError, Instance, Project, RestoreJob};
use tidemark_model::{PlanError, Role};

use super::snapshot::NotFound;
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};
use crate::ticket;

/// How an API says that a restore job is not created.
pub(crate) struct Refusals {
    pub(crate) snapshot_not_found: NotFound,
    pub(crate) incomplete: fn() -> ApiError,
    /// The attribute that names the moment.
    pub(crate) moment: &'static str,
}

impl Refusals {
    pub(crate) fn of(&self, source: &Instance, error: CreateRestoreJobError) -> ApiError {
        match error {
            CreateRestoreJobError::SnapshotNotFound(id) => {
                (self.snapshot_not_found)(&id.to_string(), source.name.as_str())
            }
            CreateRestoreJobError::SnapshotIncomplete => (self.incomplete)(),
            CreateRestoreJobError::TargetNotFound(to) => {
                ApiError::cluster_not_found(to.name.as_str(), to.project)
            }
            CreateRestoreJobError::TargetUnavailable(_) => ApiError::target_unavailable(),
            CreateRestoreJobError::Plan(PlanError::Outside { before, after, .. }) => {
                ApiError::invalid_restore_time(self.moment, (before, after))
            }
            CreateRestoreJobError::Plan(PlanError::WrongBase { .. }) => {
                ApiError::invalid_restore_time(self.moment, (None, None))
            }
            CreateRestoreJobError::Catalog(error) => error.into(),
        }
    }
}

/// Records that a restore job is wanted.
pub(crate) fn create(
    call: &Call<'_>,
    source: &Instance,
    ask: &Ask,
    (download_lifetime, refusals): (SignedDuration, &Refusals),
) -> Result<RestoreJob> {
    let when = (call.api.clock.now(), download_lifetime);
    restore_jobs::create(call.catalog, source, &ask.clone().into(), when)
        .map_err(|error| refusals.of(source, error))
}

/// The instance that a restore shall write to, if the caller has the role in its project.
pub(crate) fn find_destination(
    call: &Call<'_>,
    source: &Project,
    to: Destination,
    role: Role,
) -> Result<Destination> {
    if to.project == source.id {
        // An operation may be open to who only exports.
        if !call.caller.may_in_project(source.org, source.id, role) {
            return Err(ApiError::not_authorized());
        }
    } else {
        let found = call.catalog.find_project(to.project)?;
        let found = found.ok_or_else(|| ApiError::group_not_found(to.project))?;
        let may = |project: &Project| call.caller.may_in_project(project.org, project.id, role);
        if !may(source) || !may(&found) {
            return Err(ApiError::cannot_restore_to_target());
        }
    }
    match restore_jobs::find_target(call.catalog, &to) {
        Ok(_) => Ok(to),
        Err(CreateRestoreJobError::TargetNotFound(to)) => {
            Err(ApiError::cluster_not_found(to.name.as_str(), to.project))
        }
        Err(CreateRestoreJobError::Catalog(error)) => Err(error.into()),
        Err(_) => Err(ApiError::target_unavailable()),
    }
}

/// The restore job of the path.
pub(crate) fn find(call: &Call<'_>, target: &Target, not_found: NotFound) -> Result<RestoreJob> {
    let id = call.restore_job_id()?;
    let job = call.catalog.find_restore_job(target.instance.id, id)?;
    job.ok_or_else(|| not_found(&id.to_string(), target.instance.name.as_str()))
}

/// Asks to stop the restore job of the path.
pub(crate) fn cancel(call: &Call<'_>, target: &Target, not_found: NotFound) -> Result<()> {
    let job = find(call, target, not_found)?;
    stop(call.catalog, &job, call.api.clock.now())
}

/// Asks to stop a restore job.
pub(crate) fn stop(catalog: &Catalog, job: &RestoreJob, now: Timestamp) -> Result<()> {
    match restore_jobs::cancel(catalog, job.id, now) {
        Err(CatalogError::Transition(error)) => Err(ApiError::not_cancellable(error.state)),
        outcome => Ok(outcome?),
    }
}

/// The link of a download, whether its file is there yet or not; nothing once it is over.
pub(crate) fn download_link(call: &Call<'_>, job: &RestoreJob, now: Timestamp) -> Option<String> {
    ticket::link_of(call.api, call.download_url, (job, now))
}
