//! `PATCH /groups/{groupId}/serverless/{name}`: changes what users set on an instance.

use tidemark_catalog::InstanceSettings;

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::Result;

use super::serverless_instance::{describe_one, parse_continuous_backup};
use crate::operations::instances::instance::{parse_changes, update};

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let body = call.body()?;
    body.allow(&["serverlessBackupOptions", "tags", "terminationProtectionEnabled"])?;
    let old = &target.instance.settings;
    let settings = InstanceSettings {
        continuous_backup: parse_continuous_backup(&body)?.unwrap_or(old.continuous_backup),
        ..parse_changes(&body, old)?
    };
    describe_one(call, &update(call, target, settings)?).map(Answer::entity)
}
