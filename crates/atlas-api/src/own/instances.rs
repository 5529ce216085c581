//! `/groups/{groupId}/instances`: what is protected, and how well.

use serde_json::{Value, json};
use tidemark_actions::overviews::{self, Overview};
use tidemark_catalog::{Backing, Drill, Instance, InstanceFamily, Project};
use tidemark_model::{SnapshotState, format_instant};

use super::ask::{Ask, put};
use super::describe::{describe_instance, describe_position, describe_snapshot, describe_span};
use crate::error::Result;
use crate::operations::instances::instance::connection_string;

/// All of a project.
pub(super) fn list(ask: &Ask<'_>, project: &Project) -> Result<Value> {
    let found = overviews::list(&ask.api.catalog, project.id, ask.api.clock.now())?;
    let results = found.iter().map(|overview| describe(ask, overview));
    Ok(json!({ "results": results.collect::<Vec<_>>() }))
}

/// One of them.
pub(super) fn show(ask: &Ask<'_>, instance: &Instance) -> Result<Value> {
    let found = overviews::describe(&ask.api.catalog, instance.clone(), ask.api.clock.now())?;
    Ok(describe(ask, &found))
}

/// Through which API an instance is shown.
pub(super) fn view(instance: &Instance) -> &'static str {
    match instance.family {
        InstanceFamily::Serverless => "serverless",
        InstanceFamily::Flex => "flex",
        InstanceFamily::Cluster => "cluster",
    }
}

/// The newest drill that brought everything back.
fn describe_proof(drill: &Drill) -> Value {
    json!({
        "documents": drill.done.documents,
        "drillId": drill.wanted.id.to_string(),
        "provenAt": drill.state.finished_at().map(format_instant),
        "snapshotId": drill.wanted.snapshot.to_string(),
    })
}

fn describe(ask: &Ask<'_>, overview: &Overview) -> Value {
    let instance = &overview.instance;
    let mut body = describe_instance(instance);
    put(&mut body, "view", view(instance).into());
    put(&mut body, "backing", instance.backing.as_str().into());
    put(&mut body, "createdAt", format_instant(instance.created_at).into());
    let size = match overview.newest_snapshot.as_ref().map(|snapshot| &snapshot.state) {
        Some(SnapshotState::Completed { size_bytes, .. }) => *size_bytes,
        _ => 0,
    };
    put(&mut body, "sizeBytes", size.into());
    let spans: Vec<Value> = overview.restorable.iter().map(describe_span).collect();
    put(&mut body, "restorable", spans.into());
    if let Some(snapshot) = &overview.newest_snapshot {
        put(&mut body, "newestSnapshot", describe_snapshot(snapshot));
    }
    if let Some(at) = overview.last_captured {
        put(&mut body, "lastCaptured", describe_position(at));
    }
    if let Some(drill) = &overview.proven {
        put(&mut body, "lastProvenRestore", describe_proof(drill));
    }
    // Of a deployment that somebody else runs `deployments` says where it is.
    let address = (instance.backing == Backing::Embedded)
        .then(|| connection_string((ask.api, &ask.api.catalog), instance));
    if let Some(address) = address.flatten() {
        put(&mut body, "connectionString", address.into());
    }
    body
}
