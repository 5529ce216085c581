//! `DELETE /groups/{groupId}/flexClusters/{name}`: records that an instance is to be removed.

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::Result;

use crate::operations::instances::instance::delete;

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    delete(call, target)?;
    Ok(Answer::no_content())
}
