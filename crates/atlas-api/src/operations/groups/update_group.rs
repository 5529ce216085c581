//! `PATCH /groups/{groupId}`: renames a project or replaces its tags.

use tidemark_catalog::{CatalogError, Project};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::group::{describe, parse_alerts, parse_name};
use crate::operations::tags;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let body = call.body()?;
    body.allow(&["name", "tags", "withDefaultAlertsSettings"])?;
    let mut changed = project.clone();
    parse_alerts(&body, &mut changed)?;
    changed.name = parse_name(&body)?.unwrap_or(changed.name);
    changed.tags = tags::parse(&body)?.unwrap_or(changed.tags);
    match call.catalog.update_project(&changed) {
        Err(CatalogError::AlreadyExists(name)) => Err(ApiError::group_already_exists(&name)),
        outcome => {
            outcome?;
            Ok(Answer::entity(describe(call, &changed)))
        }
    }
}
