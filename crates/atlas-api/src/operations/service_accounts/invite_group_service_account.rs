//! `POST /groups/{groupId}/serviceAccounts/{clientId}:invite`: gives a service account of the
//! organization roles in a project.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::service_account::{Place, describe, find_in_org, org_of, parse_assignment};
use crate::operations::principals::update_account;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let place = Place::Project(project.id);
    let mut account = find_in_org(call, &org_of(call, project)?)?;
    let before = account.roles.clone();
    let roles = parse_assignment(&call.body()?, place)?;
    place.set_roles(&mut account, &roles);
    update_account(call, &before, &account)?;
    describe(call, &account, place).map(Answer::entity)
}
