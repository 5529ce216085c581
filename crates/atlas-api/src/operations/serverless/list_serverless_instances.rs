//! `GET /groups/{groupId}/serverless`: the serverless instances of a project, by age.

use tidemark_catalog::{InstanceView, Paged, Project};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_of;

use super::serverless_instance::describe;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let view = InstanceView::Serverless;
    let paged = call.catalog.list_instances(project.id, view, call.page()?)?;
    let ids: Vec<_> = paged.items.iter().map(|instance| instance.id).collect();
    let newest = call.catalog.newest_snapshot_times(&ids)?;
    let described = paged.items.iter().zip(newest);
    let items = described.map(|(instance, newest)| describe(call, instance, newest)).collect();
    list_of(call, Paged { items, total: paged.total }).map(Answer::list)
}
