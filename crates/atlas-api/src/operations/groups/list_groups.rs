//! `GET /groups`: the projects that the caller sees, by name.

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_body;

use super::group::describe_item;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let paged = call.catalog.list_projects(call.caller, "", call.page()?)?;
    list_body(call, &paged, |project| describe_item(call, project)).map(Answer::list)
}
