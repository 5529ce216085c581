//! How a restore job is shown in the flex API.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tidemark_catalog::RestoreJob;
use tidemark_model::{Delivery, RestoreState, format_instant};

use crate::call::{Call, Target};
use crate::operations::instances::restore_job::download_link;

/// A job is shown as current for this long; recorded without an exception.
const EXPIRATION: SignedDuration = SignedDuration::from_hours(6);
/// How long the link of a flex download works, as the real service promises.
pub(super) const DOWNLOAD_LIFETIME: SignedDuration = SignedDuration::from_hours(4);

pub(super) fn describe(call: &Call<'_>, target: &Target, job: &RestoreJob) -> Value {
    let now = call.api.clock.now();
    let mut body = json!({
        "deliveryType": delivery_type(job.delivery),
        "expirationDate": format_instant(expires_at(job)),
        "id": job.id.to_string(),
        "instanceName": target.instance.name.as_str(),
        "projectId": target.project.id.to_string(),
        "restoreScheduledDate": format_instant(job.created_at),
        "snapshotId": job.delivery.snapshot().to_string(),
        "status": status(&job.state),
    });
    if let Some(fields) = body.as_object_mut() {
        let mut put =
            |name: &str, value: String| drop(fields.insert(name.to_owned(), value.into()));
        if let Some(at) = job.snapshot_finished_at {
            put("snapshotFinishedDate", format_instant(at));
        }
        if let Some(at) = job.state.finished_at() {
            put("restoreFinishedDate", format_instant(at));
        }
        if job.download.is_none() {
            put("targetDeploymentItemName", job.target.name.clone());
            put("targetProjectId", job.target.project.to_string());
        }
        if let Some(link) = download_link(call, job, now) {
            put("snapshotUrl", link);
        }
    }
    body
}

fn delivery_type(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Download { .. } => "DOWNLOAD",
        Delivery::Automated { .. } | Delivery::PointInTime { .. } => "RESTORE",
    }
}

fn expires_at(job: &RestoreJob) -> Timestamp {
    let (from, after) = match &job.download {
        Some(download) => match download.expires_at {
            Some(end) => return end,
            None => (job.created_at, download.lifetime),
        },
        None => (job.created_at, EXPIRATION),
    };
    from.saturating_add(after).unwrap_or(from)
}

/// Who cancels a flex job does what the real service cannot; it is shown as failed.
fn status(state: &RestoreState) -> &'static str {
    match state {
        RestoreState::Queued => "PENDING",
        RestoreState::Running { .. } => "RUNNING",
        RestoreState::Completed { .. } => "COMPLETED",
        RestoreState::Failed { .. } | RestoreState::Cancelled { .. } => "FAILED",
    }
}
