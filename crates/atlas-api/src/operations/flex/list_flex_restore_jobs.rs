//! `GET …/backup/restoreJobs`: the restore jobs of an instance, newest first.

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::Result;
use crate::links::written_list;

use super::flex_restore_job::describe;

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let paged = call.catalog.list_restore_jobs(target.instance.id, call.page()?)?;
    written_list(call, &paged, |job| describe(call, target, job))
}
