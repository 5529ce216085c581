//! `GET /groups/{groupId}/settings`: the settings of a project.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::group_settings::describe;

pub(crate) fn run(_: &Call<'_>, project: &Project) -> Result<Answer> {
    Ok(Answer::entity(describe(project)))
}
