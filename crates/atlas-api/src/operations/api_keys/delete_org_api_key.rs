//! `DELETE /orgs/{orgId}/apiKeys/{apiUserId}`: removes an API key.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::api_key::find;
use crate::operations::principals::delete_key;

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    delete_key(call, org.id, find(call, org)?.id)?;
    Ok(Answer::no_content())
}
