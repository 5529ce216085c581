//! `DELETE …/backup/restoreJobs/{restoreJobId}`: asks to stop a job. Not in the real service.

use tidemark_catalog::CatalogError;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::get_serverless_restore_job::load;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let (_, job) = load(call)?;
    match call.api.catalog.request_cancel(job.id, call.api.clock.now()) {
        Err(CatalogError::Transition(error)) => Err(ApiError::not_cancellable(error.state)),
        outcome => {
            outcome?;
            Ok(Answer::no_content())
        }
    }
}
