//! `GET /groups/{groupId}/limits`: the limits of a project.

use serde_json::Value;
use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::limits::{LIMITS, describe};

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let limits: Result<Vec<Value>> =
        LIMITS.iter().map(|limit| describe(call, project, limit)).collect();
    Ok(Answer::entity(serde_json::Value::from(limits?)))
}
