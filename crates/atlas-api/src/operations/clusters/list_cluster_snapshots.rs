//! `GET …/backup/snapshots`: the snapshots of a cluster, newest first.

use tidemark_catalog::Order;

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::Result;
use crate::links::list_body;

use super::cluster_snapshot::describe;

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let page = call.page()?;
    let paged = call.catalog.list_snapshots(target.instance.id, Order::NewestFirst, page)?;
    list_body(call, &paged, |snapshot| describe(call, &target.instance, snapshot)).map(Answer::list)
}
