//! `POST …/backup/restoreJobs`: records that a restore is wanted.

use tidemark_model::Role;

use crate::answer::{Answer, Content};
use crate::call::{Call, Target};
use crate::error::Result;

use crate::operations::instances::restore_job_body::{Shown, describe};
use crate::operations::instances::restore_request;

pub(crate) fn run(call: &Call<'_>, source: &Target) -> Result<Answer> {
    let job = restore_request::create(call, source, Role::GroupOwner)?;
    Content::of(&describe(call, &source.instance, (&job, Shown::Serverless))).map(Answer::entity)
}
