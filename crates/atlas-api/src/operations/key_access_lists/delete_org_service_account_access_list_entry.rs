//! `DELETE …/orgs/{orgId}/serviceAccounts/{clientId}/accessList/{ipAddress}`: takes an entry from the access list of a
//! service account.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::access_list::delete_for_account;
use crate::operations::service_accounts::service_account::find_in_org;

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    delete_for_account(call, find_in_org(call, org)?.id)?;
    Ok(Answer::no_content())
}
