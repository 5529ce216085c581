//! `GET /groups/{groupId}/serverless`: the serverless instances of a project, by age.

use tidemark_catalog::{InstanceView, Project};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_body;

use super::serverless_instance::describe;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let view = InstanceView::Serverless;
    let paged = call.api.catalog.list_instances(project.id, view, call.page()?)?;
    let described = paged.try_map(|instance| describe(call, instance))?;
    list_body(call, &described, Clone::clone).map(Answer::list)
}
