//! `GET …/backup/snapshots`: the snapshots of an instance, newest first.

use tidemark_model::Role;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_body;

use super::serverless_snapshot::describe;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let (_, instance) = call.instance(Role::GroupReadOnly)?;
    let paged = call.api.catalog.list_snapshots(instance.id, call.page()?)?;
    list_body(call, &paged, |snapshot| describe(call, &instance, snapshot)).map(Answer::list)
}
