//! `GET /groups/{groupId}`: one project.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::group::describe;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    Ok(Answer::entity(describe(call, project)))
}
