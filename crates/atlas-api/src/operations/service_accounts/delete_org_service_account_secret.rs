//! `DELETE …/orgs/{orgId}/serviceAccounts/{clientId}/secrets/{secretId}`: removes a secret of a service account.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::service_account::{find_in_org, remove_secret};

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    remove_secret(call, &find_in_org(call, org)?)?;
    Ok(Answer::no_content())
}
