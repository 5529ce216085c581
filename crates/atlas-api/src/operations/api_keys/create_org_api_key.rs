//! `POST /orgs/{orgId}/apiKeys`: creates an API key.

use tidemark_catalog::Org;
use tidemark_model::Roles;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::api_key::{describe_new, make};
use crate::operations::principals::insert_key;
use crate::operations::roles_in_bodies::parse_org;

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    let body = call.body()?;
    body.allow(&["desc", "roles"])?;
    let roles = parse_org(&body, org.id)?.ok_or_else(ApiError::api_key_needs_roles)?;
    let roles = Roles { org: roles, projects: Vec::new() };
    let (key, private_key) = make(call, org.id, &body, roles)?;
    insert_key(call, &key)?;
    Ok(Answer::entity(describe_new(call, &key, &private_key)))
}
