//! `POST …/orgs/{orgId}/serviceAccounts/{clientId}/secrets`: makes another secret for a service account.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::service_account::{add_secret, find_in_org};

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    let account = find_in_org(call, org)?;
    add_secret(call, account.id, &org.settings).map(Answer::created)
}
