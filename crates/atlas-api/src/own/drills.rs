//! `/groups/{groupId}/instances/{name}/drills`: backups brought back into a scratch database and compared.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use tidemark_actions::drills::{self, CreateDrillError, DrillPoint, WantedDrill};
use tidemark_catalog::{Drill, Instance, Page, Project};
use tidemark_model::{DrillCheck, DrillId, DrillState, PointInTime, Role, format_instant};

use super::ask::{Ask, put, put_failure};
use super::points;
use super::restore_jobs::describe_progress;
use crate::body::Body;
use crate::error::{ApiError, Result};

/// Items of a list at most; the newest come first.
const MOST_SHOWN: u64 = 500;

/// What a request below `drills` may be, if the path leads somewhere.
pub(super) fn methods(rest: &[&str]) -> Option<&'static [&'static str]> {
    match rest {
        [] => Some(&["POST", "GET", "HEAD", "OPTIONS"]),
        [_] | [_, "progress" | "report"] => Some(&["GET", "HEAD", "OPTIONS"]),
        _ => None,
    }
}

/// Answers a request that is one of those.
pub(super) fn respond(
    ask: &Ask<'_>,
    (project, instance): (&Project, &Instance),
    rest: &[&str],
) -> Result<(StatusCode, Value)> {
    let body = match rest {
        [] if ask.incoming.method == Method::POST => {
            let drill = create(ask, (project, instance))?;
            return Ok((StatusCode::CREATED, describe(&drill)));
        }
        [] => {
            let page = Page { number: 1, size: MOST_SHOWN };
            let found = ask.api.catalog.list_drills(instance.id, page)?;
            let items: Vec<Value> = found.items.iter().map(describe).collect();
            json!({ "results": items, "totalCount": found.total })
        }
        [id, rest @ ..] => {
            let drill = find(ask, instance, id)?;
            match rest {
                ["progress"] => {
                    let step = match drill.state {
                        DrillState::Running { step } => Some(step.as_str()),
                        _ => None,
                    };
                    describe_progress(id, drill.state.as_str(), step, &drill.done)
                }
                ["report"] => {
                    if !drill.wanted.checks.is_empty() {
                        // What they found is data.
                        ask.require(project, Role::GroupBackupExportOperator)?;
                    }
                    describe_report(ask, &drill)?
                }
                _ => describe(&drill),
            }
        }
    };
    Ok((StatusCode::OK, body))
}

fn find(ask: &Ask<'_>, instance: &Instance, text: &str) -> Result<Drill> {
    let unknown = || ApiError::drill_not_found(text, instance.name.as_str());
    let id: DrillId = text.parse().map_err(|_| unknown())?;
    ask.api.catalog.find_drill(instance.id, id)?.ok_or_else(unknown)
}

/// Records that a drill is wanted.
fn create(ask: &Ask<'_>, (project, instance): (&Project, &Instance)) -> Result<Drill> {
    ask.require(project, Role::GroupBackupManager)?;
    let body = ask.body()?;
    let body = Body::new(&body)?;
    body.allow(&[&points::ATTRIBUTES[..], &["checks", "point"]].concat())?;
    let point = match (body.one_of("point", &["newest", "random"])?, points::parse(&body)?) {
        (Some("random"), (None, None)) => DrillPoint::Random,
        (_, (None, None)) => DrillPoint::Newest,
        (None, _) => DrillPoint::Named(points::parse_one(&body)?),
        (Some(_), _) => return Err(body.invalid("point")),
    };
    let wanted = WantedDrill { point, checks: parse_checks(&body)?, is_scheduled: false };
    if !wanted.checks.is_empty() {
        // Their answers are data.
        ask.require(project, Role::GroupBackupExportOperator)?;
    }
    let now = ask.api.clock.now();
    ask.change("createDrill", |catalog| {
        drills::create(catalog, instance, &wanted, now).map_err(|error| refusal(instance, error))
    })
}

fn parse_checks(body: &Body<'_>) -> Result<Vec<DrillCheck>> {
    let Some(value) = body.value("checks") else { return Ok(Vec::new()) };
    serde_json::from_value(value.clone())
        .map_err(|error| ApiError::invalid_drill(&format!("checks: {error}")))
}

fn refusal(instance: &Instance, error: CreateDrillError) -> ApiError {
    match error {
        CreateDrillError::NothingToRestore | CreateDrillError::Unfinished => {
            ApiError::drill_not_now(&error.to_string())
        }
        CreateDrillError::Check(error) => ApiError::invalid_drill(&error.to_string()),
        CreateDrillError::Point(error) => points::refusal(instance, error),
        CreateDrillError::Catalog(error) => error.into(),
    }
}

/// A report with its signature: of the report's text, as compact JSON with its keys in this order.
fn describe_report(ask: &Ask<'_>, drill: &Drill) -> Result<Value> {
    let report = drill.report.as_ref().ok_or_else(|| {
        ApiError::drill_not_now("there is no report: the drill is not over, or could not be done")
    })?;
    let parsed: Value = serde_json::from_str(&report.text).map_err(|_| ApiError::unexpected())?;
    Ok(json!({
        "report": parsed,
        "signature": {
            "algorithm": "Ed25519",
            "publicKey": ask.api.config.report_key.public()?,
            "value": report.signature,
        },
    }))
}

/// A drill.
pub(super) fn describe(drill: &Drill) -> Value {
    let wanted = &drill.wanted;
    let mut body = json!({
        "checks": wanted.checks.len(),
        "createdAt": format_instant(wanted.created_at),
        "id": wanted.id.to_string(),
        "isScheduled": wanted.is_scheduled,
        "snapshotId": wanted.snapshot.to_string(),
        "state": drill.state.as_str(),
    });
    match wanted.moment {
        Some(PointInTime::Second(second)) => put(&mut body, "pointInTimeUTCSeconds", second.into()),
        Some(PointInTime::Entry(entry)) => {
            put(&mut body, "oplogTs", entry.seconds.into());
            put(&mut body, "oplogInc", entry.increment.into());
        }
        None => {}
    }
    match &drill.state {
        DrillState::Running { step } => put(&mut body, "step", step.as_str().into()),
        DrillState::Failed { failure, .. } => put_failure(&mut body, failure),
        _ => {}
    }
    if let Some(at) = drill.state.finished_at() {
        put(&mut body, "finishedAt", format_instant(at).into());
    }
    put(&mut body, "hasReport", drill.report.is_some().into());
    body
}
