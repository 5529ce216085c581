//! `GET /orgs/{orgId}`: one organization.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::org::describe;

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    Ok(Answer::entity(describe(call, org)))
}
