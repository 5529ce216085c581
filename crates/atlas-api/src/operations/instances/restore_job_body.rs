//! How a restore job is shown in the serverless API and in that of dedicated clusters.
//!
//! Presence rules and links follow the recorded jobs of dedicated clusters; of serverless instances
//! none were recorded.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tidemark_catalog::{Instance, RestoreJob};
use tidemark_model::{Delivery, PointInTime, RestoreState, format_instant};

use crate::call::Call;
use crate::links::{link, part_link};
use crate::operations::instances::restore_job::download_link;

/// In which of the two APIs a job is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Serverless,
    Cluster,
}

pub(crate) fn describe(
    call: &Call<'_>,
    instance: &Instance,
    (job, shown): (&RestoreJob, Shown),
) -> Value {
    let now = call.api.clock.now();
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    put("cancelled", matches!(job.state, RestoreState::Cancelled { .. }).into());
    put("deliveryType", job.delivery.as_str().into());
    put("deliveryUrl", delivery_url(call, job, now));
    let ends_at = job.download.as_ref().and_then(|download| download.expires_at);
    put("expired", ends_at.is_some_and(|end| end <= now).into());
    // A cancelled job is recorded as failed too.
    let has_failed =
        matches!(job.state, RestoreState::Failed { .. } | RestoreState::Cancelled { .. });
    put("failed", has_failed.into());
    put("id", job.id.to_string().into());
    put("links", links(call, instance, (job, shown)));
    put("snapshotId", job.delivery.snapshot().to_string().into());
    // A cluster's download was recorded without a target.
    if shown == Shown::Serverless || job.download.is_none() {
        put("targetClusterName", job.target.name.as_str().into());
        put("targetGroupId", job.target.project.to_string().into());
    }
    if shown == Shown::Cluster {
        put("desiredTimestamp", json!({ "date": null, "increment": null, "time": null }));
        if job.download.is_none() {
            put("targetDeploymentItemName", job.target.name.as_str().into());
        }
    }
    put("timestamp", format_instant(job.snapshot_at).into());
    if let Some(end) = ends_at {
        put("expiresAt", format_instant(end).into());
    }
    // While a cluster's download is there it is not shown as finished.
    let is_there = shown == Shown::Cluster && ends_at.is_some_and(|end| end > now);
    if let Some(finished_at) = job.state.finished_at().filter(|_| !is_there) {
        put("finishedAt", format_instant(finished_at).into());
    }
    if let Delivery::PointInTime { moment, .. } = job.delivery {
        match moment {
            PointInTime::Second(seconds) => {
                put("pointInTimeUTCSeconds", seconds.into());
                put("desiredTimestamp", json!({ "date": second(seconds) }));
            }
            PointInTime::Entry(entry) => {
                put("oplogTs", entry.seconds.into());
                put("oplogInc", entry.increment.into());
                put(
                    "desiredTimestamp",
                    json!({ "date": second(entry.seconds), "increment": entry.increment }),
                );
            }
        }
    }
    Value::Object(body)
}

fn second(seconds: u32) -> String {
    format_instant(Timestamp::from_second(i64::from(seconds)).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// The link of a download that is ready and not over; otherwise nothing.
fn delivery_url(call: &Call<'_>, job: &RestoreJob, now: Timestamp) -> Value {
    download_link(call, job, now).filter(|_| job.state.is_final()).into_iter().collect()
}

fn links(call: &Call<'_>, instance: &Instance, (job, shown): (&RestoreJob, Shown)) -> Value {
    let group = call.href(&format!("/groups/{}", instance.project));
    let family = match shown {
        Shown::Serverless => "serverless",
        Shown::Cluster => "clusters",
    };
    let cluster = format!("{group}/{family}/{}", instance.name);
    json!([
        link(format!("{cluster}/backup/restoreJobs/{}", job.id), "self"),
        part_link(format!("{cluster}/backup/snapshots/{}", job.delivery.snapshot()), "snapshot"),
        part_link(cluster, "cluster"),
        part_link(group, "group"),
    ])
}
