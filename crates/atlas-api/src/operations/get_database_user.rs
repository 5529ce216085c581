//! `GET /groups/{groupId}/databaseUsers/{databaseName}/{username}`: one database user.

use tidemark_model::Role;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::database_user::describe;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let project = call.project(Role::GroupReadOnly)?;
    let name = call.path_value("username");
    let user =
        call.api.catalog.find_database_user(project.id, (call.path_value("databaseName"), name))?;
    let user = user.ok_or_else(|| ApiError::username_not_found(name))?;
    Ok(Answer::entity(describe(call, &user)))
}
