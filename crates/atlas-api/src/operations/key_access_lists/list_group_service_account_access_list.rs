//! `GET …/groups/{groupId}/serviceAccounts/{clientId}/accessList`: the access list of a service account.

use tidemark_catalog::Project;
use tidemark_model::Principal;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::access_list::{describe_for_account, list};
use crate::operations::service_accounts::service_account::find_in_project;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let principal = Principal::ServiceAccount(find_in_project(call, project)?.id);
    list(call, principal, &describe_for_account).map(Answer::list)
}
