//! `GET …/apiKeys/{apiUserId}/accessList/{ipAddress}`: one entry of the access list of an API key.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::access_list::block_of_path;
use super::key_access_list::{describe, find, find_entry};

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    let key = find(call, org)?;
    let entry = find_entry(call, &key, block_of_path(call)?)?;
    Ok(Answer::entity(describe(call, &key, &entry)))
}
