//! `GET …/backup/restoreJobs`: the restore jobs of an instance, newest first.

use tidemark_model::Role;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_body;

use super::serverless_restore_job::describe;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let (_, instance) = call.instance(Role::GroupOwner)?;
    let paged = call.api.catalog.list_restore_jobs(instance.id, call.page()?)?;
    list_body(call, &paged, |job| describe(call, &instance, job)).map(Answer::list)
}
