//! `GET /groups/{groupId}`: one project.

use tidemark_model::Role;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::group;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let project = call.project(Role::GroupReadOnly)?;
    group::describe(call, &project).map(Answer::entity)
}
