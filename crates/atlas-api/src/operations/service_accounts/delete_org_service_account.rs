//! `DELETE /orgs/{orgId}/serviceAccounts/{clientId}`: removes a service account.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::service_account::find_in_org;
use crate::operations::principals::delete_account;

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    delete_account(call, &find_in_org(call, org)?)?;
    Ok(Answer::no_content())
}
