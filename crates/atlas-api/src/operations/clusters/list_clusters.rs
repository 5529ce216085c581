//! `GET /groups/{groupId}/clusters`: the clusters of a project, by age.

use tidemark_catalog::{InstanceView, Project};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_body;

use super::cluster::describe;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let paged = call.catalog.list_instances(project.id, InstanceView::Cluster, call.page()?)?;
    list_body(call, &paged, |instance| describe(call, instance)).map(Answer::list)
}
