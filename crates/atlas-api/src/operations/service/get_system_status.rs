//! `GET /`: whether the service is up, and who asks.

use serde_json::json;
use tidemark_catalog::Page;
use tidemark_model::Principal;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::operations::api_keys::api_key::describe_roles;
use crate::operations::key_access_lists::access_list::single;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let mut body = json!({
        "appName": "MongoDB Atlas",
        "build": env!("CARGO_PKG_VERSION"),
        "ipAddress": call.address.to_string(),
        "links": [crate::links::link(call.href(""), "self")],
        "throttling": false,
    });
    // A service account is no key.
    if let (Principal::ApiKey(id), Some(fields)) = (call.caller.principal, body.as_object_mut())
        && let Some(key) = call.catalog.find_org_api_key(call.caller.org, id)?
    {
        let entries = call.catalog.list_access_entries(call.caller.principal, Page::EVERYTHING)?;
        let entries: Vec<_> = entries
            .items
            .iter()
            .map(|entry| {
                let address = single(entry.block).map(|address| address.to_string());
                json!({ "cidrBlock": entry.block.to_string(), "ipAddress": address })
            })
            .collect();
        let key = json!({
            "accessList": entries,
            "id": key.id.to_string(),
            "publicKey": key.public_key,
            "roles": describe_roles(key.org, &key.roles),
        });
        fields.insert("apiKey".to_owned(), key);
    }
    Ok(Answer::entity(body))
}
