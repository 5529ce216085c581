//! `GET /groups/{groupId}/limits/{limitName}`: one limit of a project.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::limits::{describe, find};

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    describe(call, project, find(call)?).map(Answer::entity)
}
