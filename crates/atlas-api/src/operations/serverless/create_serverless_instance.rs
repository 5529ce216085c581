//! `POST /groups/{groupId}/serverless`: records that an instance is wanted.

use tidemark_catalog::{InstanceFamily, InstanceSettings, Project};

use crate::answer::Answer;
use crate::body::Body;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::serverless_instance::{describe_one, parse_continuous_backup};
use crate::operations::instances::instance::{create, parse_name, parse_place};
use crate::operations::tags;

const ATTRIBUTES: &[&str] = &[
    "connectionStrings",
    "createDate",
    "groupId",
    "id",
    "links",
    "mongoDBVersion",
    "name",
    "providerSettings",
    "serverlessBackupOptions",
    "stateName",
    "tags",
    "terminationProtectionEnabled",
];
const PROVIDER_ATTRIBUTES: &[&str] = &[
    "backingProviderName",
    "effectiveDiskSizeGBLimit",
    "effectiveInstanceSizeName",
    "effectiveProviderName",
    "providerName",
    "regionName",
];

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let body = call.body()?;
    body.allow(ATTRIBUTES)?;
    let wanted = (parse_name(&body)?, parse_settings(&body)?);
    let instance = create(call, project, InstanceFamily::Serverless, wanted)?;
    describe_one(call, &instance).map(Answer::created)
}

fn parse_settings(body: &Body<'_>) -> Result<InstanceSettings> {
    let provider =
        body.object("providerSettings")?.ok_or_else(|| body.missing("providerSettings"))?;
    provider.allow(PROVIDER_ATTRIBUTES)?;
    provider.one_of("providerName", &["SERVERLESS", "FLEX"])?;
    let (backing_provider, region) = parse_place(&provider, ApiError::invalid_region)?;
    Ok(InstanceSettings {
        backing_provider,
        region,
        termination_protection: body.flag("terminationProtectionEnabled")?.unwrap_or(false),
        continuous_backup: parse_continuous_backup(body)?.unwrap_or(true),
        tags: tags::parse(body)?.unwrap_or_default(),
        auto_indexing: true,
    })
}
