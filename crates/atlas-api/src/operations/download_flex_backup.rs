//! `POST /groups/{groupId}/flexClusters/{name}/backup/download`: asks for a file of a snapshot.
//!
//! The link is in the answer, because clients follow it at once; it waits until the file is there.

use tidemark_catalog::TargetName;
use tidemark_model::{Delivery, SnapshotId};

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};

use super::flex_restore_job::{DOWNLOAD_LIFETIME, describe};
use super::restore_job::{Wanted, check_complete, insert};
use super::snapshot::load;

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let body = call.body()?;
    body.allow(&["links", "snapshotId"])?;
    let text = body.required_text("snapshotId")?;
    let id: SnapshotId = text.parse().map_err(|_| body.invalid("snapshotId"))?;
    let snapshot = load(call, &target.instance, id, ApiError::flex_snapshot_not_found)?;
    check_complete(&snapshot, ApiError::download_incomplete)?;
    let wanted = Wanted {
        delivery: Delivery::Download { snapshot: snapshot.id },
        snapshot,
        target: TargetName { project: target.project.id, name: target.instance.name.to_string() },
        download_lifetime: DOWNLOAD_LIFETIME,
    };
    let job = insert(call, &target.instance, wanted)?;
    Ok(Answer::entity(describe(call, target, &job)))
}
