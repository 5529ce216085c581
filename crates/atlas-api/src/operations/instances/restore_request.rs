//! `POST …/backup/restoreJobs` of serverless instances and of clusters: records that a restore is
//! wanted.
//!
//! Everything that can be known now is checked now: the snapshot, the target and the rights on
//! it, and whether the wanted moment can be restored. The rules are in `actions`.

use tidemark_actions::restore_jobs::{Ask, Destination, find_complete};
use tidemark_catalog::{Instance, Project, RestoreJob};
use tidemark_model::{InstanceName, OplogTime, PointInTime, ProjectId, Role, SnapshotId};

use crate::body::Body;
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};

use super::restore_job::{self, Refusals, find_destination};

/// What the schemas have, read-only attributes included: clients send them.
const ATTRIBUTES: &[&str] = &[
    "cancelled",
    "components",
    "deliveryType",
    "deliveryUrl",
    "desiredTimestamp",
    "expired",
    "expiresAt",
    "failed",
    "finishedAt",
    "id",
    "links",
    "oplogInc",
    "oplogTs",
    "pointInTimeUTCSeconds",
    "privateDownloadDeliveryUrls",
    "snapshotId",
    "targetClusterName",
    "targetDeploymentItemName",
    "targetGroupId",
    "timestamp",
];
const MOMENT_ATTRIBUTES: &[&str] = &["oplogInc", "oplogTs", "pointInTimeUTCSeconds"];
/// The earliest moment that the schema allows.
const EARLIEST_MOMENT: i64 = 1_199_145_600;

/// Creates the job that a body asks for; the caller needs `role` in the project of the target.
pub(crate) fn create(call: &Call<'_>, source: &Target, role: Role) -> Result<RestoreJob> {
    let (project, instance) = (&source.project, &source.instance);
    let body = call.body()?;
    body.allow(ATTRIBUTES)?;
    let delivery = body.one_of("deliveryType", &["automated", "download", "pointInTime"])?;
    let delivery = delivery.ok_or_else(|| body.missing("deliveryType"))?;
    if delivery != "pointInTime" {
        for attribute in MOMENT_ATTRIBUTES {
            if body.integer(attribute)?.is_some_and(|value| value != 0) {
                return Err(body.invalid(attribute));
            }
        }
    }
    let (ask, refusals) = match delivery {
        "download" => {
            let refusals = refusals(ApiError::download_incomplete, "snapshotId");
            let snapshot = required_snapshot(call, instance, &body, &refusals)?;
            (Ask::Download { snapshot }, refusals)
        }
        "automated" => {
            let refusals = refusals(ApiError::snapshot_incomplete, "snapshotId");
            let snapshot = required_snapshot(call, instance, &body, &refusals)?;
            (Ask::Automated { snapshot, to: parse_target(call, project, (&body, role))? }, refusals)
        }
        _ => {
            let moment = parse_moment(&body)?;
            let attribute = match moment {
                PointInTime::Second(_) => "pointInTimeUTCSeconds",
                PointInTime::Entry(_) => "oplogTs",
            };
            let refusals = refusals(ApiError::snapshot_incomplete, attribute);
            let base = parse_snapshot(call, instance, &body, &refusals)?;
            check_moment(call, instance, (moment, base), &refusals)?;
            let to = parse_target(call, project, (&body, role))?;
            (Ask::PointInTime { moment, base, to }, refusals)
        }
    };
    let lifetime = call.api.config.download_lifetime;
    restore_job::create(call, instance, &ask, (lifetime, &refusals))
}

fn refusals(incomplete: fn() -> ApiError, moment: &'static str) -> Refusals {
    Refusals { snapshot_not_found: ApiError::snapshot_not_found, incomplete, moment }
}

fn parse_snapshot(
    call: &Call<'_>,
    instance: &Instance,
    body: &Body<'_>,
    refusals: &Refusals,
) -> Result<Option<SnapshotId>> {
    let Some(text) = body.text("snapshotId")?.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let id: SnapshotId = text.parse().map_err(|_| body.invalid("snapshotId"))?;
    find_complete(call.catalog, instance, id).map_err(|error| refusals.of(instance, error))?;
    Ok(Some(id))
}

fn required_snapshot(
    call: &Call<'_>,
    instance: &Instance,
    body: &Body<'_>,
    refusals: &Refusals,
) -> Result<SnapshotId> {
    parse_snapshot(call, instance, body, refusals)?.ok_or_else(|| body.missing("snapshotId"))
}

/// The target, if it exists and the caller has the role in its project.
fn parse_target(
    call: &Call<'_>,
    source: &Project,
    (body, role): (&Body<'_>, Role),
) -> Result<Destination> {
    let required = |attribute: &str| -> Result<&str> {
        let text = body.required_text(attribute)?;
        if text.is_empty() { Err(body.missing(attribute)) } else { Ok(text) }
    };
    let name = required("targetClusterName")?;
    let group: ProjectId =
        required("targetGroupId")?.parse().map_err(|_| body.invalid("targetGroupId"))?;
    let name: InstanceName = name.parse().map_err(|_| body.invalid("targetClusterName"))?;
    find_destination(call, source, Destination { project: group, name }, role)
}

/// Refuses a moment that cannot be reached before the target is looked at, as the real service does.
fn check_moment(
    call: &Call<'_>,
    instance: &Instance,
    (moment, base): (PointInTime, Option<SnapshotId>),
    refusals: &Refusals,
) -> Result<()> {
    let now = call.api.clock.now();
    tidemark_actions::restore_jobs::plan(call.catalog, instance, (moment, base), now)
        .map(drop)
        .map_err(|error| refusals.of(instance, error))
}

/// The wanted moment: either a second or an oplog entry, not both.
fn parse_moment(body: &Body<'_>) -> Result<PointInTime> {
    let number = |attribute: &str, smallest: i64| -> Result<Option<u32>> {
        // Zero is how clients with plain numbers say that they mean nothing.
        let Some(value) = body.integer(attribute)?.filter(|value| *value != 0) else {
            return Ok(None);
        };
        let fits = (smallest..=i64::from(i32::MAX)).contains(&value);
        u32::try_from(value).ok().filter(|_| fits).map(Some).ok_or_else(|| body.invalid(attribute))
    };
    let second = number("pointInTimeUTCSeconds", EARLIEST_MOMENT)?;
    let entry = (number("oplogTs", EARLIEST_MOMENT)?, number("oplogInc", 1)?);
    match (second, entry) {
        (Some(second), (None, None)) => Ok(PointInTime::Second(second)),
        (None, (Some(seconds), Some(increment))) => {
            Ok(PointInTime::Entry(OplogTime::new(seconds, increment)))
        }
        (Some(_), _) => Err(ApiError::invalid_restore_time("pointInTimeUTCSeconds", (None, None))),
        (None, (Some(_), None)) => Err(body.missing("oplogInc")),
        (None, (None, Some(_))) => Err(body.missing("oplogTs")),
        (None, (None, None)) => Err(ApiError::missing_one_of("pointInTimeUTCSeconds", "oplogTs")),
    }
}
