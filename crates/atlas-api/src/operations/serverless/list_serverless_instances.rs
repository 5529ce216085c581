//! `GET /groups/{groupId}/serverless`: the serverless instances of a project, by age.

use tidemark_catalog::{InstanceView, Paged, Project};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::written_list;

use super::serverless_instance::describe;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let view = InstanceView::Serverless;
    let paged = call.catalog.list_instances(project.id, view, call.page()?)?;
    let ids: Vec<_> = paged.items.iter().map(|instance| instance.id).collect();
    let newest = call.catalog.newest_snapshot_times(&ids)?;
    let items = paged.items.into_iter().zip(newest).collect();
    written_list(call, &Paged { items, total: paged.total }, |(instance, newest)| {
        describe(call, instance, *newest)
    })
}
