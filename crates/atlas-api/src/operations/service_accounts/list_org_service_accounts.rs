//! `GET …/orgs/{orgId}/serviceAccounts`: the service accounts of an organization.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_of;

use super::service_account::{Place, describe};

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    let paged = call.catalog.list_service_accounts(org.id, None, call.page()?)?;
    let place = Place::Org;
    let described = paged.try_map(|account| describe(call, account, place))?;
    list_of(call, described).map(Answer::list)
}
