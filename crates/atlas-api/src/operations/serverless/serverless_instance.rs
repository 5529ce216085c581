//! How an instance is shown in the serverless API.
//!
//! As recorded since February 2025, when the real service began to put flex clusters behind it.

use jiff::Timestamp;
use serde_json::{Value, json};
use tidemark_catalog::Instance;
use tidemark_model::format_instant;

use crate::body::Body;
use crate::call::Call;
use crate::error::Result;
use crate::links::{link, part_link};
use crate::operations::instances::instance::connection_string;
use crate::operations::tags;
use crate::version::MONGODB_VERSION;

/// As one that was found is shown.
pub(super) fn describe_one(call: &Call<'_>, instance: &Instance) -> Result<Value> {
    let newest = call.catalog.newest_snapshot_times(&[instance.id])?;
    Ok(describe(call, instance, newest.into_iter().flatten().next()))
}

/// Shows an instance, with the time of its newest snapshot.
pub(super) fn describe(call: &Call<'_>, instance: &Instance, newest: Option<Timestamp>) -> Value {
    let base = call.href(&format!("/groups/{}/serverless/{}", instance.project, instance.name));
    let settings = &instance.settings;
    let last = newest.unwrap_or(instance.created_at);
    let next = last.saturating_add(call.api.config.policy.snapshot_interval).unwrap_or(last);
    json!({
        "connectionStrings": connection_strings(call, instance),
        "createDate": format_instant(instance.created_at),
        "groupId": instance.project.to_string(),
        "id": instance.id.to_string(),
        "links": [
            link(base.clone(), "self"),
            part_link(format!("{base}/backup/restoreJobs"), "restoreJobs"),
            part_link(format!("{base}/backup/snapshots"), "snapshots"),
        ],
        "mongoDBVersion": MONGODB_VERSION,
        "name": instance.name.as_str(),
        "providerSettings": {
            "backingProviderName": settings.backing_provider,
            "effectiveDiskSizeGBLimit": 5,
            "effectiveInstanceSizeName": "FLEX",
            "effectiveProviderName": "TENANT",
            "nextBackupDate": format_instant(next),
            "providerName": "SERVERLESS",
            "regionName": settings.region,
            "tenantBackupEnabled": true,
        },
        "serverlessBackupOptions": { "serverlessContinuousBackupEnabled": settings.continuous_backup },
        "stateName": instance.state.as_str(),
        "tags": tags::describe(&settings.tags),
        "terminationProtectionEnabled": settings.termination_protection,
    })
}

/// Empty until the instance is up, as the real service does it.
fn connection_strings(call: &Call<'_>, instance: &Instance) -> Value {
    match connection_string(call, instance) {
        Some(text) => json!({ "standardSrv": text }),
        None => json!({}),
    }
}

/// Whether a body asks for continuous backup.
pub(super) fn parse_continuous_backup(body: &Body<'_>) -> Result<Option<bool>> {
    let Some(options) = body.object("serverlessBackupOptions")? else {
        return Ok(None);
    };
    options.allow(&["serverlessContinuousBackupEnabled"])?;
    options.flag("serverlessContinuousBackupEnabled")
}
