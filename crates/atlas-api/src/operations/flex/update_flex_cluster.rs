//! `PATCH /groups/{groupId}/flexClusters/{name}`: changes what users set on an instance.

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::Result;

use super::flex_cluster::describe;
use crate::operations::instances::instance::{parse_changes, update};

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let body = call.body()?;
    body.allow(&["links", "tags", "terminationProtectionEnabled"])?;
    let settings = parse_changes(&body, &target.instance.settings)?;
    Ok(Answer::entity(describe(call, &update(call, target, settings)?)))
}
