//! `POST …/backup/snapshots`: records that a snapshot is wanted now. Not in the real service.

use jiff::SignedDuration;
use tidemark_catalog::{NewSnapshot, Snapshot};
use tidemark_model::{InstanceState, Role, SnapshotKind, SnapshotState};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::serverless_snapshot::describe;

/// The longest retention that can be asked for, ten years.
const LONGEST_RETENTION_DAYS: i64 = 3_650;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let (_, instance) = call.instance(Role::GroupBackupCreator)?;
    let body = call.body()?;
    body.allow(&["description", "retentionInDays"])?;
    body.text("description")?;
    let retention = match body.integer("retentionInDays")? {
        None => call.api.config.policy.snapshot_retention,
        Some(days) if (1..=LONGEST_RETENTION_DAYS).contains(&days) => {
            SignedDuration::from_hours(24 * days)
        }
        Some(_) => return Err(ApiError::retention_invalid()),
    };
    if !matches!(instance.state, InstanceState::Idle | InstanceState::Updating) {
        return Err(ApiError::not_updatable("The cluster is not available"));
    }
    let newest = call
        .api
        .catalog
        .list_snapshots(instance.id, tidemark_catalog::Page { number: 1, size: 1 })?;
    let is_waiting =
        |snapshot: &Snapshot| snapshot.kind == SnapshotKind::OnDemand && !snapshot.state.is_final();
    if newest.items.iter().any(is_waiting) {
        return Err(ApiError::unfinished_snapshot());
    }
    let now = call.api.clock.now();
    let snapshot = NewSnapshot::new(instance.id, SnapshotKind::OnDemand, now, retention);
    call.api.catalog.insert_snapshot(&snapshot)?;
    let snapshot = Snapshot {
        id: snapshot.id,
        instance: snapshot.instance,
        kind: snapshot.kind,
        created_at: snapshot.created_at,
        expires_at: snapshot.expires_at,
        state: SnapshotState::Queued,
        server_version: None,
    };
    Ok(Answer::entity(describe(call, &instance, &snapshot)))
}
