//! `GET /groups`: the projects that the caller sees, by name.

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_body;

use super::group;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let paged = call.api.catalog.list_projects(call.caller, call.page()?)?;
    let items: Vec<_> = paged
        .items
        .iter()
        .map(|project| group::describe_item(call, project))
        .collect::<Result<_>>()?;
    let described = tidemark_catalog::Paged { items, total: paged.total };
    list_body(call, &described, Clone::clone).map(Answer::list)
}
