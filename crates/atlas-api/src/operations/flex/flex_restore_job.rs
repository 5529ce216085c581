//! How a restore job is shown in the flex API.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tidemark_catalog::RestoreJob;
use tidemark_model::{Delivery, RestoreState, format_instant};

use crate::call::{Call, Target};
use crate::operations::instances::restore_job::download_link;

/// A job is shown as current for this long; recorded without an exception.
const EXPIRATION: SignedDuration = SignedDuration::from_hours(6);
/// How long the link of a flex download works, as the real service promises.
pub(super) const DOWNLOAD_LIFETIME: SignedDuration = SignedDuration::from_hours(4);

/// A job as it is written; the keys are in alphabetical order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FlexJobBody<'a> {
    delivery_type: &'static str,
    expiration_date: String,
    id: String,
    instance_name: &'a str,
    project_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    restore_finished_date: Option<String>,
    restore_scheduled_date: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_finished_date: Option<String>,
    snapshot_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_url: Option<String>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_deployment_item_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_project_id: Option<String>,
}

pub(super) fn describe<'a>(
    call: &Call<'_>,
    target: &'a Target,
    job: &'a RestoreJob,
) -> FlexJobBody<'a> {
    let has_target = job.download.is_none();
    FlexJobBody {
        delivery_type: delivery_type(job.delivery),
        expiration_date: format_instant(expires_at(job)),
        id: job.id.to_string(),
        instance_name: target.instance.name.as_str(),
        project_id: target.project.id.to_string(),
        restore_finished_date: job.state.finished_at().map(format_instant),
        restore_scheduled_date: format_instant(job.created_at),
        snapshot_finished_date: job.snapshot_finished_at.map(format_instant),
        snapshot_id: job.delivery.snapshot().to_string(),
        snapshot_url: download_link(call, job, call.api.clock.now()),
        status: status(&job.state),
        target_deployment_item_name: has_target.then_some(job.target.name.as_str()),
        target_project_id: has_target.then(|| job.target.project.to_string()),
    }
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
