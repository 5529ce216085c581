//! How an organization is shown, and what a body says of it.

use serde_json::{Value, json};
use tidemark_catalog::Org;

use crate::body::Body;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::links::{link, part_link};

/// The parts of an organization that the real service links to.
const PARTS: &[&str] = &["groups", "teams", "users"];
pub(super) const SKIP_ALERTS: &str = "skipDefaultAlertsSettings";

fn show(org: &Org, links: Vec<Value>) -> Value {
    let skips = org.settings.get(SKIP_ALERTS).and_then(Value::as_bool).unwrap_or(false);
    json!({
        "id": org.id.to_string(),
        "isDeleted": false,
        "links": links,
        "name": org.name,
        "skipDefaultAlertsSettings": skips,
    })
}

/// An organization by itself: with links to its parts.
pub(super) fn describe(call: &Call<'_>, org: &Org) -> Value {
    let base = call.href(&format!("/orgs/{}", org.id));
    let mut links = vec![link(base.clone(), "self")];
    links.extend(PARTS.iter().map(|part| part_link(format!("{base}/{part}"), part)));
    show(org, links)
}

/// An organization in a list: with a link to itself only.
pub(super) fn describe_item(call: &Call<'_>, org: &Org) -> Value {
    show(org, vec![link(call.href(&format!("/orgs/{}", org.id)), "self")])
}

/// The name of a body, if it has one.
pub(super) fn parse_name(body: &Body<'_>) -> Result<Option<String>> {
    match body.text("name")? {
        Some(name) if !crate::operations::groups::group::is_name(name) => {
            Err(ApiError::invalid_org_name(name))
        }
        name => Ok(name.map(str::to_owned)),
    }
}
