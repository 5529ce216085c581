//! `/groups/{groupId}/instances/{name}/restoreJobs`: restores of selected namespaces, what a restore
//! would do, and how far one is.

use axum::http::StatusCode;
use serde_json::{Value, json};
use tidemark_actions::restore_jobs::{self, Ask, Destination, Wish};
use tidemark_actions::{Rehearsal, RehearseError, rehearse};
use tidemark_catalog::{Done, Instance, Project, RestoreJob};
use tidemark_model::{DocumentChoice, ExportFormat, OnConflict, ProjectId, Role, Rule, Selection};

use super::ask::{Ask as Asked, put};
use super::describe::describe_job;
use super::points;
use crate::body::Body;
use crate::error::{ApiError, Result};
use crate::operations::instances::restore_job::stop;

const ATTRIBUTES: &[&str] = &[
    "deliveryType",
    "documents",
    "dryRun",
    "format",
    "namespaces",
    "oplogInc",
    "oplogTs",
    "pointInTimeUTCSeconds",
    "replaceInPlace",
    "snapshotId",
    "targetClusterName",
    "targetGroupId",
];

/// Records that a restore is wanted, or says what it would do.
pub(super) fn create(
    asked: &Asked<'_>,
    (project, source): (&Project, &Instance),
) -> Result<(StatusCode, Value)> {
    let body = asked.incoming.json()?;
    let body = Body::new(&body)?;
    body.allow(ATTRIBUTES)?;
    let wish = parse(&body, project, source)?;
    let to = match &wish.ask {
        Ask::Automated { to, .. } | Ask::PointInTime { to, .. } => to.project,
        Ask::Download { .. } | Ask::DownloadOf { .. } => project.id,
    };
    check_rights(asked, project, to)?;
    if let Some(choice) = &wish.documents {
        rehearsal(asked)?.check_documents(choice).map_err(|r| ApiError::invalid_documents(&r))?;
    }
    if body.flag("dryRun")?.unwrap_or(false) {
        return dry_run(asked, source, &wish).map(|plan| (StatusCode::OK, plan));
    }
    let now = asked.api.clock.now();
    let job = asked.change("createRestoreJob", |catalog| {
        restore_jobs::create(catalog, source, &wish, (now, asked.api.config.download_lifetime))
            .map_err(|error| points::refusal(source, error))
    })?;
    Ok((StatusCode::CREATED, describe_job(&job, asked.beside(project, &job))))
}

/// Asks to stop a job; its target stays as it was.
pub(super) fn cancel(asked: &Asked<'_>, project: &Project, job: &RestoreJob) -> Result<Value> {
    asked.require(project, Role::GroupOwner)?;
    let now = asked.api.clock.now();
    asked.change("cancelRestoreJob", |catalog| stop(catalog, job, now))?;
    Ok(json!({ "id": job.id.to_string() }))
}

/// Whoever restores needs the right to in the project of the target too.
fn check_rights(asked: &Asked<'_>, source: &Project, target: ProjectId) -> Result<()> {
    if !asked.caller.may_in_project(source.org, source.id, Role::GroupOwner) {
        return Err(ApiError::not_authorized());
    }
    if target == source.id {
        return Ok(());
    }
    let found = asked.api.catalog.find_project(target)?;
    let found = found.ok_or_else(|| ApiError::group_not_found(target))?;
    if asked.caller.may_in_project(found.org, found.id, Role::GroupOwner) {
        Ok(())
    } else {
        Err(ApiError::cannot_restore_to_target())
    }
}

fn parse(body: &Body<'_>, project: &Project, source: &Instance) -> Result<Wish> {
    let name = body.text("targetClusterName")?.unwrap_or(source.name.as_str());
    let group = match body.text("targetGroupId")? {
        Some(text) => text.parse().map_err(|_| ApiError::invalid_group_id(text))?,
        None => project.id,
    };
    let to = Destination {
        project: group,
        name: name.parse().map_err(|_| ApiError::cluster_not_found(name, group))?,
    };
    let (moment, snapshot) = points::parse(body)?;
    let deliveries = ["automated", "download", "pointInTime"];
    let is_download = body.one_of("deliveryType", &deliveries)? == Some("download");
    let ask = match (moment, snapshot) {
        (Some(moment), base) if is_download => Ask::DownloadOf { moment, base },
        (None, Some(snapshot)) if is_download => Ask::Download { snapshot },
        (Some(moment), base) => Ask::PointInTime { moment, base, to },
        (None, Some(snapshot)) => Ask::Automated { snapshot, to },
        (None, None) => {
            return Err(ApiError::missing_one_of("snapshotId", "pointInTimeUTCSeconds"));
        }
    };
    let selection = parse_selection(body)?;
    let documents = parse_documents(body)?;
    let is_whole = body.has("namespaces") || body.has("replaceInPlace") || is_download;
    if documents.is_some() && is_whole {
        let reason = "they are written into a collection as it is: say no namespaces, no replaceInPlace, and no download beside them";
        return Err(ApiError::invalid_documents(reason));
    }
    Ok(Wish {
        ask,
        format: parse_format(body, &selection)?,
        selection,
        documents,
        replaces_in_place: body.flag("replaceInPlace")?.unwrap_or(false),
    })
}

/// Which documents are wanted, if not whole collections.
fn parse_documents(body: &Body<'_>) -> Result<Option<DocumentChoice>> {
    let Some(documents) = body.object("documents")? else { return Ok(None) };
    documents.allow(&["filter", "namespace", "onConflict", "to"])?;
    let namespace = documents.required_text("namespace")?;
    let filter = documents.value("filter").ok_or_else(|| documents.missing("filter"))?;
    let on_conflict = documents.one_of("onConflict", &OnConflict::WORDS)?;
    let on_conflict = on_conflict.and_then(OnConflict::parse).unwrap_or_default();
    let to = documents.text("to")?.unwrap_or(namespace);
    DocumentChoice::new((namespace, to), filter.clone(), on_conflict)
        .map(Some)
        .map_err(|error| ApiError::invalid_namespaces(&error.to_string()))
}

/// What looks at vault and target.
fn rehearsal<'a>(asked: &'a Asked<'_>) -> Result<&'a dyn Rehearsal> {
    asked.api.config.rehearsal.as_deref().ok_or_else(ApiError::unexpected)
}

/// What the file of a download is; one of documents is of one namespace.
fn parse_format(body: &Body<'_>, selection: &Selection) -> Result<ExportFormat> {
    let words = ExportFormat::ALL.map(ExportFormat::as_str);
    let format = body.one_of("format", &words)?.and_then(ExportFormat::parse);
    let format = format.unwrap_or_default();
    let is_one = matches!(selection.rules(), [rule] if !rule.from.ends_with(".*"));
    if format.is_of_one_collection() && !is_one {
        let reason =
            format!("a file of {} holds one collection: name one namespace", format.as_str());
        return Err(ApiError::invalid_namespaces(&reason));
    }
    Ok(format)
}

fn parse_selection(body: &Body<'_>) -> Result<Selection> {
    let Some(items) = body.objects("namespaces")? else { return Ok(Selection::everything()) };
    let mut rules = Vec::new();
    for item in items {
        item.allow(&["from", "to"])?;
        let from = item.required_text("from")?.to_owned();
        let to = item.text("to")?.map_or_else(|| from.clone(), str::to_owned);
        rules.push(Rule { from, to });
    }
    if rules.is_empty() {
        return Err(body.invalid("namespaces"));
    }
    Selection::new(rules).map_err(|error| ApiError::invalid_namespaces(&error.to_string()))
}

/// What a restore would do. Nothing is written.
fn dry_run(asked: &Asked<'_>, source: &Instance, wish: &Wish) -> Result<Value> {
    let (catalog, now) = (&asked.api.catalog, asked.api.clock.now());
    let rehearsed = rehearse((catalog, rehearsal(asked)?), source, wish, now);
    let rehearsed = rehearsed.map_err(|error| match error {
        RehearseError::Refused(error) => points::refusal(source, error),
        error => ApiError::cannot_rehearse(&error.to_string()),
    })?;
    Ok(json!(rehearsed))
}

/// How far a job is.
pub(super) fn describe_progress(id: &str, state: &str, step: Option<&str>, done: &Done) -> Value {
    let mut body = json!({
        "bytesDone": done.bytes,
        "documentsDone": done.documents,
        "id": id,
        "state": state,
    });
    if let Some(step) = step {
        put(&mut body, "step", step.into());
    }
    if let Some(namespace) = &done.namespace {
        put(&mut body, "namespace", namespace.as_str().into());
    }
    if done.bytes_per_second > 0 {
        put(&mut body, "bytesPerSecond", done.bytes_per_second.into());
    }
    if done.total_bytes > 0 {
        put(&mut body, "bytesTotal", done.total_bytes.into());
        let left = done.total_bytes.saturating_sub(done.bytes);
        if let Some(seconds) = left.checked_div(done.bytes_per_second) {
            put(&mut body, "estimatedSecondsLeft", seconds.into());
        }
    }
    body
}
