//! `GET /groups/{groupId}/accessList`: the IP access list of a project.

use serde_json::Value;
use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_body;

use super::network_entry::describe;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    list(call, project).map(Answer::list)
}

/// A page of the list.
pub(super) fn list(call: &Call<'_>, project: &Project) -> Result<Value> {
    let now = call.api.clock.now();
    let paged = call.catalog.list_network_entries(project.id, now, call.page()?)?;
    list_body(call, &paged, |entry| describe(call, project.id, entry))
}
