//! `POST /orgs`: creates an organization with a first API key or service account.

use serde_json::{Map, Value, json};
use tidemark_catalog::{NewOrg, Org};
use tidemark_model::{OrgId, Role, Roles};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::org;
use crate::operations::api_keys::api_key;
use crate::operations::roles_in_bodies;
use crate::operations::service_accounts::service_account;
use crate::operations::service_accounts::service_account::Place;

const ATTRIBUTES: &[&str] = &[
    "apiKey",
    "federationSettingsId",
    "name",
    "orgOwnerId",
    "serviceAccount",
    "skipDefaultAlertsSettings",
];

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    if !call.caller.may_in_org(call.caller.org, Role::OrgOwner) {
        return Err(ApiError::not_org_owner(&call.caller.org.to_string()));
    }
    let body = call.body()?;
    body.allow(ATTRIBUTES)?;
    for attribute in ["federationSettingsId", "orgOwnerId"] {
        // There are neither federations nor users.
        if body.text(attribute)?.is_some() {
            return Err(body.invalid(attribute));
        }
    }
    let name = org::parse_name(&body)?.ok_or_else(|| body.missing("name"))?;
    let created_at = call.api.clock.now();
    let mut settings = Map::new();
    if let Some(skips) = body.flag(org::SKIP_ALERTS)? {
        settings.insert(org::SKIP_ALERTS.to_owned(), skips.into());
    }
    let new = Org { id: OrgId::new(created_at), name, created_at, settings };
    let mut answer = json!({ "organization": org::describe(call, &new) });
    let mut put = |name: &str, value: Value| {
        if let Some(fields) = answer.as_object_mut() {
            fields.insert(name.to_owned(), value);
        }
    };
    let (mut keys, mut accounts) = (Vec::new(), Vec::new());
    if let Some(body) = body.object("apiKey")? {
        body.allow(&["desc", "roles"])?;
        let roles = roles_in_bodies::parse_org(&body, new.id)?;
        let roles = roles.ok_or_else(ApiError::api_key_needs_roles)?;
        let roles = Roles { org: roles, projects: Vec::new() };
        let (key, private_key) = api_key::make(call, new.id, &body, roles)?;
        put("apiKey", api_key::describe_new(call, &key, &private_key));
        keys.push(key);
    }
    if let Some(body) = body.object("serviceAccount")? {
        let (account, record, secret) = service_account::make(call, &new, &body, Place::Org)?;
        put(
            "serviceAccount",
            service_account::describe_new(&account, Place::Org, (&record, &secret)),
        );
        accounts.push((account, record));
    }
    if keys.is_empty() && accounts.is_empty() {
        // Nobody could ever enter it.
        return Err(ApiError::missing_one_of("apiKey", "serviceAccount"));
    }
    let new = NewOrg { org: &new, projects: &[], keys: &keys, accounts: &accounts };
    call.catalog.insert_org(&new)?;
    Ok(Answer::created(answer))
}
