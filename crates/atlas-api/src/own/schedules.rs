//! `/groups/{groupId}/instances/{name}/schedule`: when snapshots are taken and drills done by themselves, of
//! any instance.

use axum::http::Method;
use serde_json::{Value, json};
use tidemark_actions::schedules::{self, WantedDrills, WantedSchedule};
use tidemark_catalog::{Instance, Project};
use tidemark_model::{
    BackupPolicy, BackupSchedule, DrillCheck, DrillLine, Frequency, LONGEST_WINDOW_DAYS,
    LineTiming, MOST_SCHEDULE_LINES, Retention, RetentionUnit, Role, SnapshotLine, UTC,
    format_instant, frequency_of_cron, is_time_zone, parse_time_of_day,
};

use super::ask::{Ask, put};
use crate::body::Body;
use crate::error::{ApiError, Result};

pub(super) const METHODS: &[&str] = &["GET", "HEAD", "PUT", "DELETE", "OPTIONS"];
const ATTRIBUTES: &[&str] = &["drills", "restoreWindowDays", "snapshots", "time", "timeZone"];
const TIMING: &[&str] = &["cron", "frequency", "interval"];

/// Answers a request.
pub(super) fn respond(ask: &Ask<'_>, (project, instance): (&Project, &Instance)) -> Result<Value> {
    let now = ask.api.clock.now();
    match ask.incoming.method {
        Method::PUT => {
            ask.require(project, Role::GroupBackupManager)?;
            let body = ask.body()?;
            let wanted = parse(&Body::new(&body)?)?;
            if wanted.drills.iter().any(|drills| !drills.checks.is_empty()) {
                // Their answers are data.
                ask.require(project, Role::GroupBackupExportOperator)?;
            }
            ask.change("setBackupSchedule", |catalog| {
                schedules::set(catalog, instance, &wanted, now)
                    .map_err(|error| ApiError::invalid_schedule(&error.to_string()))
            })?;
        }
        Method::DELETE => {
            ask.require(project, Role::GroupBackupManager)?;
            ask.change("resetBackupSchedule", |catalog| {
                schedules::reset(catalog, instance, now)
                    .map_err(|error| ApiError::invalid_schedule(&error.to_string()))
            })?;
        }
        _ => {}
    }
    let own = ask.api.catalog.find_backup_schedule(instance.id)?;
    Ok(match own {
        Some(own) => describe(&own, now),
        None => describe_policy(&ask.api.config.policy),
    })
}

fn parse(body: &Body<'_>) -> Result<WantedSchedule> {
    body.allow(ATTRIBUTES)?;
    let (hour, minute) = parse_time(body)?;
    let time_zone = body.text("timeZone")?.unwrap_or(UTC);
    if !is_time_zone(time_zone) {
        return Err(ApiError::invalid_schedule(&format!(
            "{time_zone:?} is no time zone of the IANA database, as Asia/Seoul is"
        )));
    }
    let days = body.integer("restoreWindowDays")?.unwrap_or(7);
    let days = u32::try_from(days).ok().filter(|days| (1..=LONGEST_WINDOW_DAYS).contains(days));
    let lines = |name: &str| -> Result<Vec<Body<'_>>> {
        let lines = body.objects(name)?.unwrap_or_default();
        if lines.len() > MOST_SCHEDULE_LINES { Err(body.invalid(name)) } else { Ok(lines) }
    };
    Ok(WantedSchedule {
        time_zone: time_zone.to_owned(),
        hour,
        minute,
        restore_window_days: days.ok_or_else(|| body.invalid("restoreWindowDays"))?,
        snapshots: lines("snapshots")?.iter().map(parse_snapshots).collect::<Result<_>>()?,
        drills: lines("drills")?.iter().map(parse_drills).collect::<Result<_>>()?,
    })
}

/// A time of the day, `18:30`.
fn parse_time(body: &Body<'_>) -> Result<(i8, i8)> {
    let text = body.text("time")?.unwrap_or("00:00");
    parse_time_of_day(text).ok_or_else(|| body.invalid("time"))
}

fn parse_snapshots(line: &Body<'_>) -> Result<SnapshotLine> {
    line.allow(&[TIMING, &["keep"]].concat())?;
    let timing = parse_timing(line)?;
    let keep = line.object("keep")?.ok_or_else(|| line.missing("keep"))?;
    keep.allow(&["unit", "value"])?;
    let word = keep.required_text("unit")?;
    let unit = RetentionUnit::parse(word).ok_or_else(|| ApiError::invalid_enum_value(word))?;
    let value = keep.integer("value")?.ok_or_else(|| keep.missing("value"))?;
    let retention = u32::try_from(value).ok().map(|value| Retention { unit, value });
    let sound = retention.filter(|retention| retention.is_sound());
    Ok(SnapshotLine { timing, retention: sound.ok_or_else(|| keep.invalid("value"))? })
}

fn parse_drills(line: &Body<'_>) -> Result<WantedDrills> {
    line.allow(&[TIMING, &["checks", "point"]].concat())?;
    let checks = match line.value("checks") {
        None => Vec::new(),
        Some(checks) => serde_json::from_value(checks.clone())
            .map_err(|error| ApiError::invalid_drill(&format!("checks: {error}")))?,
    };
    DrillCheck::check_all(&checks).map_err(|error| ApiError::invalid_drill(&error.to_string()))?;
    let is_random = line.one_of("point", &["newest", "random"])? == Some("random");
    Ok(WantedDrills { line: DrillLine { timing: parse_timing(line)?, is_random }, checks })
}

fn parse_timing(line: &Body<'_>) -> Result<LineTiming> {
    if let Some(cron) = line.text("cron")? {
        if line.has("frequency") || line.has("interval") {
            let reason = "a line has a cron expression, or a frequency and an interval";
            return Err(ApiError::invalid_schedule(reason));
        }
        let frequency = frequency_of_cron(cron);
        let frequency = frequency.map_err(|e| ApiError::invalid_schedule(&e.to_string()))?;
        return Ok(LineTiming { frequency, interval: 1, cron: Some(cron.to_owned()) });
    }
    let word = line.required_text("frequency")?;
    let frequency = Frequency::parse(word).ok_or_else(|| ApiError::invalid_enum_value(word))?;
    let interval = u32::try_from(line.integer("interval")?.unwrap_or(1)).ok();
    let interval = interval.filter(|interval| frequency.allows(*interval));
    let interval = interval.ok_or_else(|| line.invalid("interval"))?;
    Ok(LineTiming { frequency, interval, cron: None })
}

fn describe(schedule: &BackupSchedule, now: jiff::Timestamp) -> Value {
    let timing = |frequency: Frequency, interval: u32, cron: &Option<String>| match cron {
        Some(cron) => json!({ "cron": cron }),
        None => json!({ "frequency": frequency.as_str(), "interval": interval }),
    };
    let snapshots = schedule.items.iter().map(|item| {
        let mut line = timing(item.frequency, item.interval, &item.cron);
        let Retention { unit, value } = item.retention;
        put(&mut line, "keep", json!({ "unit": unit.as_str(), "value": value }));
        line
    });
    let drills = schedule.drills.iter().map(|item| {
        let mut line = timing(item.frequency, item.interval, &item.cron);
        put(&mut line, "point", if item.is_random { "random" } else { "newest" }.into());
        put(&mut line, "checks", json!(item.checks));
        line
    });
    let mut body = json!({
        "drills": drills.collect::<Vec<_>>(),
        "isOwn": true,
        "restoreWindowDays": schedule.restore_window_days,
        "snapshots": snapshots.collect::<Vec<_>>(),
        "time": format!("{:02}:{:02}", schedule.hour, schedule.minute),
        "timeZone": schedule.time_zone,
    });
    for (name, next) in
        [("nextSnapshot", schedule.next_slot(now)), ("nextDrill", schedule.next_drill(now))]
    {
        if let Some(next) = next {
            put(&mut body, name, format_instant(next).into());
        }
    }
    body
}

/// What holds for an instance that has no schedule of its own.
fn describe_policy(policy: &BackupPolicy) -> Value {
    json!({
        "drills": [],
        "isOwn": false,
        "policy": {
            "snapshotInterval": policy.snapshot_interval.as_secs(),
            "snapshotRetention": policy.snapshot_retention.as_secs(),
            "restoreWindow": policy.oplog_retention.as_secs(),
        },
        "snapshots": [],
        "timeZone": UTC,
    })
}
