//! `GET …/backup/restoreJobs/{restoreJobId}`: one restore job.

use crate::answer::{Answer, Content};
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};

use super::flex_restore_job::describe;
use crate::operations::instances::restore_job::find;

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let job = find(call, target, ApiError::flex_restore_not_found)?;
    Content::of(&describe(call, target, &job)).map(Answer::entity)
}
