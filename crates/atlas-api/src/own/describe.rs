//! Instances, snapshots, restore jobs and moments, as `/api/tidemark/v1` shows them.

use jiff::Timestamp;
use serde_json::{Value, json};
use tidemark_catalog::{Instance, InstanceTrouble, RestoreJob, Snapshot};
use tidemark_model::{OplogSpan, OplogTime, RestoreState, SnapshotState, format_instant};

use super::ask::{Beside, put, put_failure};

pub(super) fn describe_instance(instance: &Instance) -> Value {
    let mut body = json!({
        "id": instance.id.to_string(),
        "name": instance.name.as_str(),
        "state": instance.state.as_str(),
    });
    if let Some(vault) = &instance.vault {
        put(&mut body, "vault", vault.as_str().into());
    }
    match &instance.trouble {
        Some(InstanceTrouble::NodeLost) => {
            put(&mut body, "reason", "the node that has its data is gone".into());
        }
        Some(InstanceTrouble::DataLost) => put(&mut body, "reason", "its data is gone".into()),
        Some(InstanceTrouble::NotStarted(text)) => put(&mut body, "reason", text.as_str().into()),
        None => {}
    }
    body
}

/// A place in an oplog.
pub fn describe_position(at: OplogTime) -> Value {
    let instant = Timestamp::from_second(i64::from(at.seconds)).unwrap_or(Timestamp::UNIX_EPOCH);
    // The last position of a second has no entry of its own.
    match at.increment {
        u32::MAX => json!({ "date": format_instant(instant), "oplogTs": at.seconds }),
        increment => json!({
            "date": format_instant(instant), "oplogInc": increment, "oplogTs": at.seconds,
        }),
    }
}

pub(super) fn describe_span(span: &OplogSpan) -> Value {
    json!({ "from": describe_position(span.first), "through": describe_position(span.last) })
}

pub(super) fn describe_snapshot(snapshot: &Snapshot) -> Value {
    let mut body = json!({
        "createdAt": format_instant(snapshot.created_at),
        "expiresAt": format_instant(snapshot.expires_at),
        "id": snapshot.id.to_string(),
        "kind": snapshot.kind.as_str(),
        "state": snapshot.state.as_str(),
    });
    match &snapshot.state {
        SnapshotState::Completed { consistent_at: Some(at), size_bytes, .. } => {
            put(&mut body, "shows", describe_position(*at));
            put(&mut body, "sizeBytes", (*size_bytes).into());
        }
        SnapshotState::Failed { failure, .. } => put_failure(&mut body, failure),
        _ => {}
    }
    if let Some(description) = &snapshot.description {
        put(&mut body, "description", description.as_str().into());
    }
    if let Some(mode) = &snapshot.mode {
        put(&mut body, "mode", mode.as_str().into());
        // Nobody shall take it for the state of one moment.
        put(&mut body, "isPointInTime", (mode != "asIs").into());
    }
    if let Some(reason) = &snapshot.mode_reason {
        put(&mut body, "modeReason", reason.as_str().into());
    }
    if let Some(comparison) = &snapshot.comparison {
        let with = comparison.with.to_string();
        let shown = json!({ "differences": comparison.differences, "snapshotId": with });
        put(&mut body, "comparison", shown);
    }
    if let Some(at) = snapshot.state.finished_at() {
        put(&mut body, "finishedAt", format_instant(at).into());
    }
    body
}

/// A job.
pub(super) fn describe_job(job: &RestoreJob, Beside { link, notice }: Beside) -> Value {
    let mut body = json!({
        "bytesDone": job.done.bytes,
        "createdAt": format_instant(job.created_at),
        "deliveryType": job.delivery.as_str(),
        "documentsDone": job.done.documents,
        "id": job.id.to_string(),
        "snapshotId": job.delivery.snapshot().to_string(),
        "state": job.state.as_str(),
        "targetClusterName": job.target.name.as_str(),
        "targetGroupId": job.target.project.to_string(),
    });
    if job.replaces_in_place {
        put(&mut body, "replaceInPlace", true.into());
    }
    if let Some(choice) = &job.documents {
        put(&mut body, "documents", json!(choice));
    }
    if !job.selection.is_everything() {
        put(&mut body, "namespaces", json!(job.selection));
    }
    if let Some(download) = &job.download {
        put(&mut body, "format", download.format.as_str().into());
        if let Some(end) = download.expires_at {
            put(&mut body, "expiresAt", format_instant(end).into());
        }
    }
    if let Some(notice) = notice {
        put(&mut body, "notice", notice.into());
    }
    if let Some(link) = link {
        put(&mut body, "downloadUrl", link.into());
    }
    match &job.state {
        RestoreState::Running { step } => put(&mut body, "step", step.as_str().into()),
        RestoreState::Failed { failure, .. } => put_failure(&mut body, failure),
        _ => {}
    }
    if let Some(at) = job.state.finished_at() {
        put(&mut body, "finishedAt", format_instant(at).into());
    }
    body
}
