//! `DELETE …/backup/restoreJobs/{restoreJobId}`: asks to stop a download, as the real service does; what
//! replaces data goes to its end.

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};

use crate::operations::instances::restore_job::{cancel, find};

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let job = find(call, target, ApiError::restore_job_not_found)?;
    if job.download.is_none() {
        return Err(ApiError::automated_restore_not_cancellable());
    }
    cancel(call, target, ApiError::restore_job_not_found)?;
    Ok(Answer::no_content())
}
