//! `GET …/backup/snapshots/{snapshotId}`: one snapshot.

use crate::answer::{Answer, Content};
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};

use super::serverless_snapshot::describe;
use crate::operations::instances::snapshot::find;

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let snapshot = find(call, target, ApiError::snapshot_not_found)?;
    Content::of(&describe(call, &target.instance, &snapshot)).map(Answer::entity)
}
