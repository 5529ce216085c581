//! `GET /groups/{groupId}/serverless/{name}`: one instance.

use tidemark_model::Role;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::serverless_instance::describe;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let (_, instance) = call.instance(Role::GroupReadOnly)?;
    describe(call, &instance).map(Answer::entity)
}
