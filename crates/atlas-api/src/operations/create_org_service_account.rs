//! `POST …/orgs/{orgId}/serviceAccounts`: creates a service account with its first secret.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::principals::insert_account;
use super::service_account::{Place, describe_new, make};

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    let place = Place::Org;
    let (account, record, secret) = make(call, org, &call.body()?, place)?;
    insert_account(call, &account, &record)?;
    Ok(Answer::created(describe_new(&account, place, (&record, &secret))))
}
