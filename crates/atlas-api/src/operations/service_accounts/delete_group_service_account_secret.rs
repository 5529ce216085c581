//! `DELETE …/groups/{groupId}/serviceAccounts/{clientId}/secrets/{secretId}`: removes a secret of a service account.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::service_account::{find_to_control, remove_secret};

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    remove_secret(call, &find_to_control(call, project)?)?;
    Ok(Answer::no_content())
}
