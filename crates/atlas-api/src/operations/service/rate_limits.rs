//! Endpoint sets as they are shown, and which of them a query asks for.

use serde_json::{Value, json};
use tidemark_model::{OrgId, Principal, ProjectId, Role};

use crate::call::Call;
use crate::credentials::client_id_of;
use crate::error::{ApiError, Result};
use crate::rate_limit::{EndpointSet, REFILL_SECONDS, Scope};

/// The endpoints of a set that are shown at most; the schema has this limit.
const MOST_ENDPOINTS: usize = 100;

pub(super) fn describe(call: &Call<'_>, set: &'static EndpointSet) -> Value {
    let value = |value: u64| json!({ "value": value });
    json!({
        "capacity": value(set.capacity),
        "endpointSetId": set.id,
        "endpointSetName": set.name,
        "endpoints": endpoints(call, set),
        "refillDurationSeconds": value(REFILL_SECONDS),
        "refillRate": value(set.refill),
        "scope": set.scope.as_str(),
    })
}

fn endpoints(call: &Call<'_>, set: &'static EndpointSet) -> Vec<Value> {
    let of_set = paths_of(call, set).take(MOST_ENDPOINTS);
    of_set.map(|(method, path)| json!({ "method": method, "path": path })).collect()
}

/// Whether a set has an endpoint with a path.
pub(super) fn has_path(call: &Call<'_>, set: &'static EndpointSet, path: &str) -> bool {
    paths_of(call, set).any(|(_, found)| found == path)
}

/// The endpoints of a set: method, and path from the server's root.
fn paths_of(
    call: &Call<'_>,
    set: &'static EndpointSet,
) -> impl Iterator<Item = (&'static str, String)> {
    let of_set =
        call.api.endpoints.iter().filter(|(_, path)| EndpointSet::of_path(path) == Some(set));
    of_set.map(|(method, path)| (*method, format!("/api/atlas/v2{path}")))
}

/// The scope that a query asks for, if the caller may ask for it; `None` if it names none.
pub(super) fn scope_of_query(call: &Call<'_>) -> Result<Option<Scope>> {
    let given: Vec<(&str, &str)> = ["groupId", "orgId", "userId", "ipAddress"]
        .into_iter()
        .filter_map(|name| call.query_value(name).map(|value| (name, value)))
        .collect();
    match given.as_slice() {
        [] => Ok(None),
        [("groupId", id)] => check_group(call, id).map(Some),
        [("orgId", id)] => check_org(call, id).map(Some),
        [("userId", id)] => check_user(call, id).map(Some),
        // No set has the scope of an address; the caller's own is a question all the same.
        [(name, _)] => Err(ApiError::invalid_query_parameter(name)),
        [(first, _), (second, _), ..] => Err(ApiError::exclusive_query_parameters(first, second)),
    }
}

fn check_group(call: &Call<'_>, text: &str) -> Result<Scope> {
    let id: ProjectId = text.parse().map_err(|_| ApiError::invalid_query_parameter("groupId"))?;
    let project = call.catalog.find_project(id)?.ok_or_else(|| ApiError::group_not_found(id))?;
    call.check_project(&project, &[Role::GroupReadOnly])?;
    Ok(Scope::Group)
}

fn check_org(call: &Call<'_>, text: &str) -> Result<Scope> {
    let id: OrgId = text.parse().map_err(|_| ApiError::invalid_query_parameter("orgId"))?;
    if call.catalog.find_org(id)?.is_none() {
        return Err(ApiError::org_not_found(text));
    }
    if !call.caller.may_in_org(id, Role::OrgReadOnly) {
        return Err(ApiError::not_authorized());
    }
    Ok(Scope::Organization)
}

fn check_user(call: &Call<'_>, text: &str) -> Result<Scope> {
    let is_caller = match call.caller.principal {
        Principal::ServiceAccount(id) => text == client_id_of(id),
        Principal::ApiKey(id) => {
            let key = call.catalog.find_org_api_key(call.caller.org, id)?;
            text == id.to_string() || key.is_some_and(|key| key.public_key == text)
        }
    };
    if is_caller { Ok(Scope::User) } else { Err(ApiError::not_authorized()) }
}
