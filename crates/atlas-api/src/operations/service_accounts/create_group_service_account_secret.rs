//! `POST …/groups/{groupId}/serviceAccounts/{clientId}/secrets`: makes another secret for a service account.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::service_account::{add_secret, find_to_control, org_of};

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let account = find_to_control(call, project)?;
    add_secret(call, account.id, &org_of(call, project)?.settings).map(Answer::created)
}
