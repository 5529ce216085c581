//! How a restore job is shown in the serverless API and in that of dedicated clusters.
//!
//! Presence rules and links follow the recorded jobs of dedicated clusters; of serverless instances
//! none were recorded.

use jiff::Timestamp;
use serde::Serialize;
use tidemark_catalog::{Instance, RestoreJob};
use tidemark_model::{Delivery, PointInTime, RestoreState, format_instant};

use crate::call::Call;
use crate::links::Link;
use crate::operations::instances::restore_job::download_link;

/// In which of the two APIs a job is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Serverless,
    Cluster,
}

/// A job as it is written; the keys are in alphabetical order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobBody<'a> {
    cancelled: bool,
    delivery_type: &'static str,
    /// The link of a download that is ready and not over.
    delivery_url: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    desired_timestamp: Option<DesiredTimestamp>,
    expired: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    failed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<String>,
    id: String,
    links: [Link; 4],
    #[serde(skip_serializing_if = "Option::is_none")]
    oplog_inc: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oplog_ts: Option<u32>,
    #[serde(rename = "pointInTimeUTCSeconds", skip_serializing_if = "Option::is_none")]
    point_in_time_seconds: Option<u32>,
    snapshot_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_cluster_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_deployment_item_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_group_id: Option<String>,
    timestamp: String,
}

/// The moment that was asked for.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum DesiredTimestamp {
    Nothing { date: (), increment: (), time: () },
    Second { date: String },
    Entry { date: String, increment: u32 },
}

pub(crate) fn describe<'a>(
    call: &Call<'_>,
    instance: &Instance,
    (job, shown): (&'a RestoreJob, Shown),
) -> JobBody<'a> {
    let now = call.api.clock.now();
    let ends_at = job.download.as_ref().and_then(|download| download.expires_at);
    let is_cancelled = matches!(job.state, RestoreState::Cancelled { .. });
    // A cluster's download was recorded without a target.
    let has_target = shown == Shown::Serverless || job.download.is_none();
    // While a cluster's download is there it is not shown as finished.
    let is_there = shown == Shown::Cluster && ends_at.is_some_and(|end| end > now);
    let moment = match job.delivery {
        Delivery::PointInTime { moment, .. } => Some(moment),
        _ => None,
    };
    let (entry, seconds) = match moment {
        Some(PointInTime::Entry(entry)) => (Some(entry), None),
        Some(PointInTime::Second(seconds)) => (None, Some(seconds)),
        None => (None, None),
    };
    JobBody {
        cancelled: is_cancelled,
        delivery_type: job.delivery.as_str(),
        delivery_url: delivery_url(call, job, now),
        desired_timestamp: desired(moment, shown),
        expired: ends_at.is_some_and(|end| end <= now),
        expires_at: ends_at.map(format_instant),
        // A cancelled job is recorded as failed too.
        failed: is_cancelled || matches!(job.state, RestoreState::Failed { .. }),
        finished_at: job.state.finished_at().filter(|_| !is_there).map(format_instant),
        id: job.id.to_string(),
        links: links(call, instance, (job, shown)),
        oplog_inc: entry.map(|entry| entry.increment),
        oplog_ts: entry.map(|entry| entry.seconds),
        point_in_time_seconds: seconds,
        snapshot_id: job.delivery.snapshot().to_string(),
        target_cluster_name: has_target.then_some(job.target.name.as_str()),
        target_deployment_item_name: (shown == Shown::Cluster && job.download.is_none())
            .then_some(job.target.name.as_str()),
        target_group_id: has_target.then(|| job.target.project.to_string()),
        timestamp: format_instant(job.snapshot_at),
    }
}

fn desired(moment: Option<PointInTime>, shown: Shown) -> Option<DesiredTimestamp> {
    match moment {
        Some(PointInTime::Second(seconds)) => {
            Some(DesiredTimestamp::Second { date: second(seconds) })
        }
        Some(PointInTime::Entry(entry)) => Some(DesiredTimestamp::Entry {
            date: second(entry.seconds),
            increment: entry.increment,
        }),
        None if shown == Shown::Cluster => {
            Some(DesiredTimestamp::Nothing { date: (), increment: (), time: () })
        }
        None => None,
    }
}

fn second(seconds: u32) -> String {
    format_instant(Timestamp::from_second(i64::from(seconds)).unwrap_or(Timestamp::UNIX_EPOCH))
}

fn delivery_url(call: &Call<'_>, job: &RestoreJob, now: Timestamp) -> Vec<String> {
    download_link(call, job, now).filter(|_| job.state.is_final()).into_iter().collect()
}

fn links(call: &Call<'_>, instance: &Instance, (job, shown): (&RestoreJob, Shown)) -> [Link; 4] {
    let group = call.href(&format!("/groups/{}", instance.project));
    let family = match shown {
        Shown::Serverless => "serverless",
        Shown::Cluster => "clusters",
    };
    let cluster = format!("{group}/{family}/{}", instance.name);
    [
        Link::new(format!("{cluster}/backup/restoreJobs/{}", job.id), "self"),
        Link::part(format!("{cluster}/backup/snapshots/{}", job.delivery.snapshot()), "snapshot"),
        Link::part(cluster, "cluster"),
        Link::part(group, "group"),
    ]
}
