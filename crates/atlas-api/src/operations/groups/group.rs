//! How a project is shown.

use serde_json::{Value, json};
use tidemark_catalog::Project;
use tidemark_model::format_instant;

use crate::body::Body;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::links::{link, part_link};
use crate::operations::tags;

/// The longest name, in characters.
const LONGEST_NAME: usize = 64;
/// The parts of a project that the real service links to.
const PARTS: &[&str] =
    &["containers", "clusters", "databaseUsers", "peers", "processes", "whitelist"];

const ALERTS: &str = "withDefaultAlertsSettings";

fn href(call: &Call<'_>, project: &Project) -> String {
    call.href(&format!("/groups/{}", project.id))
}

/// A project in a list: with a link to itself only.
pub(crate) fn describe_item(call: &Call<'_>, project: &Project) -> Value {
    json!({
        "clusterCount": project.instance_count,
        "created": format_instant(project.created_at),
        "id": project.id.to_string(),
        "links": [link(href(call, project), "self")],
        "name": project.name,
        "orgId": project.org.to_string(),
        "tags": tags::describe(&project.tags),
        ALERTS: project.settings.get(ALERTS).and_then(Value::as_bool).unwrap_or(true),
    })
}

/// A project by itself: with links to its parts.
pub(super) fn describe(call: &Call<'_>, project: &Project) -> Value {
    let mut body = describe_item(call, project);
    let base = href(call, project);
    let mut links = vec![link(base.clone(), "self")];
    links.extend(PARTS.iter().map(|part| part_link(format!("{base}/{part}"), part)));
    if let Some(fields) = body.as_object_mut() {
        fields.insert("links".to_owned(), links.into());
    }
    body
}

/// Whether a text can be the name of a project or an organization.
pub(crate) fn is_name(text: &str) -> bool {
    let is_allowed = |c: char| c.is_alphanumeric() || " -_.(),:&@+'".contains(c);
    (1..=LONGEST_NAME).contains(&text.chars().count()) && text.chars().all(is_allowed)
}

/// Keeps what a body says about default alerts. There are no alerts, but clients compare.
pub(super) fn parse_alerts(body: &Body<'_>, project: &mut Project) -> Result<()> {
    if let Some(flag) = body.flag(ALERTS)? {
        project.settings.insert(ALERTS.to_owned(), flag.into());
    }
    Ok(())
}

/// The name of a body, if it has one.
pub(super) fn parse_name(body: &Body<'_>) -> Result<Option<String>> {
    match body.text("name")? {
        Some(name) if !is_name(name) => Err(ApiError::invalid_group_name(name)),
        name => Ok(name.map(str::to_owned)),
    }
}
