//! What clients ask for outside of the published API: `/api/private`.

use std::net::IpAddr;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::json;

use crate::response::build;
use crate::version::MONGODB_VERSION;

/// Answers what needs no credentials.
pub(crate) fn respond_to_anybody(path: &str) -> Option<Response<Body>> {
    match path {
        "/api/private/unauth/nds/defaultMongoDBMajorVersion" => {
            let mut parts = MONGODB_VERSION.splitn(3, '.');
            let major = [parts.next()?, parts.next()?].join(".");
            Some(build(StatusCode::OK, "text/plain;charset=iso-8859-1", Some(major)))
        }
        "/api/private/unauth/telemetry/events" => Some(nothing()),
        _ => None,
    }
}

/// Answers what needs credentials.
pub(crate) fn respond(path: &str, address: IpAddr) -> Option<Response<Body>> {
    match path {
        "/api/private/ipinfo" => {
            let body = json!({ "currentIpv4Address": address.to_string() }).to_string();
            Some(build(StatusCode::OK, "application/json", Some(body)))
        }
        "/api/private/v1.0/telemetry/events" => Some(nothing()),
        _ => None,
    }
}

/// Events of clients are taken and forgotten.
fn nothing() -> Response<Body> {
    build(StatusCode::OK, "application/json", Some("{}".to_owned()))
}
