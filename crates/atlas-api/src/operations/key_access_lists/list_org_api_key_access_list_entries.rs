//! `GET …/apiKeys/{apiUserId}/accessList`: the access list of an API key.

use tidemark_catalog::Org;
use tidemark_model::Principal;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::access_list::list;
use super::key_access_list::{describe, find};

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    let key = find(call, org)?;
    let body = list(call, Principal::ApiKey(key.id), &|entry| describe(call, &key, entry))?;
    Ok(Answer::list(body))
}
