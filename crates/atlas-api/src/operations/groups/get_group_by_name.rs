//! `GET /groups/byName/{groupName}`: the project with a name.

use tidemark_model::Role;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::group::describe;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let name = call.path_value("groupName");
    let project = call.catalog.find_project_by_name(call.caller.org, name)?;
    let project = project.ok_or_else(|| ApiError::group_name_not_found(name))?;
    call.check_project(&project, &[Role::GroupReadOnly])?;
    Ok(Answer::entity(describe(call, &project)))
}
