//! `POST /groups`: creates a project.

use tidemark_catalog::{CatalogError, Project};
use tidemark_model::{OrgId, Role};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::group;
use crate::operations::tags;

const ATTRIBUTES: &[&str] = &[
    "clusterCount",
    "created",
    "id",
    "links",
    "name",
    "orgId",
    "regionUsageRestrictions",
    "tags",
    "withDefaultAlertsSettings",
];
/// Projects that an organization may have.
const MOST_PROJECTS: u64 = 250;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let body = call.body()?;
    body.allow(ATTRIBUTES)?;
    let name = group::parse_name(&body)?.ok_or_else(|| body.missing("name"))?;
    let org = body.required_text("orgId")?;
    let org: OrgId = org.parse().map_err(|_| ApiError::invalid_org_id(org))?;
    if org != call.caller.org {
        return Err(ApiError::org_not_found(&org.to_string()));
    }
    if body.text("regionUsageRestrictions")?.is_some() {
        return Err(body.invalid("regionUsageRestrictions"));
    }
    // There are no users that could own a project; who makes it owns it.
    let is_id = |id: &str| id.len() == 24 && id.chars().all(|c| c.is_ascii_hexdigit());
    if call.query_value("projectOwnerId").is_some_and(|id| !id.is_empty() && !is_id(id)) {
        return Err(ApiError::invalid_query_parameter("projectOwnerId"));
    }
    if !call.caller.may_in_org(org, Role::OrgGroupCreator) {
        return Err(ApiError::not_group_creator(&org.to_string()));
    }
    if call.catalog.count_projects(org)? >= MOST_PROJECTS {
        return Err(ApiError::too_many_groups(MOST_PROJECTS, &org.to_string()));
    }
    let created_at = call.api.clock.now();
    let tags = tags::parse(&body)?.unwrap_or_default();
    let mut project = Project { tags, ..Project::new(org, &name, created_at) };
    group::parse_alerts(&body, &mut project)?;
    match call.catalog.insert_project(&project, call.caller) {
        Err(CatalogError::AlreadyExists(name)) => Err(ApiError::group_already_exists(&name)),
        outcome => {
            outcome?;
            let described = tags::without_empty(group::describe(call, &project));
            // What the real service sends, though nothing is there.
            let location = format!("{}//api/atlas/v1.0", call.base_url);
            Ok(Answer::created(described).with_location(location))
        }
    }
}
