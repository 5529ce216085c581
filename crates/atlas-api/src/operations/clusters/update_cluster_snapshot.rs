//! `PATCH …/backup/snapshots/{snapshotId}`: says anew how long a snapshot is kept, from when it was
//! taken.

use tidemark_model::{Retention, RetentionUnit, SnapshotState};

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};

use super::cluster_snapshot::describe;
use crate::operations::instances::snapshot::find;

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let snapshot = find(call, target, ApiError::snapshot_not_found)?;
    let body = call.body()?;
    body.allow(&["links", "retentionUnit", "retentionValue"])?;
    let word = body.required_text("retentionUnit")?;
    let unit = RetentionUnit::parse(&word.to_ascii_lowercase())
        .ok_or_else(|| ApiError::invalid_enum_value(word))?;
    let value = body.integer("retentionValue")?.ok_or_else(|| body.missing("retentionValue"))?;
    let value = u32::try_from(value).map_err(|_| ApiError::retention_invalid())?;
    let retention = Retention { unit, value };
    if !retention.is_sound() {
        return Err(ApiError::retention_invalid());
    }
    if !matches!(snapshot.state, SnapshotState::Completed { .. }) {
        return Err(ApiError::retention_unchangeable());
    }
    let expires_at = retention.after(snapshot.created_at);
    call.catalog.set_snapshot_expiry(snapshot.id, expires_at)?;
    let snapshot = tidemark_catalog::Snapshot { expires_at, ..snapshot };
    Ok(Answer::entity(describe(call, &target.instance, &snapshot)))
}
