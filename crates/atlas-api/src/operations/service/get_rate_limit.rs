//! `GET /rateLimits/{endpointSetId}`: one endpoint set with its limits.

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::rate_limit::EndpointSet;

use super::rate_limits::{describe, scope_of_query};

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    scope_of_query(call)?;
    let id = call.path_value("endpointSetId");
    let set = EndpointSet::with_id(id).ok_or_else(|| ApiError::rate_limit_set_not_found(id))?;
    Ok(Answer::entity(describe(call, set)))
}
