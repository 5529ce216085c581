//! API keys: how they are shown, and what a body says of them.

use serde_json::{Value, json};
use tidemark_catalog::{ApiKey, Org};
use tidemark_model::{ApiKeyId, OrgId, Roles, Secret};

use crate::body::Body;
use crate::call::Call;
use crate::credentials::{KeyPair, mask_private_key};
use crate::digest_auth::ha1;
use crate::error::{ApiError, Result};
use crate::links::link;

/// The longest description, in characters.
const LONGEST_DESCRIPTION: usize = 250;

/// A key whose private part is masked.
pub(super) fn describe(call: &Call<'_>, key: &ApiKey) -> Value {
    show(call, key, &key.masked_private_key)
}

/// A key that was just made, with its private part: the only time it is shown.
pub(crate) fn describe_new(call: &Call<'_>, key: &ApiKey, private_key: &Secret) -> Value {
    show(call, key, private_key.expose())
}

fn show(call: &Call<'_>, key: &ApiKey, private_key: &str) -> Value {
    let href = call.href(&format!("/orgs/{}/apiKeys/{}", key.org, key.id));
    json!({
        "desc": key.description,
        "id": key.id.to_string(),
        "links": [link(href, "self")],
        "privateKey": private_key,
        "publicKey": key.public_key,
        "roles": describe_roles(key.org, &key.roles),
    })
}

/// Roles with the organization or project they are in.
pub(crate) fn describe_roles(org: OrgId, roles: &Roles) -> Vec<Value> {
    let in_org =
        roles.org.iter().map(|role| json!({ "orgId": org.to_string(), "roleName": role.as_str() }));
    let in_projects = roles
        .projects
        .iter()
        .map(|(id, role)| json!({ "groupId": id.to_string(), "roleName": role.as_str() }));
    in_org.chain(in_projects).collect()
}

/// The description of a body; `None` if it has none.
pub(super) fn parse_description(body: &Body<'_>) -> Result<Option<String>> {
    match body.text("desc")? {
        Some("") => Err(ApiError::api_key_needs_description()),
        Some(text) if text.chars().count() > LONGEST_DESCRIPTION => {
            Err(ApiError::api_key_description_too_long(LONGEST_DESCRIPTION))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

/// A new key with its private part, which is not kept.
pub(crate) fn make(
    call: &Call<'_>,
    org: OrgId,
    body: &Body<'_>,
    roles: Roles,
) -> Result<(ApiKey, Secret)> {
    let description = parse_description(body)?.ok_or_else(ApiError::api_key_needs_description)?;
    let created_at = call.api.clock.now();
    let KeyPair { public_key, private_key } = KeyPair::new();
    let key = ApiKey {
        id: ApiKeyId::new(created_at),
        org,
        ha1: ha1(&public_key, private_key.expose()),
        masked_private_key: mask_private_key(private_key.expose()),
        public_key,
        description,
        roles,
        created_at,
    };
    Ok((key, private_key))
}

/// The key of the path.
pub(crate) fn find(call: &Call<'_>, org: &Org) -> Result<ApiKey> {
    let id = call.api_key_id()?;
    let key = call.catalog.find_org_api_key(org.id, id)?;
    key.ok_or_else(|| ApiError::api_key_not_found(&id.to_string()))
}
