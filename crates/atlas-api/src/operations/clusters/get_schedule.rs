//! `GET …/backup/schedule`: when the snapshots of a cluster are taken.

use tidemark_actions::schedules;

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::Result;

use super::schedule::{describe, refuse};

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let schedule =
        schedules::load(call.catalog, &target.instance).map_err(|error| refuse(target, error))?;
    Ok(Answer::entity(describe(call, target, &schedule)))
}
