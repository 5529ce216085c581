//! The access list of one API key: who may see and change it, and how it is shown.

use ipnet::IpNet;
use serde_json::{Value, json};
use tidemark_catalog::{AccessEntry, ApiKey, Org};
use tidemark_model::{Principal, Role, format_instant};

use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::links::link;

use super::access_list::{encoded_name, single};
use crate::operations::api_keys::api_key;

/// The key of the path, if its access list may be seen: by itself or by members.
pub(super) fn find(call: &Call<'_>, org: &Org) -> Result<ApiKey> {
    api_key::find(call, org)
}

/// The key of the path, if its access list may be changed: by itself or by an owner.
pub(super) fn find_to_change(call: &Call<'_>, org: &Org) -> Result<ApiKey> {
    let key = api_key::find(call, org)?;
    let is_itself = call.caller.principal == Principal::ApiKey(key.id);
    if is_itself || call.caller.may_in_org(org.id, Role::OrgOwner) {
        return Ok(key);
    }
    Err(ApiError::access_list_denied())
}

pub(super) fn describe(call: &Call<'_>, key: &ApiKey, entry: &AccessEntry) -> Value {
    let name = encoded_name(entry.block);
    let href = call.href(&format!("/orgs/{}/apiKeys/{}/accessList/{name}", key.org, key.id));
    let mut body = json!({
        "cidrBlock": entry.block.to_string(),
        "count": entry.request_count,
        "created": format_instant(entry.created_at),
        "links": [link(href, "self")],
    });
    if let Some(fields) = body.as_object_mut() {
        if let Some(address) = single(entry.block) {
            fields.insert("ipAddress".to_owned(), address.to_string().into());
        }
        if let Some((at, address)) = &entry.last_use {
            fields.insert("lastUsed".to_owned(), format_instant(*at).into());
            fields.insert("lastUsedAddress".to_owned(), address.as_str().into());
        }
    }
    body
}

/// One entry of a key's access list.
pub(super) fn find_entry(call: &Call<'_>, key: &ApiKey, block: IpNet) -> Result<AccessEntry> {
    call.api.usage.record(call.catalog)?;
    let entry = call.catalog.find_access_entry(Principal::ApiKey(key.id), block)?;
    entry.ok_or_else(|| {
        ApiError::access_entry_not_found(&super::access_list::name(block), &key.id.to_string())
    })
}
