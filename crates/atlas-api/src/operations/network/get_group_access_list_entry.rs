//! `GET /groups/{groupId}/accessList/{entryValue}`: one entry of the IP access list of a project.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::network_entry::{describe, find};

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    Ok(Answer::entity(describe(call, project.id, &find(call, project)?)))
}
