//! `POST …/backup/snapshots`: records that a snapshot is wanted now. Not in the real service.

use crate::answer::{Answer, Content};
use crate::call::{Call, Target};
use crate::error::Result;

use super::serverless_snapshot::describe;
use crate::operations::instances::snapshot::take;

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let snapshot = take(call, target)?;
    Content::of(&describe(call, &target.instance, &snapshot)).map(Answer::entity)
}
