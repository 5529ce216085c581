//! `DELETE …/groups/{groupId}/serviceAccounts/{clientId}/accessList/{ipAddress}`: takes an entry from the access list of a
//! service account.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::access_list::delete_for_account;
use crate::operations::service_accounts::service_account::find_to_control;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    delete_for_account(call, find_to_control(call, project)?.id)?;
    Ok(Answer::no_content())
}
