//! `DELETE …/apiKeys/{apiUserId}/accessList/{ipAddress}`: takes an entry from the access list of an
//! API key.

use tidemark_catalog::Org;
use tidemark_model::Principal;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::access_list::{block_of_path, name};
use super::key_access_list::{find_entry, find_to_change};

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    let key = find_to_change(call, org)?;
    let principal = Principal::ApiKey(key.id);
    let block = find_entry(call, &key, block_of_path(call)?)?.block;
    if call.caller.principal == principal && block.contains(&call.address) {
        return Err(ApiError::cannot_remove_caller(&name(block)));
    }
    call.catalog.delete_access_entry(principal, block)?;
    Ok(Answer::no_content())
}
