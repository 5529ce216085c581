//! `PATCH …/groups/{groupId}/serviceAccounts/{clientId}`: changes a service account.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::service_account::{Place, change, describe, find_in_project};
use crate::operations::principals::update_account;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let place = Place::Project(project.id);
    let mut account = find_in_project(call, project)?;
    let before = account.roles.clone();
    change(&mut account, &call.body()?, place)?;
    update_account(call, &before, &account)?;
    describe(call, &account, place).map(Answer::entity)
}
