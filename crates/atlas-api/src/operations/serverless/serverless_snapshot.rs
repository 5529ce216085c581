//! How a snapshot is shown in the serverless API.

use serde_json::{Value, json};
use tidemark_catalog::{Instance, Snapshot};
use tidemark_model::{SnapshotState, format_instant};

use crate::call::Call;
use crate::links::{link, part_link};
use crate::version::MONGODB_VERSION;

pub(super) fn describe(call: &Call<'_>, instance: &Instance, snapshot: &Snapshot) -> Value {
    let cluster = call.href(&format!("/groups/{}/serverless/{}", instance.project, instance.name));
    let size = match snapshot.state {
        SnapshotState::Completed { size_bytes, .. } => size_bytes,
        _ => 0,
    };
    json!({
        "createdAt": format_instant(snapshot.created_at),
        "expiresAt": format_instant(snapshot.expires_at),
        "frequencyType": "hourly",
        "id": snapshot.id.to_string(),
        "links": [
            link(format!("{cluster}/backup/snapshots/{}", snapshot.id), "self"),
            part_link(cluster, "cluster"),
        ],
        "mongodVersion": snapshot.server_version.as_deref().unwrap_or(MONGODB_VERSION),
        "serverlessInstanceName": instance.name.as_str(),
        "snapshotType": snapshot.kind.as_str(),
        "status": snapshot.state.as_str(),
        "storageSizeBytes": size,
    })
}
