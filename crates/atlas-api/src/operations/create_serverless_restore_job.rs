//! `POST …/backup/restoreJobs`: records that a restore is wanted.
//!
//! Everything that can be known now is checked now: the snapshot, the target and the rights on
//! it, and whether the wanted moment can be restored.

use jiff::Timestamp;
use tidemark_catalog::{Instance, NewRestoreJob, OplogRange, Project, Snapshot, TargetName};
use tidemark_model::{
    Delivery, InstanceState, OplogTime, PointInTime, ProjectId, RestoreJobId, Role, SnapshotId,
    SnapshotState,
};

use crate::answer::Answer;
use crate::body::Body;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::serverless_restore_job::describe;

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

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let (project, instance) = call.instance(Role::GroupOwner)?;
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
            let snapshot = parse_snapshot(call, &instance, &body)?
                .ok_or_else(|| body.missing("snapshotId"))?;
            check_complete(&snapshot, ApiError::download_incomplete)?;
            (Delivery::Download { snapshot: snapshot.id }, snapshot, own_name)
        }
        "automated" => {
            let snapshot = parse_snapshot(call, &instance, &body)?
                .ok_or_else(|| body.missing("snapshotId"))?;
            check_complete(&snapshot, ApiError::snapshot_incomplete)?;
            let (target, name) = parse_target(call, &project, &body)?;
            (Delivery::Automated { snapshot: snapshot.id, target: target.id }, snapshot, name)
        }
        _ => {
            let moment = parse_moment(&body)?;
            let base = find_base(call, &instance, &body, moment)?;
            let (target, name) = parse_target(call, &project, &body)?;
            (Delivery::PointInTime { moment, base: base.id, target: target.id }, base, name)
        }
    };
    let created_at = call.api.clock.now();
    let job = NewRestoreJob {
        id: RestoreJobId::new(created_at),
        instance: instance.id,
        delivery,
        snapshot_at: snapshot_instant(&snapshot),
        target,
        created_at,
    };
    call.api.catalog.insert_restore_job(&job)?;
    let job = call.api.catalog.load_restore_job(job.id)?;
    Ok(Answer::entity(describe(call, &instance, &job)))
}

/// The moment that a snapshot shows.
fn snapshot_instant(snapshot: &Snapshot) -> Timestamp {
    match &snapshot.state {
        SnapshotState::Completed { consistent_at: Some(at), .. } => {
            Timestamp::from_second(i64::from(at.seconds)).unwrap_or(snapshot.created_at)
        }
        _ => snapshot.created_at,
    }
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
    let snapshot = call.api.catalog.find_snapshot(instance.id, id)?;
    snapshot.map(Some).ok_or_else(|| ApiError::snapshot_not_found(text, instance.name.as_str()))
}

fn check_complete(snapshot: &Snapshot, error: fn() -> ApiError) -> Result<()> {
    if matches!(snapshot.state, SnapshotState::Completed { .. }) { Ok(()) } else { Err(error()) }
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
    if name.parse::<tidemark_model::InstanceName>().is_err() {
        return Err(body.invalid("targetClusterName"));
    }
    let project = if group == source.id {
        source.clone()
    } else {
        let found = call
            .api
            .catalog
            .find_project(group)?
            .ok_or_else(|| ApiError::group_not_found(group))?;
        if !call.caller.may_in_project(found.org, found.id, Role::GroupOwner) {
            return Err(ApiError::cannot_restore_to_target());
        }
        found
    };
    let target = call.api.catalog.find_instance(project.id, name)?;
    let target = target.ok_or_else(|| ApiError::cluster_not_found(name, project.id))?;
    if !matches!(target.state, InstanceState::Idle | InstanceState::Updating) {
        return Err(ApiError::target_unavailable());
    }
    Ok((target, TargetName { project: project.id, name: name.to_owned() }))
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
