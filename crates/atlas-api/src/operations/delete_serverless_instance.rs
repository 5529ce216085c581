//! `DELETE /groups/{groupId}/serverless/{name}`: records that an instance is to be removed.

use tidemark_catalog::CatalogError;
use tidemark_model::{InstanceState, Role};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let (project, instance) = call.instance(Role::GroupOwner)?;
    let name = instance.name.as_str();
    if instance.state == InstanceState::Deleting {
        return Err(ApiError::already_deleting(name));
    }
    if instance.settings.termination_protection {
        return Err(ApiError::termination_protected(name, project.id));
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
            Ok(Answer::accepted())
        }
    }
}
