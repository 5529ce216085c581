//! Snapshots, whichever API they are looked at through: taking, finding, removing.

use jiff::SignedDuration;
use tidemark_actions::snapshots::{self, DeleteSnapshotError, OnDemand, TakeSnapshotError};
use tidemark_catalog::{Instance, Snapshot};
use tidemark_model::SnapshotId;

use crate::body::Body;
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};

/// The longest retention that can be asked for, ten years.
const LONGEST_RETENTION_DAYS: i64 = 3_650;
/// The longest description of a snapshot, in characters.
const LONGEST_DESCRIPTION: usize = 1_024;

/// What an API says of a snapshot or job that an instance does not have.
pub(super) type NotFound = fn(id: &str, instance: &str) -> ApiError;

/// The snapshot of the path.
pub(crate) fn find(call: &Call<'_>, target: &Target, not_found: NotFound) -> Result<Snapshot> {
    let id = call.snapshot_id()?;
    load(call, &target.instance, id, not_found)
}

/// A snapshot of an instance.
pub(super) fn load(
    call: &Call<'_>,
    instance: &Instance,
    id: SnapshotId,
    not_found: NotFound,
) -> Result<Snapshot> {
    let snapshot = call.catalog.find_snapshot(instance.id, id)?;
    snapshot.ok_or_else(|| not_found(&id.to_string(), instance.name.as_str()))
}

/// Records that a snapshot is wanted now.
pub(crate) fn take(call: &Call<'_>, target: &Target) -> Result<Snapshot> {
    let wanted = parse_wanted(&call.body()?, call.api.config.policy.snapshot_retention)?;
    let now = call.api.clock.now();
    snapshots::take(call.catalog, &target.instance, wanted, now).map_err(refuse_to_take)
}

/// What a body says of a snapshot that is wanted now.
pub(crate) fn parse_wanted(body: &Body<'_>, otherwise: SignedDuration) -> Result<OnDemand> {
    body.allow(&["description", "retentionInDays"])?;
    let description = body.text("description")?.filter(|text| !text.is_empty());
    if description.is_some_and(|text| text.chars().count() > LONGEST_DESCRIPTION) {
        return Err(body.invalid("description"));
    }
    let retention = parse_retention(body, otherwise)?;
    Ok(OnDemand { retention, description: description.map(str::to_owned) })
}

/// Why no snapshot is taken.
pub(crate) fn refuse_to_take(error: TakeSnapshotError) -> ApiError {
    match error {
        TakeSnapshotError::Unavailable(_) => {
            ApiError::not_updatable("The cluster is not available")
        }
        TakeSnapshotError::Unfinished => ApiError::unfinished_snapshot(),
        TakeSnapshotError::Catalog(error) => error.into(),
    }
}

/// How long a snapshot is kept, as a body says it.
pub(crate) fn parse_retention(
    body: &Body<'_>,
    otherwise: SignedDuration,
) -> Result<SignedDuration> {
    match body.integer("retentionInDays")? {
        None => Ok(otherwise),
        Some(days) if (1..=LONGEST_RETENTION_DAYS).contains(&days) => {
            Ok(SignedDuration::from_hours(24 * days))
        }
        Some(_) => Err(ApiError::retention_invalid()),
    }
}

/// Removes the snapshot of the path.
pub(crate) fn delete(call: &Call<'_>, target: &Target, not_found: NotFound) -> Result<()> {
    let snapshot = find(call, target, not_found)?;
    let deleted = snapshots::delete(call.catalog, &target.instance, snapshot.id);
    deleted.map_err(|error| refuse_to_delete(snapshot.id, error))
}

/// Why a snapshot is not removed.
pub(crate) fn refuse_to_delete(id: SnapshotId, error: DeleteSnapshotError) -> ApiError {
    match error {
        DeleteSnapshotError::InUse => ApiError::snapshot_in_progress(&id.to_string()),
        DeleteSnapshotError::Kept(until) => ApiError::snapshot_kept(&id.to_string(), until),
        DeleteSnapshotError::Catalog(error) => error.into(),
    }
}
