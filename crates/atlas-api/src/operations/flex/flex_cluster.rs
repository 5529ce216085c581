//! How an instance is shown in the flex API.

use serde_json::{Value, json};
use tidemark_catalog::Instance;
use tidemark_model::{InstanceState, format_instant};

use crate::call::Call;
use crate::operations::instances::instance::connection_string;
use crate::operations::tags;
use crate::version::MONGODB_VERSION;

pub(super) fn describe(call: &Call<'_>, instance: &Instance) -> Value {
    let settings = &instance.settings;
    json!({
        "backupSettings": { "enabled": true },
        "clusterType": "REPLICASET",
        "connectionStrings": connection_strings(call, instance),
        "createDate": format_instant(instance.created_at),
        "groupId": instance.project.to_string(),
        "id": instance.id.to_string(),
        "mongoDBVersion": MONGODB_VERSION,
        "name": instance.name.as_str(),
        "providerSettings": {
            "backingProviderName": settings.backing_provider,
            "diskSizeGB": 5.0,
            "providerName": "FLEX",
            "regionName": settings.region,
        },
        "stateName": instance.state.as_str(),
        "tags": tags::describe(&settings.tags),
        "terminationProtectionEnabled": settings.termination_protection,
        "versionReleaseSystem": "LTS",
    })
}

/// Both forms while the instance is idle, as they were recorded.
fn connection_strings(call: &Call<'_>, instance: &Instance) -> Value {
    match connection_string((call.api, call.catalog), instance) {
        Some(text) if instance.state == InstanceState::Idle => {
            json!({ "standard": text, "standardSrv": text })
        }
        Some(text) => json!({ "standardSrv": text }),
        None => json!({}),
    }
}
