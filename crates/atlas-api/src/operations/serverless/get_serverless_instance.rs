//! `GET /groups/{groupId}/serverless/{name}`: one serverless instance.

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::Result;

use super::serverless_instance::describe_one;

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    describe_one(call, &target.instance).map(Answer::entity)
}
