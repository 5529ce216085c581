//! `GET /groups/{groupId}/databaseUsers/{databaseName}/{username}`: one database user.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::database_user::{describe, find};

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    Ok(Answer::entity(describe(call, &find(call, project)?)))
}
