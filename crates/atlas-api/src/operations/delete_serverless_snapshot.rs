//! `DELETE …/backup/snapshots/{snapshotId}`: removes a snapshot. Not in the real service.

use tidemark_catalog::CatalogError;
use tidemark_model::Role;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let (_, instance) = call.instance(Role::GroupBackupManager)?;
    let id = call.snapshot_id()?;
    if call.api.catalog.find_snapshot(instance.id, id)?.is_none() {
        return Err(ApiError::snapshot_not_found(&id.to_string(), instance.name.as_str()));
    }
    match call.api.catalog.delete_snapshot(instance.id, id) {
        Err(CatalogError::InUse(_)) => Err(ApiError::snapshot_in_progress(&id.to_string())),
        outcome => {
            outcome?;
            Ok(Answer::no_content())
        }
    }
}
