//! `POST …/orgs/{orgId}/serviceAccounts/{clientId}/accessList`: adds entries to the access list of a service account.

use tidemark_catalog::Org;
use tidemark_model::Principal;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::access_list::{describe_for_account, list, parse_entries};
use crate::operations::service_accounts::service_account::find_in_org;

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    let principal = Principal::ServiceAccount(find_in_org(call, org)?.id);
    let blocks = parse_entries(call)?;
    call.catalog.insert_access_entries(principal, &blocks, call.api.clock.now())?;
    list(call, principal, &describe_for_account).map(Answer::list)
}
