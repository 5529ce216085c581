//! `POST /groups/{groupId}/apiKeys/{apiUserId}`: gives an API key of the organization roles in a
//! project.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::update_group_api_key_roles::find;
use crate::operations::principals::update_key;
use crate::operations::roles_in_bodies::parse_group;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let mut key = find(call, project)?;
    let before = key.roles.clone();
    let mut roles = Vec::new();
    for item in call.items()? {
        item.allow(&["roles", "userId"])?;
        roles.extend(parse_group(&item, project.id)?.unwrap_or_default());
    }
    if roles.is_empty() {
        return Err(ApiError::api_key_needs_roles());
    }
    roles.dedup();
    key.roles.set_in_project(project.id, &roles);
    update_key(call, &before, &key)?;
    Ok(Answer::no_content())
}
