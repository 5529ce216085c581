//! `PATCH /orgs/{orgId}/apiKeys/{apiUserId}`: changes an API key.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::api_key::{describe, find, parse_description};
use crate::operations::principals::update_key;
use crate::operations::roles_in_bodies::parse_org;

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    let mut key = find(call, org)?;
    let before = key.roles.clone();
    let body = call.body()?;
    body.allow(&["desc", "roles"])?;
    key.description = parse_description(&body)?.unwrap_or(key.description);
    key.roles.org = parse_org(&body, org.id)?.unwrap_or(key.roles.org);
    update_key(call, &before, &key)?;
    Ok(Answer::entity(describe(call, &key)))
}
