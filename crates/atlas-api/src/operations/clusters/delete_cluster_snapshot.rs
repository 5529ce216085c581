//! `DELETE …/backup/snapshots/{snapshotId}`: removes a snapshot.

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};

use crate::operations::instances::snapshot::delete;

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    delete(call, target, ApiError::snapshot_not_found)?;
    Ok(Answer::no_content())
}
