//! `DELETE /groups/{groupId}/apiKeys/{apiUserId}`: takes an API key out of a project; it stays in its
//! organization.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::update_group_api_key_roles::find;
use crate::operations::principals::update_key;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let mut key = find(call, project)?;
    let before = key.roles.clone();
    if key.roles.in_project(project.id).next().is_none() {
        return Err(ApiError::api_key_not_found(&key.id.to_string()));
    }
    key.roles.set_in_project(project.id, &[]);
    update_key(call, &before, &key)?;
    Ok(Answer::no_content())
}
