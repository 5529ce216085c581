//! `GET /groups/{groupId}/serverless`: the instances of a project.

use tidemark_catalog::Paged;
use tidemark_model::Role;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_body;

use super::serverless_instance::describe;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let project = call.project(Role::GroupReadOnly)?;
    let paged = call.api.catalog.list_instances(project.id, call.page()?)?;
    let items: Vec<_> =
        paged.items.iter().map(|instance| describe(call, instance)).collect::<Result<_>>()?;
    list_body(call, &Paged { items, total: paged.total }, Clone::clone).map(Answer::list)
}
