//! `POST …/groups/{groupId}/serviceAccounts`: creates a service account with its first secret.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::service_account::{Place, describe_new, make, org_of};
use crate::operations::principals::insert_account;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let place = Place::Project(project.id);
    let (account, record, secret) = make(call, &org_of(call, project)?, &call.body()?, place)?;
    insert_account(call, &account, &record)?;
    Ok(Answer::created(describe_new(&account, place, (&record, &secret))))
}
