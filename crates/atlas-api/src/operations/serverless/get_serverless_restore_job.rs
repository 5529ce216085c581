//! `GET …/backup/restoreJobs/{restoreJobId}`: one restore job.

use crate::answer::{Answer, Content};
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};

use crate::operations::instances::restore_job::find;
use crate::operations::instances::restore_job_body::{Shown, describe};

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let job = find(call, target, ApiError::restore_job_not_found)?;
    Content::of(&describe(call, &target.instance, (&job, Shown::Serverless))).map(Answer::entity)
}
