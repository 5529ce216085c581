//! Access lists of API keys and service accounts.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};
use tidemark_catalog::{AccessEntry, CatalogError, Paged};
use tidemark_model::{Principal, ServiceAccountId, format_instant};

use crate::body::Body;
use crate::call::Call;
use crate::credentials::client_id_of;
use crate::error::{ApiError, Result};
use crate::links::{ENCODED, list_body};

/// A block of addresses: a single address, or CIDR notation.
pub(crate) fn parse_block(text: &str) -> Option<IpNet> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// The only address of a block, if it has just one.
pub(crate) fn single(block: IpNet) -> Option<IpAddr> {
    (block.prefix_len() == block.max_prefix_len()).then(|| block.addr())
}

/// A block as paths and links name it: a single address without its length.
pub(super) fn name(block: IpNet) -> String {
    single(block).map_or_else(|| block.to_string(), |address| address.to_string())
}

/// A block as it stands in the path of a link.
pub(super) fn encoded_name(block: IpNet) -> String {
    percent_encoding::utf8_percent_encode(&name(block), ENCODED).to_string()
}

/// The block that an entry of a body names by `ipAddress` or `cidrBlock`.
pub(crate) fn parse_entry(body: &Body<'_>) -> Result<IpNet> {
    match (body.text("ipAddress")?, body.text("cidrBlock")?) {
        (Some(address), None) => {
            let parsed = address.parse::<IpAddr>();
            parsed.map(IpNet::from).map_err(|_| ApiError::invalid_address(address))
        }
        (None, Some(block)) => {
            parse_block(block).ok_or_else(|| ApiError::invalid_cidr_block(block))
        }
        // Clients send back both as they read them.
        (Some(address), Some(block)) => match parse_block(block) {
            Some(parsed) if name(parsed) == address => Ok(parsed),
            Some(_) => Err(ApiError::several_network_values()),
            None => Err(ApiError::invalid_cidr_block(block)),
        },
        (None, None) => Err(ApiError::missing_one_of("ipAddress", "cidrBlock")),
    }
}

/// The blocks of a body that is a list of entries.
pub(super) fn parse_entries(call: &Call<'_>) -> Result<Vec<IpNet>> {
    let mut blocks = Vec::new();
    for item in call.items()? {
        item.allow(&["cidrBlock", "ipAddress"])?;
        let block = parse_entry(&item)?;
        if blocks.contains(&block) {
            return Err(ApiError::duplicate_addresses());
        }
        blocks.push(block);
    }
    Ok(blocks)
}

/// The block of the path.
pub(super) fn block_of_path(call: &Call<'_>) -> Result<IpNet> {
    let text = call.path_value("ipAddress");
    parse_block(text).ok_or_else(|| ApiError::invalid_address(text))
}

/// One entry as it is shown, except for what only API keys or only service accounts have.
type Describe<'a> = &'a dyn Fn(&AccessEntry) -> Value;

/// A page of an access list, with the uses up to now.
pub(super) fn list(call: &Call<'_>, principal: Principal, describe: Describe<'_>) -> Result<Value> {
    call.api.usage.record(call.catalog)?;
    let paged: Paged<AccessEntry> = call.catalog.list_access_entries(principal, call.page()?)?;
    list_body(call, &paged, describe)
}

/// Takes the block of the path from the access list of a service account.
pub(super) fn delete_for_account(call: &Call<'_>, account: ServiceAccountId) -> Result<()> {
    let block = block_of_path(call)?;
    let principal = Principal::ServiceAccount(account);
    if call.caller.principal == principal && block.contains(&call.address) {
        return Err(ApiError::cannot_remove_caller(&name(block)));
    }
    match call.catalog.delete_access_entry(principal, block) {
        Err(CatalogError::Missing(_)) => {
            Err(ApiError::access_entry_not_found(&name(block), &client_id_of(account)))
        }
        outcome => Ok(outcome?),
    }
}

/// An entry of a service account.
pub(super) fn describe_for_account(entry: &AccessEntry) -> Value {
    let mut body = json!({
        "cidrBlock": entry.block.to_string(),
        "createdAt": format_instant(entry.created_at),
        "requestCount": entry.request_count,
    });
    if let Some(fields) = body.as_object_mut() {
        if let Some(address) = single(entry.block) {
            fields.insert("ipAddress".to_owned(), address.to_string().into());
        }
        if let Some((at, address)) = &entry.last_use {
            fields.insert("lastUsedAddress".to_owned(), address.as_str().into());
            fields.insert("lastUsedAt".to_owned(), format_instant(*at).into());
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_named_as_they_were_recorded() {
        let address = parse_block("192.168.0.229").unwrap();
        assert_eq!(
            (address.to_string().as_str(), name(address).as_str()),
            ("192.168.0.229/32", "192.168.0.229")
        );
        assert_eq!(encoded_name(parse_block("10.0.0.0/8").unwrap()), "10.0.0.0%2F8");
        assert_eq!(parse_block("10.0.0.0/33"), None);
        assert_eq!(parse_block("::1").map(name).as_deref(), Some("::1"));
    }
}
