//! `GET …/groups/{groupId}/serviceAccounts`: the service accounts of a project.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_of;

use super::service_account::{Place, describe};

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let paged = call.catalog.list_service_accounts(project.org, Some(project.id), call.page()?)?;
    let place = Place::Project(project.id);
    let described = paged.try_map(|account| describe(call, account, place))?;
    list_of(call, described).map(Answer::list)
}
