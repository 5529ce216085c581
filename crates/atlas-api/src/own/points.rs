//! Snapshots and moments, as bodies below `/api/tidemark/v1` name them.

use tidemark_actions::restore_jobs::CreateRestoreJobError;
use tidemark_catalog::Instance;
use tidemark_model::{BackupPoint, OplogTime, PlanError, PointInTime, SnapshotId};

use crate::body::Body;
use crate::error::{ApiError, Result};
use crate::operations::instances::restore_job::Refusals;

/// The attributes that name one.
pub(super) const ATTRIBUTES: [&str; 4] =
    ["oplogInc", "oplogTs", "pointInTimeUTCSeconds", "snapshotId"];

/// The moment and the snapshot that a body names.
pub(super) fn parse(body: &Body<'_>) -> Result<(Option<PointInTime>, Option<SnapshotId>)> {
    let snapshot = body.text("snapshotId")?;
    let snapshot = snapshot
        .map(|text| text.parse().map_err(|_| ApiError::invalid_snapshot_id(text)))
        .transpose()?;
    let number = |attribute: &str| -> Result<Option<u32>> {
        let number = body.integer(attribute)?;
        number.map(|n| u32::try_from(n).map_err(|_| body.invalid(attribute))).transpose()
    };
    let moment = match (number("pointInTimeUTCSeconds")?, number("oplogTs")?, number("oplogInc")?) {
        (None, None, None) => None,
        (Some(second), None, None) => Some(PointInTime::Second(second)),
        (None, Some(second), Some(increment)) => {
            Some(PointInTime::Entry(OplogTime::new(second, increment)))
        }
        _ => return Err(body.invalid("pointInTimeUTCSeconds")),
    };
    Ok((moment, snapshot))
}

/// The one that a body names.
pub(super) fn parse_one(body: &Body<'_>) -> Result<BackupPoint> {
    match parse(body)? {
        (Some(moment), base) => Ok(BackupPoint::Moment(moment, base)),
        (None, Some(snapshot)) => Ok(BackupPoint::Snapshot(snapshot)),
        (None, None) => Err(ApiError::missing_one_of("snapshotId", "pointInTimeUTCSeconds")),
    }
}

/// As the serverless API refuses it, but a snapshot that leads nowhere is named.
pub(super) fn refusal(source: &Instance, error: CreateRestoreJobError) -> ApiError {
    if matches!(error, CreateRestoreJobError::Plan(PlanError::WrongBase { .. })) {
        return ApiError::invalid_restore_time("snapshotId", (None, None));
    }
    let refusals = Refusals {
        snapshot_not_found: ApiError::snapshot_not_found,
        incomplete: ApiError::snapshot_incomplete,
        moment: "pointInTimeUTCSeconds",
    };
    refusals.of(source, error)
}
