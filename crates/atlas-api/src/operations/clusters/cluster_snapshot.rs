//! How a snapshot of a cluster is shown, as recorded.

use serde_json::{Value, json};
use tidemark_catalog::{Instance, Snapshot};
use tidemark_model::{SnapshotKind, SnapshotState, format_instant};

use crate::call::Call;
use crate::links::{link, part_link};
use crate::version::MONGODB_VERSION;

/// What a snapshot that somebody asked for has in the place of a frequency.
const ON_DEMAND: &str = "ondemand";

pub(super) fn describe(call: &Call<'_>, instance: &Instance, snapshot: &Snapshot) -> Value {
    let cluster = call.href(&format!("/groups/{}/clusters/{}", instance.project, instance.name));
    let size = match snapshot.state {
        SnapshotState::Completed { size_bytes, .. } => size_bytes,
        _ => 0,
    };
    let policy = snapshot.policy.as_ref();
    let items = policy.map(|policy| policy.items.iter().map(ToString::to_string));
    let frequency = match (snapshot.kind, policy) {
        (SnapshotKind::OnDemand, _) => ON_DEMAND,
        (SnapshotKind::Scheduled, Some(policy)) => policy.frequency.as_str(),
        (SnapshotKind::Scheduled, None) => "hourly",
    };
    let mut body = json!({
        "copyRegions": [],
        "expiresAt": format_instant(snapshot.expires_at),
        "frequencyType": frequency,
        "id": snapshot.id.to_string(),
        "links": [
            link(format!("{cluster}/backup/snapshots/{}", snapshot.id), "self"),
            part_link(cluster, "cluster"),
        ],
        "policyItems": items.into_iter().flatten().collect::<Vec<_>>(),
        "replicaSetName": instance.name.as_str(),
        "snapshotType": snapshot.kind.as_str(),
        "status": snapshot.state.as_str(),
        "storageSizeBytes": size,
        "type": "replicaSet",
    });
    let Some(fields) = body.as_object_mut() else { return body };
    let mut put = |name: &str, value: &str| drop(fields.insert(name.to_owned(), value.into()));
    if let Some(text) = &snapshot.description {
        put("description", text);
    }
    if snapshot.state != SnapshotState::Queued {
        put("cloudProvider", &instance.settings.backing_provider);
        put("mongodVersion", snapshot.server_version.as_deref().unwrap_or(MONGODB_VERSION));
    }
    if snapshot.state.is_final() {
        put("createdAt", &format_instant(snapshot.created_at));
    }
    body
}
