//! How answers are written: status, headers, envelope.

use axum::body::Body;
use axum::http::header::{
    ALLOW, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER, SERVER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::answer::{Answer, Content};
use crate::error::ApiError;
use crate::render::{compact, pretty};
use crate::version::{Version, header_date};

/// What the real service calls itself on every answer.
const SERVER_NAME: HeaderValue = HeaderValue::from_static("mdbws");
/// Headers that every answer but a challenge has.
const COMMON_HEADERS: &[(&str, &str)] = &[
    ("strict-transport-security", "max-age=31536000; includeSubdomains;"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("x-permitted-cross-domain-policies", "none"),
];

/// How an answer is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) pretty: bool,
    pub(crate) envelope: bool,
}

/// An answer in JSON without anything around it.
pub(crate) const PLAIN: Style = Style { pretty: false, envelope: false };

/// What to do, where a recorded text does not say it.
const HINT: HeaderName = HeaderName::from_static("x-tidemark-hint");
const X_ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");
const RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// The answer of an operation, in a version where versions are named.
pub(crate) fn success(version: Option<Version>, answer: Answer, style: Style) -> Response<Body> {
    let status = answer.status;
    let text = answer.body.map(|content| match (content, style) {
        (Content::Text(text), Style { pretty: false, envelope: false }) => text,
        (content, Style { envelope: false, .. }) => write(content.into_tree(), style),
        (content, _) => match content.into_tree() {
            Value::Object(mut list) if answer.is_list => {
                list.insert("status".to_owned(), status.as_u16().into());
                write(Value::Object(list), style)
            }
            entity => write(envelope(entity, status), style),
        },
    });
    let content_type = version.map_or_else(
        || "application/json".to_owned(),
        |version| format!("application/vnd.atlas.{}+json;charset=utf-8", version.date),
    );
    debug_assert!(text.as_deref().is_none_or(|text| style.pretty || is_sorted(text)), "{text:?}");
    let mut response = build(status, &content_type, text);
    if let Some(location) = answer.location {
        insert(&mut response, LOCATION, &location);
    }
    response
}

/// Whether a body is as `compact` writes it, its keys in order: types that are written as they are have
/// their fields in alphabetical order. Checked on every answer of a build for tests.
fn is_sorted(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|tree| compact(tree) == text)
}

fn envelope(content: Value, status: StatusCode) -> Value {
    json!({ "content": content, "status": status.as_u16() })
}

fn write(body: Value, style: Style) -> String {
    if style.pretty { pretty(body) } else { compact(body) }
}

/// An error answer. In an envelope it keeps its status: a client that can see it should.
pub(crate) fn failure(error: &ApiError, style: Style) -> Response<Body> {
    let body = if style.envelope { envelope(error.body(), error.status) } else { error.body() };
    let mut response = build(error.status, "application/json", Some(write(body, style)));
    if error.status != StatusCode::UNAUTHORIZED {
        insert(&mut response, X_ERROR_CODE, error.code);
    }
    if let Some(hint) = &error.hint {
        insert(&mut response, HINT, hint);
    }
    if let Some(seconds) = error.retry_after {
        insert(&mut response, RETRY_AFTER, &seconds.to_string());
    }
    response
}

/// Says since when a version is deprecated and when it ends, on whatever is answered.
pub(crate) fn add_deprecation(response: &mut Response<Body>, version: Version) {
    for (name, date) in [(DEPRECATION, version.deprecated), (SUNSET, version.sunset)] {
        if let Some(date) = date {
            insert(response, name, &header_date(date));
        }
    }
}

/// Says what a bucket holds at most, and what is left of it.
pub(crate) fn add_rate_limit(response: &mut Response<Body>, (capacity, left): (u64, u64)) {
    insert(response, RATE_LIMIT_LIMIT, &capacity.to_string());
    insert(response, RATE_LIMIT_REMAINING, &left.to_string());
}

fn insert(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// An answer with the headers that all have.
pub(crate) fn build(
    status: StatusCode,
    content_type: &str,
    text: Option<String>,
) -> Response<Body> {
    let mut response = Response::new(text.map_or_else(Body::empty, Body::from));
    *response.status_mut() = status;
    insert(&mut response, CONTENT_TYPE, content_type);
    response.headers_mut().insert(SERVER, SERVER_NAME);
    for (name, value) in COMMON_HEADERS {
        response.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    response
}

/// The challenge: the one answer whose body is neither compact nor in alphabetical order.
pub(crate) fn challenge_response(challenge: &str) -> Response<Body> {
    const BODY: &str = "{\n  \"error\" : 401,\n  \"reason\" : \"Unauthorized\",\n  \"detail\" : \"You are not authorized for this resource.\",\n  \"errorCode\" : \"UNEXPECTED_ERROR\"\n}";
    let mut response = Response::new(Body::from(BODY));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response.headers_mut().insert(SERVER, SERVER_NAME);
    insert(&mut response, CONTENT_TYPE, "application/json");
    insert(&mut response, WWW_AUTHENTICATE, challenge);
    response
}

/// The answer to a method that a path does not have.
pub(crate) fn wrong_method(methods: &[&str]) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(SERVER, SERVER_NAME);
    insert(&mut response, ALLOW, &methods.join(","));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}
