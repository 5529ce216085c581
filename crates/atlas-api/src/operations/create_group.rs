//! `POST /groups`: creates a project.

use tidemark_catalog::{CatalogError, Project};
use tidemark_model::{OrgId, ProjectId, Role};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::{group, tags};

/// The longest name, in characters.
const LONGEST_NAME: usize = 64;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let body = call.body()?;
    body.allow(&["name", "orgId", "tags", "withDefaultAlertsSettings", "regionUsageRestrictions"])?;
    let name = body.required_text("name")?;
    let is_allowed = |c: char| c.is_alphanumeric() || " -_.(),:&@+'".contains(c);
    if !(1..=LONGEST_NAME).contains(&name.chars().count()) || !name.chars().all(is_allowed) {
        return Err(ApiError::invalid_group_name(name));
    }
    let org = body.required_text("orgId")?;
    let org: OrgId = org.parse().map_err(|_| ApiError::invalid_org_id(org))?;
    if org != call.caller.org {
        return Err(ApiError::org_not_found(&org.to_string()));
    }
    body.flag("withDefaultAlertsSettings")?;
    if body.text("regionUsageRestrictions")?.is_some() {
        return Err(ApiError::invalid_attribute("regionUsageRestrictions"));
    }
    if !call.caller.may_in_org(org, Role::OrgGroupCreator) {
        return Err(ApiError::not_authorized());
    }
    let created_at = call.api.clock.now();
    let project = Project {
        id: ProjectId::new(created_at),
        org,
        name: name.to_owned(),
        created_at,
        tags: tags::parse(&body)?.unwrap_or_default(),
    };
    match call.api.catalog.insert_project(&project) {
        Err(CatalogError::AlreadyExists(name)) => Err(ApiError::group_already_exists(&name)),
        outcome => {
            outcome?;
            let mut described = group::describe(call, &project)?;
            if let (true, Some(fields)) = (project.tags.is_empty(), described.as_object_mut()) {
                fields.remove("tags");
            }
            Ok(Answer::created(described))
        }
    }
}
