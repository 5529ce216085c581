//! `GET /orgs/{orgId}/settings`: the settings of an organization.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::org_settings::describe;

pub(crate) fn run(_: &Call<'_>, org: &Org) -> Result<Answer> {
    Ok(Answer::entity(describe(org)))
}
