//! `POST …/orgs/{orgId}/serviceAccounts`: creates a service account with its first secret.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::service_account::{Place, describe_new, make};
use crate::operations::principals::insert_account;

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    let place = Place::Org;
    let (account, record, secret) = make(call, org, &call.body()?, place)?;
    insert_account(call, &account, &record)?;
    Ok(Answer::created(describe_new(&account, place, (&record, &secret))))
}
