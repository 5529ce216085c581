//! `/api/tidemark/v1`: what the real service has no word for.
//!
//! What can be restored, why a job failed and how far one is, and what is left of deleted instances.
//! Whoever may read a project may read these.

mod ask;
mod deployments;
mod describe;
mod drills;
mod inspection;
mod instances;
mod points;
mod restore_jobs;
mod schedules;
mod snapshots;
mod vaults;

use axum::body::Body as Content;
use axum::http::{Method, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tidemark_actions::instances::RehostError;
use tidemark_actions::restore_jobs::list_restorable;
use tidemark_actions::{Change, change};
use tidemark_catalog::{Instance, Order, Page, Project, RestoreJob};
use tidemark_model::{
    Caller, InstanceId, RestoreJobId, RestoreState, Role, SnapshotId, format_instant,
};

use self::ask::Ask;
pub use self::describe::describe_position;
use self::describe::{describe_job, describe_snapshot, describe_span};
use crate::api::Api;
use crate::body::Body;
use crate::error::{ApiError, Result};
use crate::incoming::Incoming;
use crate::operations::instances::snapshot::parse_retention;
use crate::response::{PLAIN, build, failure, wrong_method};
use crate::ticket::ImportTicket;

/// Where it is.
pub(crate) const ROOT: &str = "/api/tidemark/v1/groups/";
/// Items of a list at most; the newest come first.
const MOST_SHOWN: u64 = 500;

/// Answers a known caller.
pub(crate) fn respond(
    api: &Api,
    incoming: &Incoming,
    caller: &Caller,
    path: &str,
) -> Response<Content> {
    let ask = Ask { api, incoming, caller };
    let parts: Vec<&str> = path.split('/').collect();
    let known: &[&str] = match parts[..] {
        [_, "deployments", ref rest @ ..] => match deployments::methods(rest) {
            Some(methods) => methods,
            None => return failure(&ApiError::unknown_route(incoming.uri.path()), PLAIN),
        },
        [_, "instances", _, "drills", ref rest @ ..] => match drills::methods(rest) {
            Some(methods) => methods,
            None => return failure(&ApiError::unknown_route(incoming.uri.path()), PLAIN),
        },
        [_, "instances", _, "rehost" | "imports" | "documents" | "differences" | "openings"] => {
            &["POST", "OPTIONS"]
        }
        [_, "alerts", _, "test"] => &["POST", "OPTIONS"],
        [_, "instances", _, "schedule"] => schedules::METHODS,
        [_, "instances", _, "restoreJobs" | "snapshots"] => &["POST", "GET", "HEAD", "OPTIONS"],
        [_, "instances", _, "snapshots", _] => &["PATCH", "GET", "HEAD", "DELETE", "OPTIONS"],
        [_, "instances", _, "restoreJobs", _] => &["GET", "HEAD", "DELETE", "OPTIONS"],
        _ => &["GET", "HEAD", "OPTIONS"],
    };
    if !known.contains(&incoming.method.as_str()) || incoming.method == Method::OPTIONS {
        return wrong_method(known);
    }
    if let [group, "instances", name, what @ ("documents" | "differences" | "openings")] = parts[..]
    {
        let looked = find_project(api, caller, group).and_then(|project| {
            let instance = find_instance(api, &project, name)?;
            match what {
                "documents" => inspection::search(&ask, (&project, &instance)),
                "openings" => inspection::open(&ask, (&project, &instance)),
                _ => inspection::compare(&ask, (&project, &instance)),
            }
        });
        return looked.unwrap_or_else(|error| failure(&error, PLAIN));
    }
    match answer(&ask, &parts) {
        Ok((status, body)) => build(status, "application/json", Some(body.to_string())),
        Err(error) => failure(&error, PLAIN),
    }
}

/// Finds who answers.
fn answer(ask: &Ask<'_>, parts: &[&str]) -> Result<(StatusCode, Value)> {
    let Ask { api, incoming, caller } = ask;
    let unknown = || ApiError::unknown_route(incoming.uri.path());
    let (group, rest) = parts.split_first().ok_or_else(unknown)?;
    let project = find_project(api, caller, group)?;
    let body = match rest {
        ["deployments", rest @ ..] => return deployments::respond(ask, &project, rest),
        ["instances", name, "rehost"] => rehost(api, incoming, caller, (&project, name)),
        ["instances", name, "restoreJobs"] if incoming.method == Method::POST => {
            let source = find_instance(api, &project, name)?;
            return restore_jobs::create(ask, (&project, &source));
        }
        ["instances", name, "snapshots"] if incoming.method == Method::POST => {
            let instance = find_instance(api, &project, name)?;
            return snapshots::take(ask, (&project, &instance));
        }
        ["instances"] => instances::list(ask, &project),
        ["instances", name, "drills", rest @ ..] => {
            let instance = find_instance(api, &project, name)?;
            return drills::respond(ask, (&project, &instance), rest);
        }
        ["instances", name, "schedule"] => {
            let instance = find_instance(api, &project, name)?;
            schedules::respond(ask, (&project, &instance))
        }
        ["alerts"] => list_alerts(ask, &project),
        ["alerts", name, "test"] => try_alert(ask, (&project, name)),
        ["reportKey"] => report_key(api),
        ["vaults"] => vaults::list(ask, &project),
        ["instances", name, "imports"] => {
            let instance = find_instance(api, &project, name)?;
            return allow_import(ask, (&project, &instance));
        }
        ["retired"] => list_retired(api, &project),
        ["retired", instance, rest @ ..] => {
            let instance = find_retired(api, &project, instance)?;
            describe_backups(ask, &project, &instance, rest)
        }
        ["instances", name, rest @ ..] => {
            let instance = find_instance(api, &project, name)?;
            describe_backups(ask, &project, &instance, rest)
        }
        _ => Err(unknown()),
    };
    Ok((StatusCode::OK, body?))
}

/// What reports of drills are checked with.
fn report_key(api: &Api) -> Result<Value> {
    let key = api.config.report_key.public()?;
    Ok(json!({ "algorithm": "Ed25519", "publicKey": key }))
}

fn find_instance(api: &Api, project: &Project, name: &str) -> Result<Instance> {
    let found = api.catalog.find_instance(project.id, name)?;
    found.ok_or_else(|| ApiError::cluster_not_found(name, project.id))
}

fn find_project(api: &Api, caller: &Caller, text: &str) -> Result<Project> {
    let id = text.parse().map_err(|_| ApiError::invalid_group_id(text))?;
    let project = api.catalog.find_project(id)?.ok_or_else(|| ApiError::group_not_found(id))?;
    if !caller.sees_project(project.org, project.id) {
        return Err(ApiError::not_in_group());
    }
    if !caller.may_in_project(project.org, project.id, Role::GroupReadOnly) {
        return Err(ApiError::not_authorized());
    }
    Ok(project)
}

/// The ways on which people are told what went wrong.
fn list_alerts(ask: &Ask<'_>, project: &Project) -> Result<Value> {
    ask.require(project, Role::GroupReadOnly)?;
    let channels = ask.api.config.alerting.as_ref().map(|alerting| alerting.channels());
    let channels = channels.unwrap_or_default();
    Ok(json!({ "totalCount": channels.len(), "results": channels }))
}

/// Sends a message on one of them.
fn try_alert(ask: &Ask<'_>, (project, name): (&Project, &str)) -> Result<Value> {
    ask.require(project, Role::GroupOwner)?;
    let alerting = ask.api.config.alerting.as_ref();
    let tried = alerting.map_or(Ok(false), |alerting| alerting.try_channel(name));
    match tried {
        Ok(true) => Ok(json!({ "name": name, "sent": true })),
        Ok(false) => Err(ApiError::alert_channel_not_found(name)),
        Err(reason) => Err(ApiError::alert_not_sent(&reason)),
    }
}

/// Lets an instance that has lost its data begin anew with what its backups hold.
fn rehost(
    api: &Api,
    incoming: &Incoming,
    caller: &Caller,
    (project, name): (&Project, &str),
) -> Result<Value> {
    if !caller.may_in_project(project.org, project.id, Role::GroupOwner) {
        return Err(ApiError::not_authorized());
    }
    let (actor, address) = (caller.principal.id(), incoming.address.to_string());
    let by = Change {
        at: api.clock.now(),
        actor: &actor,
        address: Some(&address),
        action: "rehostInstance",
        subject: incoming.uri.path(),
    };
    change(&api.catalog, by, |catalog| {
        let found = catalog.find_instance(project.id, name)?;
        let instance = found.ok_or_else(|| ApiError::cluster_not_found(name, project.id))?;
        let rehosted =
            tidemark_actions::instances::rehost(catalog, &instance, by.at).map_err(|error| {
                match error {
                    RehostError::NotLost => {
                        ApiError::not_updatable("The data of the cluster is where it should be")
                    }
                    RehostError::Restore(error) => {
                        tracing::warn!(%error, "an instance could not begin anew");
                        ApiError::target_unavailable()
                    }
                    RehostError::Catalog(error) => error.into(),
                }
            })?;
        let Some(rehosted) = rehosted else { return Ok(json!({ "restoreJobId": null })) };
        Ok(json!({
            "restoreJobId": rehosted.job.id.to_string(),
            "lostAfter": rehosted.through.map(describe_position),
        }))
    })
}

/// Answers where a dump may be uploaded that becomes a snapshot of an instance.
fn allow_import(
    ask: &Ask<'_>,
    (project, instance): (&Project, &Instance),
) -> Result<(StatusCode, Value)> {
    let Ask { api, incoming, .. } = ask;
    ask.require(project, Role::GroupBackupManager)?;
    let body = ask.body()?;
    let body = Body::new(&body)?;
    body.allow(&["retentionInDays"])?;
    let now = api.clock.now();
    let retention = parse_retention(&body, api.config.policy.snapshot_retention)?;
    let ticket = ImportTicket {
        instance: instance.id,
        snapshot: SnapshotId::new(now),
        expires_at: now.saturating_add(retention).unwrap_or(now),
    };
    let link = ticket.link(api, &incoming.download_url(&api.config));
    Ok((StatusCode::CREATED, json!({ "id": ticket.snapshot.to_string(), "uploadUrl": link })))
}

fn find_retired(api: &Api, project: &Project, text: &str) -> Result<Instance> {
    let retired = api.catalog.list_retired_instances(project.id)?;
    let id: Option<InstanceId> = text.parse().ok();
    let found = retired.into_iter().map(|(instance, _)| instance);
    found
        .into_iter()
        .find(|instance| Some(instance.id) == id)
        .ok_or_else(|| ApiError::cluster_not_found(text, project.id))
}

fn list_retired(api: &Api, project: &Project) -> Result<Value> {
    let retired = api.catalog.list_retired_instances(project.id)?;
    let describe = |(instance, until): &(Instance, Timestamp)| {
        json!({
            "deletedAt": format_instant(instance.changed_at),
            "id": instance.id.to_string(),
            "name": instance.name.as_str(),
            "retainedUntil": format_instant(*until),
        })
    };
    Ok(json!({ "results": retired.iter().map(describe).collect::<Vec<_>>() }))
}

fn describe_backups(
    ask: &Ask<'_>,
    project: &Project,
    instance: &Instance,
    rest: &[&str],
) -> Result<Value> {
    let Ask { api, incoming, .. } = ask;
    let name = instance.name.as_str();
    let page = Page { number: 1, size: MOST_SHOWN };
    match rest {
        [] => instances::show(ask, instance),
        ["restorable"] => {
            let spans = list_restorable(&api.catalog, instance, api.clock.now())?;
            Ok(json!({ "results": spans.iter().map(describe_span).collect::<Vec<_>>() }))
        }
        ["snapshots"] => {
            let found = api.catalog.list_snapshots(instance.id, Order::NewestFirst, page)?;
            let items: Vec<_> = found.items.iter().map(describe_snapshot).collect();
            Ok(json!({ "results": items, "totalCount": found.total }))
        }
        ["snapshots", id, rest @ ..] => {
            let parsed: SnapshotId = id.parse().map_err(|_| ApiError::invalid_snapshot_id(id))?;
            let found = api.catalog.find_snapshot(instance.id, parsed)?;
            let found = found.ok_or_else(|| ApiError::snapshot_not_found(id, name))?;
            match rest {
                [] if incoming.method == Method::PATCH => snapshots::keep(ask, project, &found),
                [] if incoming.method == Method::DELETE => {
                    snapshots::delete(ask, (project, instance), &found)
                }
                [] => Ok(describe_snapshot(&found)),
                ["progress"] => {
                    let state = found.state.as_str();
                    Ok(restore_jobs::describe_progress(id, state, None, &found.done))
                }
                _ => Err(ApiError::unknown_route(incoming.uri.path())),
            }
        }
        ["restoreJobs"] => {
            let found = api.catalog.list_restore_jobs(instance.id, page)?;
            let describe = |job| describe_job(job, ask.beside(project, job));
            let items: Vec<_> = found.items.iter().map(describe).collect();
            Ok(json!({ "results": items, "totalCount": found.total }))
        }
        ["restoreJobs", id, rest @ ..] => {
            let parsed: RestoreJobId = id.parse().map_err(|_| ApiError::invalid_job_id(id))?;
            let found = api.catalog.find_restore_job(instance.id, parsed)?;
            let found = found.ok_or_else(|| ApiError::restore_job_not_found(id, name))?;
            match rest {
                [] if incoming.method == Method::DELETE => {
                    restore_jobs::cancel(ask, project, &found)
                }
                [] => Ok(describe_job(&found, ask.beside(project, &found))),
                ["progress"] => {
                    let (state, step) = (found.state.as_str(), step_of(&found));
                    Ok(restore_jobs::describe_progress(id, state, step, &found.done))
                }
                _ => Err(ApiError::unknown_route(incoming.uri.path())),
            }
        }
        _ => Err(ApiError::unknown_route(incoming.uri.path())),
    }
}

fn step_of(job: &RestoreJob) -> Option<&'static str> {
    match &job.state {
        RestoreState::Running { step } => Some(step.as_str()),
        _ => None,
    }
}
