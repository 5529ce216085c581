//! `GET …/groups/{groupId}/serviceAccounts/{clientId}`: one service account.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::service_account::{Place, describe, find_in_project};

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let account = find_in_project(call, project)?;
    describe(call, &account, Place::Project(project.id)).map(Answer::entity)
}
