//! How a snapshot is shown in the flex API.

use serde_json::{Value, json};
use tidemark_catalog::Snapshot;
use tidemark_model::{SnapshotState, format_instant};

use crate::version::MONGODB_VERSION;

pub(super) fn describe(snapshot: &Snapshot) -> Value {
    let mut body = json!({
        "expiration": format_instant(snapshot.expires_at),
        "id": snapshot.id.to_string(),
        "mongoDBVersion": snapshot.server_version.as_deref().unwrap_or(MONGODB_VERSION),
        "scheduledTime": format_instant(snapshot.created_at),
        "status": status(&snapshot.state),
    });
    if let Some(fields) = body.as_object_mut() {
        let times =
            [("startTime", snapshot.started_at), ("finishTime", snapshot.state.finished_at())];
        for (name, at) in times {
            if let Some(at) = at {
                fields.insert(name.to_owned(), format_instant(at).into());
            }
        }
    }
    body
}

fn status(state: &SnapshotState) -> &'static str {
    match state {
        SnapshotState::Queued => "PENDING",
        SnapshotState::InProgress => "RUNNING",
        SnapshotState::Completed { .. } => "COMPLETED",
        SnapshotState::Failed { .. } => "FAILED",
    }
}
