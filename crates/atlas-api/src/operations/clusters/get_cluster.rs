//! `GET /groups/{groupId}/clusters/{clusterName}`: one cluster.

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::Result;

use super::cluster::describe;

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    Ok(Answer::entity(describe(call, &target.instance)))
}
