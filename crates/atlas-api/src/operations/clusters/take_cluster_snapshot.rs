//! `POST …/backup/snapshots`: records that a snapshot is wanted now.

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::Result;

use super::cluster_snapshot::describe;
use crate::operations::instances::snapshot::take;

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let snapshot = take(call, target)?;
    Ok(Answer::entity(describe(call, &target.instance, &snapshot)))
}
