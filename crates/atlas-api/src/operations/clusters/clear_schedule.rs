//! `DELETE …/backup/schedule`: empties the policy; no snapshot is taken by it any more.

use tidemark_actions::schedules;

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::Result;

use super::schedule::{describe, refuse};

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let schedule =
        schedules::clear(call.catalog, &target.instance).map_err(|error| refuse(target, error))?;
    Ok(Answer::entity(describe(call, target, &schedule)))
}
