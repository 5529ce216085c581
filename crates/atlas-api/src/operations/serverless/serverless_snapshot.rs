//! How a snapshot is shown in the serverless API.

use serde::Serialize;
use tidemark_catalog::{Instance, Snapshot};
use tidemark_model::{SnapshotState, format_instant};

use crate::call::Call;
use crate::links::Link;
use crate::version::MONGODB_VERSION;

/// A snapshot as it is written; the keys are in alphabetical order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SnapshotBody<'a> {
    created_at: String,
    expires_at: String,
    frequency_type: &'static str,
    id: String,
    links: [Link; 2],
    mongod_version: &'a str,
    serverless_instance_name: &'a str,
    snapshot_type: &'static str,
    status: &'static str,
    storage_size_bytes: u64,
}

pub(super) fn describe<'a>(
    call: &Call<'_>,
    instance: &'a Instance,
    snapshot: &'a Snapshot,
) -> SnapshotBody<'a> {
    let cluster = call.href(&format!("/groups/{}/serverless/{}", instance.project, instance.name));
    let size = match snapshot.state {
        SnapshotState::Completed { size_bytes, .. } => size_bytes,
        _ => 0,
    };
    SnapshotBody {
        created_at: format_instant(snapshot.created_at),
        expires_at: format_instant(snapshot.expires_at),
        frequency_type: "hourly",
        id: snapshot.id.to_string(),
        links: [
            Link::new(format!("{cluster}/backup/snapshots/{}", snapshot.id), "self"),
            Link::part(cluster, "cluster"),
        ],
        mongod_version: snapshot.server_version.as_deref().unwrap_or(MONGODB_VERSION),
        serverless_instance_name: instance.name.as_str(),
        snapshot_type: snapshot.kind.as_str(),
        status: snapshot.state.as_str(),
        storage_size_bytes: size,
    }
}
