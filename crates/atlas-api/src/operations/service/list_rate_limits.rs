//! `GET /rateLimits`: the endpoint sets with their limits.

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_body;
use crate::rate_limit::{EndpointSet, SETS};

use super::rate_limits::{describe, has_path, scope_of_query};

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let scope = scope_of_query(call)?;
    let (names, paths) = (call.query_values("name"), call.query_values("endpointPath"));
    let is_wanted = |set: &&'static EndpointSet| {
        scope.is_none_or(|scope| set.scope == scope)
            && (names.is_empty() || names.contains(&set.name))
            && (paths.is_empty() || paths.iter().any(|path| has_path(call, set, path)))
    };
    let paged = call.page()?.of(SETS.iter().filter(is_wanted).collect());
    list_body(call, &paged, |set| describe(call, set)).map(Answer::list)
}
