//! `POST /groups/{groupId}/flexClusters`: records that an instance is wanted.

use tidemark_catalog::{InstanceFamily, InstanceSettings, Project};

use crate::answer::Answer;
use crate::body::Body;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::flex_cluster::describe;
use crate::operations::instances::instance::{create, parse_name, parse_place};
use crate::operations::tags;

/// What the schema has, read-only attributes included: clients send them.
const ATTRIBUTES: &[&str] = &[
    "backupSettings",
    "clusterType",
    "connectionStrings",
    "createDate",
    "groupId",
    "id",
    "links",
    "mongoDBVersion",
    "name",
    "providerSettings",
    "stateName",
    "tags",
    "terminationProtectionEnabled",
    "versionReleaseSystem",
];

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let body = call.body()?;
    body.allow(ATTRIBUTES)?;
    let wanted = (parse_name(&body)?, parse_settings(&body)?);
    let instance = create(call, project, InstanceFamily::Flex, wanted)?;
    Ok(Answer::created(tags::without_empty(describe(call, &instance))))
}

fn parse_settings(body: &Body<'_>) -> Result<InstanceSettings> {
    let provider =
        body.object("providerSettings")?.ok_or_else(|| body.missing("providerSettings"))?;
    provider.allow(&["backingProviderName", "diskSizeGB", "providerName", "regionName"])?;
    provider.one_of("providerName", &["FLEX"])?;
    // Clients look for this error by its attribute.
    let invalid_region = |_: &str, _: &str| ApiError::invalid_attribute("regionName");
    let (backing_provider, region) = parse_place(&provider, invalid_region)?;
    Ok(InstanceSettings {
        backing_provider,
        region,
        termination_protection: body.flag("terminationProtectionEnabled")?.unwrap_or(false),
        continuous_backup: true,
        tags: tags::parse(body)?.unwrap_or_default(),
        auto_indexing: true,
    })
}
