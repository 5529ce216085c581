//! `/groups/{groupId}/instances/{name}/snapshots`: taking, keeping and removing snapshots.

use axum::http::StatusCode;
use serde_json::{Value, json};
use tidemark_actions::snapshots::{self, KeepSnapshotError};
use tidemark_catalog::{Instance, Project, Snapshot};
use tidemark_model::Role;

use super::ask::Ask;
use super::describe::describe_snapshot;
use crate::body::Body;
use crate::error::{ApiError, Result};
use crate::operations::instances::snapshot::{parse_wanted, refuse_to_delete, refuse_to_take};

/// Records that a snapshot is wanted now.
pub(super) fn take(
    ask: &Ask<'_>,
    (project, instance): (&Project, &Instance),
) -> Result<(StatusCode, Value)> {
    ask.require(project, Role::GroupBackupManager)?;
    let body = ask.body()?;
    let wanted = parse_wanted(&Body::new(&body)?, ask.api.config.policy.snapshot_retention)?;
    let now = ask.api.clock.now();
    let taken = ask.change("createSnapshot", |catalog| {
        snapshots::take(catalog, instance, wanted.clone(), now).map_err(refuse_to_take)
    })?;
    Ok((StatusCode::CREATED, describe_snapshot(&taken)))
}

/// Says anew until when one is kept.
pub(super) fn keep(ask: &Ask<'_>, project: &Project, snapshot: &Snapshot) -> Result<Value> {
    ask.require(project, Role::GroupBackupManager)?;
    let body = ask.incoming.json()?;
    let body = Body::new(&body)?;
    body.allow(&["expiresAt"])?;
    let until = body.instant("expiresAt")?.ok_or_else(|| body.missing("expiresAt"))?;
    let now = ask.api.clock.now();
    ask.change("updateSnapshot", |catalog| {
        snapshots::keep(catalog, snapshot, until, now).map_err(|error| match error {
            KeepSnapshotError::Incomplete => ApiError::retention_unchangeable(),
            KeepSnapshotError::Over => body.invalid("expiresAt"),
            KeepSnapshotError::Catalog(error) => error.into(),
        })
    })?;
    let kept = Snapshot { expires_at: until, ..snapshot.clone() };
    Ok(describe_snapshot(&kept))
}

/// Removes one.
pub(super) fn delete(
    ask: &Ask<'_>,
    (project, instance): (&Project, &Instance),
    snapshot: &Snapshot,
) -> Result<Value> {
    ask.require(project, Role::GroupBackupManager)?;
    ask.change("deleteSnapshot", |catalog| {
        snapshots::delete(catalog, instance, snapshot.id)
            .map_err(|error| refuse_to_delete(snapshot.id, error))
    })?;
    Ok(json!({ "id": snapshot.id.to_string() }))
}
