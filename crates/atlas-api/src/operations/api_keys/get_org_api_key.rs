//! `GET /orgs/{orgId}/apiKeys/{apiUserId}`: one API key.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::api_key::{describe, find};

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    Ok(Answer::entity(describe(call, &find(call, org)?)))
}
