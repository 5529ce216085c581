//! `POST /groups/{groupId}/serverless`: records that an instance is wanted.

use tidemark_catalog::{CatalogError, Instance, InstanceFamily, InstanceSettings};
use tidemark_model::{InstanceId, InstanceName, InstanceNameError, InstanceState, Role};

use crate::answer::Answer;
use crate::body::Body;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::serverless_instance::describe;
use super::tags;

const ATTRIBUTES: &[&str] = &[
    "name",
    "providerSettings",
    "serverlessBackupOptions",
    "stateName",
    "tags",
    "terminationProtectionEnabled",
];
const PROVIDERS: &[&str] = &["AWS", "AZURE", "GCP"];

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let project = call.project(Role::GroupOwner)?;
    let body = call.body()?;
    body.allow(ATTRIBUTES)?;
    let name = parse_name(body.required_text("name")?)?;
    let created_at = call.api.clock.now();
    let instance = Instance {
        id: InstanceId::new(created_at),
        project: project.id,
        name,
        family: InstanceFamily::Serverless,
        state: InstanceState::Creating,
        settings: parse_settings(&body)?,
        created_at,
        changed_at: created_at,
        port: None,
    };
    match call.api.catalog.insert_instance(&instance) {
        Err(CatalogError::AlreadyExists(name)) => {
            Err(ApiError::duplicate_cluster_name(&name, project.id))
        }
        Err(CatalogError::Missing(_)) => Err(ApiError::group_not_found(project.id)),
        outcome => {
            outcome?;
            crate::error::log_instance("an instance is wanted", instance.id);
            describe(call, &instance).map(Answer::created)
        }
    }
}

fn parse_name(text: &str) -> Result<InstanceName> {
    text.parse().map_err(|error| match error {
        InstanceNameError::Invalid => ApiError::cluster_name_invalid(text),
        InstanceNameError::TooLong => ApiError::cluster_name_too_long(text, InstanceName::LONGEST),
    })
}

fn parse_settings(body: &Body<'_>) -> Result<InstanceSettings> {
    let provider =
        body.object("providerSettings")?.ok_or_else(|| body.missing("providerSettings"))?;
    provider.allow(&["backingProviderName", "providerName", "regionName"])?;
    provider.one_of("providerName", &["SERVERLESS", "FLEX"])?;
    let backing = provider.one_of("backingProviderName", PROVIDERS)?;
    let backing = backing.ok_or_else(|| provider.missing("backingProviderName"))?;
    let region = provider.required_text("regionName")?;
    let is_region = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if region.is_empty() || !region.chars().all(is_region) {
        return Err(provider.invalid("regionName"));
    }
    Ok(InstanceSettings {
        backing_provider: backing.to_owned(),
        region: region.to_owned(),
        termination_protection: body.flag("terminationProtectionEnabled")?.unwrap_or(false),
        continuous_backup: parse_continuous_backup(body)?.unwrap_or(true),
        tags: tags::parse(body)?.unwrap_or_default(),
    })
}

/// Whether the body asks for continuous backup.
pub(super) fn parse_continuous_backup(body: &Body<'_>) -> Result<Option<bool>> {
    let Some(options) = body.object("serverlessBackupOptions")? else {
        return Ok(None);
    };
    options.allow(&["serverlessContinuousBackupEnabled"])?;
    options.flag("serverlessContinuousBackupEnabled")
}
