//! `POST …/flexClusters/{name}/backup/restoreJobs`: records that a restore is wanted.

use tidemark_actions::restore_jobs::{Ask, Destination, find_complete};
use tidemark_catalog::{InstanceView, Project};
use tidemark_model::{InstanceName, ProjectId, Role, SnapshotId};

use crate::answer::{Answer, Content};
use crate::body::Body;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::flex_restore_job::{DOWNLOAD_LIFETIME, describe};
use crate::operations::instances::restore_job::{Refusals, create, find_destination};

/// What the schema has, read-only attributes included: clients send them.
const ATTRIBUTES: &[&str] = &[
    "deliveryType",
    "expirationDate",
    "id",
    "instanceName",
    "links",
    "projectId",
    "restoreFinishedDate",
    "restoreScheduledDate",
    "snapshotFinishedDate",
    "snapshotId",
    "snapshotUrl",
    "status",
    "targetDeploymentItemName",
    "targetProjectId",
];

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    // The real service looks at the attributes before it looks at the cluster.
    let body = call.body()?;
    body.allow(ATTRIBUTES)?;
    let id: SnapshotId = parse(&body, "snapshotId")?;
    let name: InstanceName = parse(&body, "targetDeploymentItemName")?;
    let target_project: ProjectId = parse(&body, "targetProjectId")?;
    let source = call.find_backup_target(project, InstanceView::Flex)?;
    let refusals = Refusals {
        snapshot_not_found: ApiError::flex_snapshot_not_found,
        incomplete: ApiError::snapshot_incomplete,
        moment: "snapshotId",
    };
    find_complete(call.catalog, &source.instance, id)
        .map_err(|error| refusals.of(&source.instance, error))?;
    let to = Destination { project: target_project, name };
    let to = find_destination(call, project, to, Role::GroupBackupRecoveryOperator)?;
    let ask = Ask::Automated { snapshot: id, to };
    let job = create(call, &source.instance, &ask, (DOWNLOAD_LIFETIME, &refusals))?;
    Content::of(&describe(call, &source, &job)).map(Answer::entity)
}

fn parse<T: std::str::FromStr>(body: &Body<'_>, attribute: &str) -> Result<T> {
    let text = body.required_text(attribute)?;
    if text.is_empty() {
        return Err(body.missing(attribute));
    }
    text.parse().map_err(|_| body.invalid(attribute))
}
