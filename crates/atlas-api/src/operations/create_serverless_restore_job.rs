//! `POST …/backup/restoreJobs`: records that a restore is wanted.
//!
//! Everything that can be known now is checked now: the snapshot, the target and the rights on
//! it, and whether the wanted moment can be restored.

use tidemark_catalog::{Instance, OplogRange, Project, Snapshot, TargetName};
use tidemark_model::{
    Delivery, InstanceName, OplogTime, PointInTime, ProjectId, Role, SnapshotId, SnapshotState,
};

use crate::answer::Answer;
use crate::body::Body;
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};

use super::restore_job::{Wanted, check_complete, find_target, insert};
use super::serverless_restore_job::describe;
use super::snapshot::load;

const ATTRIBUTES: &[&str] = &[
    "cancelled",
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
    "snapshotId",
    "targetClusterName",
    "targetGroupId",
    "timestamp",
];
const MOMENT_ATTRIBUTES: &[&str] = &["oplogInc", "oplogTs", "pointInTimeUTCSeconds"];
/// The earliest moment that the schema allows.
const EARLIEST_MOMENT: i64 = 1_199_145_600;

pub(crate) fn run(call: &Call<'_>, source: &Target) -> Result<Answer> {
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
    let own_name = TargetName { project: project.id, name: instance.name.to_string() };
    let (delivery, snapshot, target) = match delivery {
        "download" => {
            let snapshot =
                parse_snapshot(call, instance, &body)?.ok_or_else(|| body.missing("snapshotId"))?;
            check_complete(&snapshot, ApiError::download_incomplete)?;
            (Delivery::Download { snapshot: snapshot.id }, snapshot, own_name)
        }
        "automated" => {
            let snapshot =
                parse_snapshot(call, instance, &body)?.ok_or_else(|| body.missing("snapshotId"))?;
            check_complete(&snapshot, ApiError::snapshot_incomplete)?;
            let (target, name) = parse_target(call, project, &body)?;
            (Delivery::Automated { snapshot: snapshot.id, target: target.id }, snapshot, name)
        }
        _ => {
            let moment = parse_moment(&body)?;
            let base = find_base(call, instance, &body, moment)?;
            let (target, name) = parse_target(call, project, &body)?;
            (Delivery::PointInTime { moment, base: base.id, target: target.id }, base, name)
        }
    };
    let download_lifetime = call.api.config.download_lifetime;
    let wanted = Wanted { delivery, snapshot, target, download_lifetime };
    let job = insert(call, instance, wanted)?;
    Ok(Answer::entity(describe(call, instance, &job)))
}

fn parse_snapshot(
    call: &Call<'_>,
    instance: &Instance,
    body: &Body<'_>,
) -> Result<Option<Snapshot>> {
    let Some(text) = body.text("snapshotId")?.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let id: SnapshotId = text.parse().map_err(|_| body.invalid("snapshotId"))?;
    load(call, instance, id, ApiError::snapshot_not_found).map(Some)
}

/// The target, if it exists and the caller owns its project.
fn parse_target(
    call: &Call<'_>,
    source: &Project,
    body: &Body<'_>,
) -> Result<(Instance, TargetName)> {
    let required = |attribute: &str| -> Result<&str> {
        let text = body.required_text(attribute)?;
        if text.is_empty() { Err(body.missing(attribute)) } else { Ok(text) }
    };
    let name = required("targetClusterName")?;
    let group: ProjectId =
        required("targetGroupId")?.parse().map_err(|_| body.invalid("targetGroupId"))?;
    let name: InstanceName = name.parse().map_err(|_| body.invalid("targetClusterName"))?;
    find_target(call, source, (group, &name), Role::GroupOwner)
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
        (Some(_), _) => Err(ApiError::invalid_restore_time("pointInTimeUTCSeconds")),
        (None, (Some(_), None)) => Err(body.missing("oplogInc")),
        (None, (None, Some(_))) => Err(body.missing("oplogTs")),
        (None, (None, None)) => Err(ApiError::missing_one_of("pointInTimeUTCSeconds", "oplogTs")),
    }
}

/// The snapshot from which the moment is reached, if the captured oplog leads there.
fn find_base(
    call: &Call<'_>,
    instance: &Instance,
    body: &Body<'_>,
    moment: PointInTime,
) -> Result<Snapshot> {
    let attribute = match moment {
        PointInTime::Second(_) => "pointInTimeUTCSeconds",
        PointInTime::Entry(_) => "oplogTs",
    };
    let outside = || ApiError::invalid_restore_time(attribute);
    let through = moment.last_position();
    let now = u32::try_from(call.api.clock.now().as_second()).unwrap_or(u32::MAX);
    let ranges = call.api.catalog.list_oplog_ranges(instance.id)?;
    let newest = ranges.last().copied();
    let reaches = |range: &&OplogRange| {
        // The newest range grows up to the present.
        let is_growing = Some(**range) == newest;
        range.first <= through && (through <= range.last || (is_growing && through.seconds <= now))
    };
    let range = ranges.iter().rev().find(reaches).ok_or_else(outside)?;
    let base = call.api.catalog.find_base_snapshot(instance.id, (range.first, through))?;
    match parse_snapshot(call, instance, body)? {
        None => base.ok_or_else(outside),
        Some(wanted) => match wanted.state {
            SnapshotState::Completed { consistent_at: Some(at), .. }
                if range.first <= at && at <= through =>
            {
                Ok(wanted)
            }
            SnapshotState::Completed { .. } => Err(outside()),
            _ => Err(ApiError::snapshot_incomplete()),
        },
    }
}
