//! `GET /orgs/{orgId}/apiKeys`: the API keys of an organization.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_body;

use super::api_key::describe;

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    let paged = call.catalog.list_api_keys(org.id, None, call.page()?)?;
    list_body(call, &paged, |key| describe(call, key)).map(Answer::list)
}
