//! `GET /clusters`: the instances of all projects that the caller sees.

use serde_json::{Value, json};
use tidemark_catalog::{InstanceView, Page, Project};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::links::list_of;

use super::instance::describe_details;

/// Instances of one project that are shown at most.
const MOST_INSTANCES: Page = Page { number: 1, size: 500 };

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let paged = call.api.catalog.list_projects(call.caller, "", call.page()?)?;
    let described = paged.try_map(|project| describe(call, project))?;
    list_of(call, described).map(Answer::list)
}

fn describe(call: &Call<'_>, project: &Project) -> Result<Value> {
    let catalog = &call.api.catalog;
    let org = catalog.find_org(project.org)?.ok_or_else(ApiError::unexpected)?;
    let instances = catalog.list_instances(project.id, InstanceView::Flex, MOST_INSTANCES)?;
    Ok(json!({
        "clusters": instances.items.iter().map(describe_details).collect::<Vec<_>>(),
        "groupId": project.id.to_string(),
        "groupName": project.name,
        "orgId": org.id.to_string(),
        "orgName": org.name,
        "planType": "Atlas",
        "tags": [],
    }))
}
