//! How an instance is shown in the serverless API.
//!
//! As recorded since February 2025, when the real service began to put flex clusters behind it.

use jiff::Timestamp;
use serde::Serialize;
use tidemark_catalog::Instance;
use tidemark_model::format_instant;

use crate::answer::Content;
use crate::body::Body;
use crate::call::Call;
use crate::error::Result;
use crate::links::Link;
use crate::operations::instances::instance::connection_string;
use crate::operations::tags;
use crate::version::MONGODB_VERSION;

/// An instance as it is written; the keys are in alphabetical order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InstanceBody<'a> {
    connection_strings: ConnectionStrings,
    create_date: String,
    group_id: String,
    id: String,
    links: [Link; 3],
    #[serde(rename = "mongoDBVersion")]
    version: &'static str,
    name: &'a str,
    provider_settings: ProviderSettings<'a>,
    serverless_backup_options: BackupOptions,
    state_name: &'static str,
    tags: serde_json::Value,
    termination_protection_enabled: bool,
}

/// Empty until the instance is up, as the real service does it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionStrings {
    #[serde(skip_serializing_if = "Option::is_none")]
    standard_srv: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProviderSettings<'a> {
    backing_provider_name: &'a str,
    #[serde(rename = "effectiveDiskSizeGBLimit")]
    effective_disk_size_limit: u32,
    effective_instance_size_name: &'static str,
    effective_provider_name: &'static str,
    next_backup_date: String,
    provider_name: &'static str,
    region_name: &'a str,
    tenant_backup_enabled: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BackupOptions {
    serverless_continuous_backup_enabled: bool,
}

/// As one that was found is shown.
pub(super) fn describe_one(call: &Call<'_>, instance: &Instance) -> Result<Content> {
    let newest = call.catalog.newest_snapshot_times(&[instance.id])?;
    Content::of(&describe(call, instance, newest.into_iter().flatten().next()))
}

/// Shows an instance, with the time of its newest snapshot.
pub(super) fn describe<'a>(
    call: &Call<'_>,
    instance: &'a Instance,
    newest: Option<Timestamp>,
) -> InstanceBody<'a> {
    let base = call.href(&format!("/groups/{}/serverless/{}", instance.project, instance.name));
    let settings = &instance.settings;
    let last = newest.unwrap_or(instance.created_at);
    let next = last.saturating_add(call.api.config.policy.snapshot_interval).unwrap_or(last);
    InstanceBody {
        connection_strings: ConnectionStrings {
            standard_srv: connection_string((call.api, call.catalog), instance),
        },
        create_date: format_instant(instance.created_at),
        group_id: instance.project.to_string(),
        id: instance.id.to_string(),
        links: [
            Link::new(base.clone(), "self"),
            Link::part(format!("{base}/backup/restoreJobs"), "restoreJobs"),
            Link::part(format!("{base}/backup/snapshots"), "snapshots"),
        ],
        version: MONGODB_VERSION,
        name: instance.name.as_str(),
        provider_settings: ProviderSettings {
            backing_provider_name: &settings.backing_provider,
            effective_disk_size_limit: 5,
            effective_instance_size_name: "FLEX",
            effective_provider_name: "TENANT",
            next_backup_date: format_instant(next),
            provider_name: "SERVERLESS",
            region_name: &settings.region,
            tenant_backup_enabled: true,
        },
        serverless_backup_options: BackupOptions {
            serverless_continuous_backup_enabled: settings.continuous_backup,
        },
        state_name: instance.state.as_str(),
        tags: tags::describe(&settings.tags),
        termination_protection_enabled: settings.termination_protection,
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
