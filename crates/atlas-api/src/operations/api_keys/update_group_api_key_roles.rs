//! `PATCH /groups/{groupId}/apiKeys/{apiUserId}`: changes the roles of an API key in a project.

use tidemark_catalog::{ApiKey, Project};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::api_key::{describe, parse_description};
use crate::operations::principals::update_key;
use crate::operations::roles_in_bodies::parse_group;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let mut key = find(call, project)?;
    let before = key.roles.clone();
    let body = call.body()?;
    body.allow(&["desc", "roles"])?;
    key.description = parse_description(&body)?.unwrap_or(key.description);
    if let Some(roles) = parse_group(&body, project.id)? {
        key.roles.set_in_project(project.id, &roles);
    }
    update_key(call, &before, &key)?;
    Ok(Answer::entity(describe(call, &key)))
}

/// The key of the path, if it belongs to the organization of the project.
pub(super) fn find(call: &Call<'_>, project: &Project) -> Result<ApiKey> {
    let id = call.api_key_id()?;
    let key = call.catalog.find_org_api_key(project.org, id)?;
    key.ok_or_else(|| ApiError::api_key_not_found(&id.to_string()))
}
