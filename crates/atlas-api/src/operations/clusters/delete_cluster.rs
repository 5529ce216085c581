//! `DELETE /groups/{groupId}/clusters/{clusterName}`: lets a deployment go. It is not touched, and its
//! snapshots stay until their retention ends.

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::Result;

use crate::operations::instances::instance::delete;

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    delete(call, target)?;
    Ok(Answer::accepted())
}
