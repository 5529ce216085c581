//! `PATCH /groups/{groupId}/clusters/{clusterName}`: changes what users set on a cluster. What only
//! who runs its deployment can change is refused by name.

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};

use super::cluster::{READ_ONLY, describe};
use crate::operations::instances::instance::{parse_changes, update};

const ATTRIBUTES: &[&str] = &["tags", "terminationProtectionEnabled"];

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let body = call.body()?;
    // Clients send back what they read: that it is as it was is fine.
    let shown = describe(call, &target.instance);
    for name in body.names().filter(|name| !ATTRIBUTES.contains(name)) {
        if !READ_ONLY.contains(&name) && body.value(name) != shown.get(name) {
            return Err(ApiError::attribute_not_offered(name));
        }
    }
    let settings = parse_changes(&body, &target.instance.settings)?;
    Ok(Answer::entity(describe(call, &update(call, target, settings)?)))
}
