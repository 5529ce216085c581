//! Entries of a project's IP access list.

use jiff::Timestamp;
use serde_json::{Value, json};
use tidemark_catalog::{NetworkEntry, NetworkSource, Page, Project};
use tidemark_model::{ProjectId, format_instant};

use crate::body::Body;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::links::{ENCODED, link};
use crate::operations::key_access_lists::access_list::{parse_block, parse_entry, single};

const ATTRIBUTES: &[&str] = &[
    "awsSecurityGroup",
    "cidrBlock",
    "comment",
    "deleteAfterDate",
    "groupId",
    "ipAddress",
    "links",
];
/// The longest comment, in characters.
const LONGEST_COMMENT: usize = 80;

pub(super) fn describe(call: &Call<'_>, project: ProjectId, entry: &NetworkEntry) -> Value {
    let text = entry.source.text();
    let name = percent_encoding::utf8_percent_encode(&text, ENCODED);
    let href = call.href(&format!("/groups/{project}/accessList/{name}"));
    let mut body = json!({ "groupId": project.to_string(), "links": [link(href, "self")] });
    if let Some(fields) = body.as_object_mut() {
        let mut put =
            |name: &str, value: String| drop(fields.insert(name.to_owned(), value.into()));
        match &entry.source {
            NetworkSource::Block(block) => {
                put("cidrBlock", block.to_string());
                if let Some(address) = single(*block) {
                    put("ipAddress", address.to_string());
                }
            }
            NetworkSource::SecurityGroup(group) => put("awsSecurityGroup", group.clone()),
        }
        if let Some(comment) = &entry.comment {
            put("comment", comment.clone());
        }
        if let Some(end) = entry.delete_after {
            put("deleteAfterDate", format_instant(end));
        }
    }
    body
}

pub(super) fn parse(body: &Body<'_>, project: &Project, now: Timestamp) -> Result<NetworkEntry> {
    body.allow(ATTRIBUTES)?;
    if let Some(group) = body.text("groupId")?.filter(|group| *group != project.id.to_string()) {
        return Err(ApiError::group_mismatch(group));
    }
    let group = body.text("awsSecurityGroup")?;
    let source = match group {
        Some(_) if body.has("ipAddress") || body.has("cidrBlock") => {
            return Err(ApiError::several_network_values());
        }
        Some(group) if is_security_group(group) => NetworkSource::SecurityGroup(group.to_owned()),
        Some(_) => return Err(body.invalid("awsSecurityGroup")),
        None => NetworkSource::Block(parse_entry(body)?),
    };
    let comment = body.text("comment")?.filter(|comment| !comment.is_empty());
    if let Some(comment) = comment.filter(|text| text.chars().count() > LONGEST_COMMENT) {
        return Err(ApiError::network_comment_too_long(comment));
    }
    let delete_after = body.delete_after_date(now)?;
    if delete_after.is_some() && matches!(source, NetworkSource::SecurityGroup(_)) {
        return Err(ApiError::network_expiration_unsupported());
    }
    Ok(NetworkEntry { source, comment: comment.map(str::to_owned), delete_after })
}

/// `sg-…`, with an account number before it or not.
fn is_security_group(text: &str) -> bool {
    let (account, group) = text.rsplit_once('/').unwrap_or(("", text));
    let is_hex = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit());
    account.chars().all(|c| c.is_ascii_digit()) && group.strip_prefix("sg-").is_some_and(is_hex)
}

/// The entry of the path.
pub(super) fn find(call: &Call<'_>, project: &Project) -> Result<NetworkEntry> {
    let text = call.path_value("entryValue");
    let source = match parse_block(text) {
        Some(block) => NetworkSource::Block(block),
        None => NetworkSource::SecurityGroup(text.to_owned()),
    };
    let now = call.api.clock.now();
    let entries = call.catalog.list_network_entries(project.id, now, Page::EVERYTHING)?.items;
    entries
        .into_iter()
        .find(|entry| entry.source == source)
        .ok_or_else(|| ApiError::network_entry_not_found(text, project.id))
}
