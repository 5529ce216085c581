//! `DELETE /groups/{groupId}/serviceAccounts/{clientId}`: takes a service account out of a project;
//! it stays in its organization.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::service_account::{Place, find_in_project};
use crate::operations::principals::update_account;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let mut account = find_in_project(call, project)?;
    let before = account.roles.clone();
    Place::Project(project.id).set_roles(&mut account, &[]);
    update_account(call, &before, &account)?;
    Ok(Answer::no_content())
}
