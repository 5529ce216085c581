//! `GET /groups/{groupId}/apiKeys`: the API keys with roles in a project.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_body;

use super::api_key::describe;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let paged = call.catalog.list_api_keys(project.org, Some(project.id), call.page()?)?;
    list_body(call, &paged, |key| describe(call, key)).map(Answer::list)
}
