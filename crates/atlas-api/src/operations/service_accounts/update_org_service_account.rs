//! `PATCH …/orgs/{orgId}/serviceAccounts/{clientId}`: changes a service account.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::service_account::{Place, change, describe, find_in_org};
use crate::operations::principals::update_account;

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    let place = Place::Org;
    let mut account = find_in_org(call, org)?;
    let before = account.roles.clone();
    change(&mut account, &call.body()?, place)?;
    update_account(call, &before, &account)?;
    describe(call, &account, place).map(Answer::entity)
}
