//! `GET /orgs/{orgId}/groups`: the projects of an organization that the caller sees, by name.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_body;

use crate::operations::groups::group::describe_item;

pub(crate) fn run(call: &Call<'_>, _: &Org) -> Result<Answer> {
    let prefix = call.query_value("name").unwrap_or_default();
    let paged = call.catalog.list_projects(call.caller, prefix, call.page()?)?;
    list_body(call, &paged, |project| describe_item(call, project)).map(Answer::list)
}
