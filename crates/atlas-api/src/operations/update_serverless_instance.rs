//! `PATCH /groups/{groupId}/serverless/{name}`: changes what users set on an instance.

use tidemark_catalog::{CatalogError, Instance, InstanceSettings};
use tidemark_model::{InstanceState, Role};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::create_serverless_instance::parse_continuous_backup;
use super::serverless_instance::describe;
use super::tags;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let (_, instance) = call.instance(Role::GroupOwner)?;
    let body = call.body()?;
    body.allow(&["serverlessBackupOptions", "tags", "terminationProtectionEnabled"])?;
    let old = &instance.settings;
    let settings = InstanceSettings {
        termination_protection: body
            .flag("terminationProtectionEnabled")?
            .unwrap_or(old.termination_protection),
        continuous_backup: parse_continuous_backup(&body)?.unwrap_or(old.continuous_backup),
        tags: tags::parse(&body)?.unwrap_or_else(|| old.tags.clone()),
        ..old.clone()
    };
    check_state(call, &instance)?;
    let catalog = &call.api.catalog;
    let change = (InstanceState::Idle, InstanceState::Updating);
    match catalog.change_instance_state(instance.id, change, call.api.clock.now()) {
        Err(CatalogError::InUse(_)) => {
            return Err(ApiError::not_updatable("The cluster is being changed already"));
        }
        outcome => outcome?,
    }
    catalog.set_instance_settings(instance.id, &settings)?;
    let changed = Instance { settings, state: InstanceState::Updating, ..instance };
    describe(call, &changed).map(Answer::entity)
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
