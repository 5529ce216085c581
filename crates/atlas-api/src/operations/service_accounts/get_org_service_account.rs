//! `GET …/orgs/{orgId}/serviceAccounts/{clientId}`: one service account.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::service_account::{Place, describe, find_in_org};

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    let account = find_in_org(call, org)?;
    describe(call, &account, Place::Org).map(Answer::entity)
}
