//! `GET …/backup/snapshots`: the snapshots of an instance, newest first.

use tidemark_catalog::Order;

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::Result;
use crate::links::written_list;

use super::serverless_snapshot::describe;

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let page = call.page()?;
    let paged = call.catalog.list_snapshots(target.instance.id, Order::NewestFirst, page)?;
    written_list(call, &paged, |snapshot| describe(call, &target.instance, snapshot))
}
