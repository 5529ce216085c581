//! `GET /groups/{groupId}/flexClusters`: the instances of a project, by age.

use tidemark_catalog::{InstanceView, Project};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_body;

use super::flex_cluster::describe;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let paged = call.catalog.list_instances(project.id, InstanceView::Flex, call.page()?)?;
    list_body(call, &paged, |instance| describe(call, instance)).map(Answer::list)
}
