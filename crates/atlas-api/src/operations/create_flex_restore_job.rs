//! `POST …/flexClusters/{name}/backup/restoreJobs`: records that a restore is wanted.

use tidemark_catalog::{InstanceView, Project};
use tidemark_model::{Delivery, InstanceName, ProjectId, Role, SnapshotId};

use crate::answer::Answer;
use crate::body::Body;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::flex_restore_job::{DOWNLOAD_LIFETIME, describe};
use super::restore_job::{Wanted, check_complete, find_target, insert};
use super::snapshot::load;

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
    let source = call.find_target(project, InstanceView::Flex)?;
    let snapshot = load(call, &source.instance, id, ApiError::flex_snapshot_not_found)?;
    check_complete(&snapshot, ApiError::snapshot_incomplete)?;
    let role = Role::GroupBackupRecoveryOperator;
    let (target, name) = find_target(call, project, (target_project, &name), role)?;
    let wanted = Wanted {
        delivery: Delivery::Automated { snapshot: snapshot.id, target: target.id },
        snapshot,
        target: name,
        download_lifetime: DOWNLOAD_LIFETIME,
    };
    let job = insert(call, &source.instance, wanted)?;
    Ok(Answer::entity(describe(call, &source, &job)))
}

fn parse<T: std::str::FromStr>(body: &Body<'_>, attribute: &str) -> Result<T> {
    let text = body.required_text(attribute)?;
    if text.is_empty() {
        return Err(body.missing(attribute));
    }
    text.parse().map_err(|_| body.invalid(attribute))
}
