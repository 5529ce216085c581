//! Instances, whichever API they are looked at through: making, changing, removing.

use serde_json::{Value, json};
use tidemark_actions::instances::{
    self, Backups, ChangeInstanceError, CreateInstanceError, NewInstance,
};
use tidemark_catalog::{
    Backing, Catalog, Instance, InstanceFamily, InstanceSettings, Page, Project,
};
use tidemark_model::{InstanceName, InstanceNameError, InstanceState, vault_of};

use crate::api::Api;
use crate::body::Body;
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};
use crate::operations::groups::limits;
use crate::operations::regions::is_region;
use crate::operations::tags;

const PROVIDERS: &[&str] = &["AWS", "AZURE", "GCP"];

/// Records that an instance is wanted.
pub(crate) fn create(
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
    let (ports, placement) = (call.api.config.hosts.ports(), call.api.config.placement.clone());
    let vault = vault_of(&call.api.config.vaults, (project.id, &project.name));
    let wanted =
        NewInstance { project: project.id, name, family, settings, ports, placement, vault };
    let instance = instances::create(call.catalog, wanted, call.api.clock.now()).map_err(
        |error| match error {
            CreateInstanceError::NameTaken(name) => {
                ApiError::duplicate_cluster_name(&name, project.id)
            }
            CreateInstanceError::NoProject => ApiError::group_not_found(project.id),
            CreateInstanceError::NoPortLeft => ApiError::no_port_left(ports),
            CreateInstanceError::NoPlace(reason) => ApiError::no_place(&reason),
            CreateInstanceError::Catalog(error) => error.into(),
        },
    )?;
    crate::error::log_instance("an instance is wanted", instance.id);
    Ok(instance)
}

/// Records what users change on an instance; nothing changed is nothing done.
pub(crate) fn update(
    call: &Call<'_>,
    target: &Target,
    settings: InstanceSettings,
) -> Result<Instance> {
    let now = call.api.clock.now();
    let refuse = |error| refuse_change(target, error);
    instances::update(call.catalog, &target.instance, settings, now).map_err(refuse)
}

fn refuse_change(target: &Target, error: ChangeInstanceError) -> ApiError {
    let name = target.instance.name.as_str();
    match error {
        ChangeInstanceError::RestoreInProgress => ApiError::restore_in_progress(),
        ChangeInstanceError::Protected => ApiError::termination_protected(name, target.project.id),
        ChangeInstanceError::HoldsOthers => ApiError::holds_other_instances(name),
        ChangeInstanceError::State(InstanceState::Creating) => {
            ApiError::not_updatable("This cluster is being created, cannot update")
        }
        ChangeInstanceError::State(InstanceState::Deleting | InstanceState::Deleted) => {
            ApiError::not_updatable("This cluster is currently being deleted, cannot update")
        }
        ChangeInstanceError::State(InstanceState::Repairing) => {
            ApiError::not_updatable("This cluster is being repaired, cannot update")
        }
        ChangeInstanceError::State(_) => {
            ApiError::not_updatable("The cluster is being changed already")
        }
        ChangeInstanceError::Catalog(error) => error.into(),
    }
}

/// Records that an instance is to be removed. Its backups stay for a while, unless the query says
/// `retainBackups=false`, the parameter that the real service has for dedicated clusters.
pub(crate) fn delete(call: &Call<'_>, target: &Target) -> Result<()> {
    let retains = call.query_flag("retainBackups", true)?;
    let backups = if retains { Backups::Retain } else { Backups::GiveUp };
    let now = call.api.clock.now();
    match instances::delete(call.catalog, &target.instance, backups, now) {
        Err(ChangeInstanceError::State(InstanceState::Deleting)) => {
            Err(ApiError::already_deleting(target.instance.name.as_str()))
        }
        Err(error) => Err(refuse_change(target, error)),
        Ok(()) => {
            crate::error::log_instance("an instance is to be removed", target.instance.id);
            Ok(())
        }
    }
}

/// Instances of a project that are shown at most where a list has no pages.
pub(crate) const MOST_SHOWN: Page = Page { number: 1, size: 500 };

/// The name of a body.
pub(crate) fn parse_name(body: &Body<'_>) -> Result<InstanceName> {
    let text = body.required_text("name")?;
    text.parse().map_err(|error| match error {
        InstanceNameError::Invalid => ApiError::cluster_name_invalid(text),
        InstanceNameError::TooLong => ApiError::cluster_name_too_long(text, InstanceName::LONGEST),
    })
}

/// Where an instance shall be: the provider and its region, both only kept and shown.
pub(crate) fn parse_place(
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
pub(crate) fn parse_changes(body: &Body<'_>, old: &InstanceSettings) -> Result<InstanceSettings> {
    Ok(InstanceSettings {
        termination_protection: body
            .flag("terminationProtectionEnabled")?
            .unwrap_or(old.termination_protection),
        tags: tags::parse(body)?.unwrap_or_else(|| old.tags.clone()),
        ..old.clone()
    })
}

/// How to connect, once the instance is up.
pub(crate) fn connection_string(
    (api, catalog): (&Api, &Catalog),
    instance: &Instance,
) -> Option<String> {
    // At the port of one that is not served somebody else may listen.
    let is_served = !matches!(instance.state, InstanceState::Creating | InstanceState::Repairing);
    if instance.backing == Backing::Attached {
        let found = catalog.find_deployment(instance.id).ok()??;
        let whole = match found.placement {
            Some(part) => catalog.find_deployment(part.host).ok()??,
            None => found,
        };
        return is_served.then_some(whole.reach.address);
    }
    let port = instance.port.filter(|_| is_served)?;
    let host = api.config.hosts.host_of(instance);
    let tls = if api.config.hosts.speaks_tls(instance) { "&tls=true" } else { "" };
    // A direct connection works whatever name the client knows the server by.
    Some(format!("mongodb://{host}:{port}/?authSource=admin&directConnection=true{tls}"))
}

/// An instance as the list over all projects shows it.
pub(crate) fn describe_details(instance: &Instance) -> Value {
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
        "versions": [crate::version::MONGODB_VERSION],
    })
}
