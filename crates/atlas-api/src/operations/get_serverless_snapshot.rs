//! `GET …/backup/snapshots/{snapshotId}`: one snapshot.

use tidemark_model::Role;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::serverless_snapshot::describe;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let (_, instance) = call.instance(Role::GroupReadOnly)?;
    let id = call.snapshot_id()?;
    let snapshot = call.api.catalog.find_snapshot(instance.id, id)?;
    let not_found = || ApiError::snapshot_not_found(&id.to_string(), instance.name.as_str());
    Ok(Answer::entity(describe(call, &instance, &snapshot.ok_or_else(not_found)?)))
}
