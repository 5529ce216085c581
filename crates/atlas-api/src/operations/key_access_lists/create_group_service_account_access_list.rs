//! `POST …/groups/{groupId}/serviceAccounts/{clientId}/accessList`: adds entries to the access list of a service account.

use tidemark_catalog::Project;
use tidemark_model::Principal;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::access_list::{describe_for_account, list, parse_entries};
use crate::operations::service_accounts::service_account::find_to_control;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let principal = Principal::ServiceAccount(find_to_control(call, project)?.id);
    let blocks = parse_entries(call)?;
    call.catalog.insert_access_entries(principal, &blocks, call.api.clock.now())?;
    list(call, principal, &describe_for_account).map(Answer::list)
}
