//! `DELETE …/backup/restoreJobs/{restoreJobId}`: asks to stop a job. Not in the real service.

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};

use crate::operations::instances::restore_job::cancel;

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    cancel(call, target, ApiError::flex_restore_not_found)?;
    Ok(Answer::no_content())
}
