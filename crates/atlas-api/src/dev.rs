//! `/api/tidemark/v1/dev`: the clock and the beginning, for tests of users. Only with `--dev`.

use axum::body::Body;
use axum::http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tidemark_model::{Caller, Role, format_instant};

use crate::api::{Api, ResetError};
use crate::body::Body as Attributes;
use crate::error::{ApiError, Result};
use crate::incoming::Incoming;
use crate::response::{PLAIN, build, failure, wrong_method};
use crate::strict_json;

/// Where it is.
pub(crate) const ROOT: &str = "/api/tidemark/v1/dev";
/// How far one call moves the clock at most: ten years, in seconds.
const FARTHEST_ADVANCE: i64 = 10 * 365 * 24 * 3_600;

/// Answers an organization owner.
pub(crate) fn respond(
    api: &Api,
    incoming: &Incoming,
    caller: &Caller,
    path: &str,
) -> Response<Body> {
    if api.config.dev.is_none() {
        return failure(&ApiError::not_in_dev_mode(), PLAIN);
    }
    if !caller.may_in_org(caller.org, Role::OrgOwner) {
        return failure(&ApiError::not_authorized(), PLAIN);
    }
    let outcome = match (&incoming.method, path) {
        (&Method::GET, "/clock") => Ok(describe_clock(api)),
        (&Method::POST, "/clock") => advance(api, incoming),
        (&Method::POST, "/reset") => reset(api, incoming),
        (_, "/clock") => return wrong_method(&["POST", "GET", "OPTIONS"]),
        (_, "/reset") => return wrong_method(&["POST", "OPTIONS"]),
        _ => Err(ApiError::unknown_route(incoming.uri.path())),
    };
    match outcome {
        Ok(body) => build(StatusCode::OK, "application/json", Some(body.to_string())),
        Err(error) => failure(&error, PLAIN),
    }
}

fn describe_clock(api: &Api) -> Value {
    json!({
        "advancedSeconds": api.clock.offset_seconds(),
        "now": format_instant(api.clock.now()),
    })
}

/// Moves the clock by `advanceSeconds`, or up to `now`; never back.
fn advance(api: &Api, incoming: &Incoming) -> Result<Value> {
    let body = strict_json::parse(&incoming.body)?;
    let body = Attributes::new(&body)?;
    body.allow(&["advanceSeconds", "now"])?;
    let present = api.clock.now();
    let (attribute, seconds) = match (body.integer("advanceSeconds")?, body.instant("now")?) {
        (Some(seconds), None) => ("advanceSeconds", seconds),
        (None, Some(now)) => ("now", now.as_second() - present.as_second()),
        (Some(_), Some(_)) => return Err(body.invalid("now")),
        (None, None) => return Err(ApiError::missing_one_of("advanceSeconds", "now")),
    };
    if !(0..=FARTHEST_ADVANCE).contains(&seconds) {
        return Err(body.invalid(attribute));
    }
    api.clock.advance(u32::try_from(seconds).map_err(|_| body.invalid(attribute))?);
    Ok(describe_clock(api))
}

fn reset(api: &Api, incoming: &Incoming) -> Result<Value> {
    let has_body = !incoming.body.is_empty();
    let seed = has_body.then(|| strict_json::parse(&incoming.body)).transpose()?;
    let dev = api.config.dev.as_ref().ok_or_else(ApiError::not_in_dev_mode)?;
    dev.reset(seed).map_err(|error| match error {
        ResetError::Seed(reason) => ApiError::invalid_seed(&reason),
        ResetError::Failed(error) => {
            tracing::error!(%error, "the server could not be reset");
            ApiError::unexpected()
        }
    })
}
