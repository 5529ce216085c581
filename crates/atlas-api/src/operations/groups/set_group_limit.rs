//! `PATCH /groups/{groupId}/limits/{limitName}`: sets a limit of a project.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::limits::{describe, find};

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let limit = find(call)?;
    let body = call.body()?;
    body.allow(&["currentUsage", "defaultLimit", "maximumLimit", "name", "value"])?;
    let value = body.integer("value")?.ok_or_else(|| body.missing("value"))?;
    if value < 0 {
        return Err(ApiError::negative_attribute("value"));
    }
    if value > limit.maximum {
        return Err(body.invalid("value"));
    }
    let mut changed = project.clone();
    changed.limits.insert(limit.name.to_owned(), value);
    call.catalog.update_project(&changed)?;
    describe(call, &changed, limit).map(Answer::entity)
}
