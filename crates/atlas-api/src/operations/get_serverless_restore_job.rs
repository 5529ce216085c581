//! `GET …/backup/restoreJobs/{restoreJobId}`: one restore job.

use tidemark_catalog::{Instance, RestoreJob};
use tidemark_model::{RestoreJobId, Role};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::serverless_restore_job::describe;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let (instance, job) = load(call)?;
    Ok(Answer::entity(describe(call, &instance, &job)))
}

/// The restore job of the path.
pub(super) fn load(call: &Call<'_>) -> Result<(Instance, RestoreJob)> {
    let (_, instance) = call.instance(Role::GroupOwner)?;
    let text = call.path_value("restoreJobId");
    let id: RestoreJobId = text.parse().map_err(|_| ApiError::invalid_job_id(text))?;
    let job = call.api.catalog.find_restore_job(instance.id, id)?;
    let job = job.ok_or_else(|| ApiError::restore_job_not_found(text, instance.name.as_str()))?;
    Ok((instance, job))
}
