//! Instances, whichever API they are looked at through: making, changing, removing.

use serde_json::{Value, json};
use tidemark_catalog::{CatalogError, Instance, InstanceFamily, InstanceSettings, Page, Project};
use tidemark_model::{InstanceId, InstanceName, InstanceNameError, InstanceState};

use super::regions::is_region;
use super::{limits, tags};
use crate::body::Body;
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};

const PROVIDERS: &[&str] = &["AWS", "AZURE", "GCP"];

/// Records that an instance is wanted.
pub(super) fn create(
    call: &Call<'_>,
    project: &Project,
    family: InstanceFamily,
    (name, settings): (InstanceName, InstanceSettings),
) -> Result<Instance> {
    limits::check(
        project,
        limits::CLUSTERS,
        project.instance_count + 1,
        ApiError::too_many_clusters,
    )?;
    let created_at = call.api.clock.now();
    let instance = Instance {
        id: InstanceId::new(created_at),
        project: project.id,
        name,
        family,
        state: InstanceState::Creating,
        settings,
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
            Ok(instance)
        }
    }
}

/// Records what users change on an instance; nothing changed is nothing done.
pub(super) fn update(
    call: &Call<'_>,
    target: &Target,
    settings: InstanceSettings,
) -> Result<Instance> {
    let instance = &target.instance;
    if settings == instance.settings {
        return Ok(instance.clone());
    }
    check_state(call, instance)?;
    let catalog = &call.api.catalog;
    let change = (InstanceState::Idle, InstanceState::Updating);
    match catalog.change_instance_state(instance.id, change, call.api.clock.now()) {
        Err(CatalogError::InUse(_)) => {
            return Err(ApiError::not_updatable("The cluster is being changed already"));
        }
        outcome => outcome?,
    }
    catalog.set_instance_settings(instance.id, &settings)?;
    Ok(Instance { settings, state: InstanceState::Updating, ..instance.clone() })
}

fn check_state(call: &Call<'_>, instance: &Instance) -> Result<()> {
    if call.api.catalog.is_restore_target(instance.id)? {
        return Err(ApiError::restore_in_progress());
    }
    match instance.state {
        InstanceState::Idle => Ok(()),
        InstanceState::Creating => {
            Err(ApiError::not_updatable("This cluster is being created, cannot update"))
        }
        InstanceState::Updating => {
            Err(ApiError::not_updatable("The cluster is being changed already"))
        }
        InstanceState::Deleting | InstanceState::Deleted => {
            Err(ApiError::not_updatable("This cluster is currently being deleted, cannot update"))
        }
    }
}

/// Records that an instance is to be removed.
pub(super) fn delete(call: &Call<'_>, target: &Target) -> Result<()> {
    let instance = &target.instance;
    let name = instance.name.as_str();
    if instance.state == InstanceState::Deleting {
        return Err(ApiError::already_deleting(name));
    }
    if instance.settings.termination_protection {
        return Err(ApiError::termination_protected(name, target.project.id));
    }
    if call.api.catalog.is_restore_target(instance.id)? {
        return Err(ApiError::restore_in_progress());
    }
    let change = (instance.state, InstanceState::Deleting);
    match call.api.catalog.change_instance_state(instance.id, change, call.api.clock.now()) {
        Err(CatalogError::InUse(_)) => {
            Err(ApiError::not_updatable("The cluster is being changed already"))
        }
        outcome => {
            outcome?;
            crate::error::log_instance("an instance is to be removed", instance.id);
            Ok(())
        }
    }
}

/// Instances of a project that are shown at most where a list has no pages.
pub(super) const MOST_SHOWN: Page = Page { number: 1, size: 500 };

/// The name of a body.
pub(super) fn parse_name(body: &Body<'_>) -> Result<InstanceName> {
    let text = body.required_text("name")?;
    text.parse().map_err(|error| match error {
        InstanceNameError::Invalid => ApiError::cluster_name_invalid(text),
        InstanceNameError::TooLong => ApiError::cluster_name_too_long(text, InstanceName::LONGEST),
    })
}

/// Where an instance shall be: the provider and its region, both only kept and shown.
pub(super) fn parse_place(
    provider: &Body<'_>,
    invalid_region: fn(region: &str, provider: &str) -> ApiError,
) -> Result<(String, String)> {
    let backing = provider.one_of("backingProviderName", PROVIDERS)?;
    let backing = backing.ok_or_else(|| provider.missing("backingProviderName"))?;
    let region = provider.required_text("regionName")?;
    if !is_region(backing, region) {
        return Err(invalid_region(region, backing));
    }
    Ok((backing.to_owned(), region.to_owned()))
}

/// What both APIs let users set on an instance that exists.
pub(super) fn parse_changes(body: &Body<'_>, old: &InstanceSettings) -> Result<InstanceSettings> {
    Ok(InstanceSettings {
        termination_protection: body
            .flag("terminationProtectionEnabled")?
            .unwrap_or(old.termination_protection),
        tags: tags::parse(body)?.unwrap_or_else(|| old.tags.clone()),
        ..old.clone()
    })
}

/// How to connect, once the instance is up.
pub(super) fn connection_string(call: &Call<'_>, instance: &Instance) -> Option<String> {
    let port = instance.port.filter(|_| instance.state != InstanceState::Creating)?;
    let host = &call.api.config.advertised_host;
    // A direct connection works whatever name the client knows the server by.
    Some(format!("mongodb://{host}:{port}/?authSource=admin&directConnection=true"))
}

/// An instance as the list over all projects shows it.
pub(super) fn describe_details(instance: &Instance) -> Value {
    json!({
        "alertCount": 0,
        "authEnabled": true,
        "availability": if instance.state == InstanceState::Creating { "unavailable" } else { "available" },
        "backupEnabled": true,
        "clusterId": instance.id.to_string(),
        "name": instance.name.as_str(),
        "nodeCount": 1,
        "sslEnabled": false,
        "type": "REPLICA_SET",
        "versions": [super::MONGODB_VERSION],
    })
}
