//! `POST /groups/{groupId}/flexClusters/{name}/backup/download`: asks for a file of a snapshot.
//!
//! The link is in the answer, because clients follow it at once; it waits until the file is there.

use tidemark_actions::restore_jobs::Ask;
use tidemark_model::SnapshotId;

use crate::answer::{Answer, Content};
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};

use super::flex_restore_job::{DOWNLOAD_LIFETIME, describe};
use crate::operations::instances::restore_job::{Refusals, create};

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let body = call.body()?;
    body.allow(&["links", "snapshotId"])?;
    let text = body.required_text("snapshotId")?;
    let id: SnapshotId = text.parse().map_err(|_| body.invalid("snapshotId"))?;
    let refusals = Refusals {
        snapshot_not_found: ApiError::flex_snapshot_not_found,
        incomplete: ApiError::download_incomplete,
        moment: "snapshotId",
    };
    let ask = Ask::Download { snapshot: id };
    let job = create(call, &target.instance, &ask, (DOWNLOAD_LIFETIME, &refusals))?;
    Content::of(&describe(call, target, &job)).map(Answer::entity)
}
