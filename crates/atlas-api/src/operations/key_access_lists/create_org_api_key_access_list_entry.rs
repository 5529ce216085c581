//! `POST …/apiKeys/{apiUserId}/accessList`: adds entries to the access list of an API key.

use tidemark_catalog::Org;
use tidemark_model::Principal;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::access_list::{list, parse_entries};
use super::key_access_list::{describe, find_to_change};

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    let key = find_to_change(call, org)?;
    let principal = Principal::ApiKey(key.id);
    let blocks = parse_entries(call)?;
    call.catalog.insert_access_entries(principal, &blocks, call.api.clock.now())?;
    Ok(Answer::list(list(call, principal, &|entry| describe(call, &key, entry))?))
}
