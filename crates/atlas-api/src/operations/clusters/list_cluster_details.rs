//! `GET /clusters`: the instances of all projects that the caller sees.

use serde_json::{Value, json};
use tidemark_catalog::{InstanceView, Org, Project};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::links::list_of;

use crate::operations::instances::instance::{MOST_SHOWN, describe_details};

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let catalog = &call.catalog;
    let org = catalog.find_org(call.caller.org)?.ok_or_else(ApiError::unexpected)?;
    let paged = catalog.list_projects(call.caller, "", call.page()?)?;
    let described = paged.try_map(|project| describe(call, &org, project))?;
    list_of(call, described).map(Answer::list)
}

fn describe(call: &Call<'_>, org: &Org, project: &Project) -> Result<Value> {
    let of_view = |view| call.catalog.list_instances(project.id, view, MOST_SHOWN);
    let (flex, clusters) = (of_view(InstanceView::Flex)?, of_view(InstanceView::Cluster)?);
    let shown = flex.items.iter().chain(&clusters.items).map(describe_details);
    Ok(json!({
        "clusters": shown.collect::<Vec<_>>(),
        "groupId": project.id.to_string(),
        "groupName": project.name,
        "orgId": org.id.to_string(),
        "orgName": org.name,
        "planType": "Atlas",
        "tags": [],
    }))
}
