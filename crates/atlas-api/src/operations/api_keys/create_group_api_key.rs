//! `POST /groups/{groupId}/apiKeys`: creates an API key with roles in a project.

use tidemark_catalog::Project;
use tidemark_model::{Role, Roles};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::api_key::{describe_new, make};
use crate::operations::principals::insert_key;
use crate::operations::roles_in_bodies::parse_group;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let body = call.body()?;
    body.allow(&["desc", "roles"])?;
    let granted = parse_group(&body, project.id)?.ok_or_else(ApiError::api_key_needs_roles)?;
    let mut roles = Roles { org: vec![Role::OrgMember], projects: Vec::new() };
    roles.set_in_project(project.id, &granted);
    let (key, private_key) = make(call, project.org, &body, roles)?;
    insert_key(call, &key)?;
    Ok(Answer::entity(describe_new(call, &key, &private_key)))
}
