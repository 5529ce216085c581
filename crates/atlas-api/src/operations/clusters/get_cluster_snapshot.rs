//! `GET …/backup/snapshots/{snapshotId}`: one snapshot.

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};

use super::cluster_snapshot::describe;
use crate::operations::instances::snapshot::find;

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let snapshot = find(call, target, ApiError::snapshot_not_found)?;
    Ok(Answer::entity(describe(call, &target.instance, &snapshot)))
}
