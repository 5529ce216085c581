//! From an HTTP request to an answer: route, authenticate, resolve the version, run, render.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT, ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, SERVER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::api::{Api, Sunset};
use crate::auth::AuthError;
use crate::call::{Call, query_flag};
use crate::error::ApiError;
use crate::operation::{
    Lifetime, Operation, Route, SERVERLESS_DEPRECATION, SERVERLESS_SUNSET, route,
};
use crate::render::{compact, pretty};
use crate::version::{Version, resolve};
use crate::{operation, token_endpoint};

const ROOT: &str = "/api/atlas/v2";
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

/// A request whose body was read.
struct Incoming {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// Answers a request to anything below `/api`.
pub async fn serve(api: Arc<Api>, request: Request<Body>) -> Response<Body> {
    let deadline = api.config.deadline;
    tokio::time::timeout(deadline, answer(api, request)).await.unwrap_or_else(|_| {
        // Whoever is that slow must not keep the connection.
        let mut response = failure(&ApiError::out_of_time(), false);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    })
}

async fn answer(api: Arc<Api>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let limit = api.config.largest_body_bytes;
    let body = match Limited::new(body, limit).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return failure(&ApiError::body_too_large(limit), false);
        }
        Err(_) => return failure(&ApiError::malformed_json(), false),
    };
    let incoming = Incoming { method: head.method, uri: head.uri, headers: head.headers, body };
    let running = tokio::task::spawn_blocking(move || respond(&api, &incoming));
    running.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a handler ended in the middle");
        failure(&ApiError::unexpected(), false)
    })
}

fn respond(api: &Api, incoming: &Incoming) -> Response<Body> {
    let path = incoming.uri.path();
    match path {
        "/api/oauth/token" => {
            return token_endpoint::issue(api, &incoming.method, &incoming.headers, &incoming.body);
        }
        "/api/oauth/revoke" => {
            return token_endpoint::revoke(
                api,
                &incoming.method,
                &incoming.headers,
                &incoming.body,
            );
        }
        _ => {}
    }
    let query = parse_query(incoming.uri.query().unwrap_or_default());
    let wants_pretty = query_flag(&query, "pretty", false).unwrap_or(false);
    let target = incoming.uri.path_and_query().map_or(path, |target| target.as_str());
    let caller = match api.authenticate(incoming.method.as_str(), target, &incoming.headers) {
        Ok(caller) => caller,
        Err(AuthError::Challenge(challenge)) => return challenge_response(&challenge),
        Err(AuthError::Catalog(error)) => return failure(&error.into(), wants_pretty),
    };
    let below = path.strip_prefix(ROOT).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let (operation, path_values) =
        match below.map_or(Route::Unknown, |below| route(&incoming.method, below)) {
            Route::Found(operation, values) => (operation, values),
            Route::WrongMethod(methods) => return wrong_method(&methods),
            Route::Unknown => return failure(&ApiError::unknown_route(path), wants_pretty),
        };
    let base_url = base_url(api, &incoming.headers);
    let outcome = prepare(api, operation, incoming).and_then(|(version, body)| {
        let caller = &caller;
        let call =
            Call { api, caller, base_url: &base_url, path, path_values, query: &query, body };
        query_flag(&query, "pretty", false)?;
        let wants_envelope = call.query_flag("envelope", false)?;
        Ok((version, (operation.run)(&call)?, wants_envelope))
    });
    let mut response = match outcome {
        Ok((version, answer, wants_envelope)) => {
            success(version, answer, wants_envelope, wants_pretty)
        }
        Err(error) => failure(&error, wants_pretty),
    };
    if operation.lifetime == Lifetime::Serverless {
        response
            .headers_mut()
            .insert("deprecation", HeaderValue::from_static(SERVERLESS_DEPRECATION));
        response.headers_mut().insert("sunset", HeaderValue::from_static(SERVERLESS_SUNSET));
    }
    tracing::debug!(
        operation = operation.id,
        status = response.status().as_u16(),
        "a request was answered"
    );
    response
}

/// Resolves the version and reads the body.
fn prepare(
    api: &Api,
    operation: &Operation,
    incoming: &Incoming,
) -> Result<(Version, Option<Value>), ApiError> {
    let accept = incoming.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let version = resolve(accept, operation.versions).ok_or_else(ApiError::invalid_version)?;
    if operation.lifetime == operation::Lifetime::Serverless && api.config.sunset == Sunset::Enforce
    {
        return Err(ApiError::version_gone(&version.to_string(), incoming.uri.path()));
    }
    if incoming.body.is_empty() || matches!(incoming.method, Method::GET | Method::DELETE) {
        return Ok((version, None));
    }
    let content_type = incoming
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let is_json = media_type == "application/json"
        || (media_type.starts_with("application/vnd.atlas.") && media_type.ends_with("+json"));
    if !is_json {
        return Err(ApiError::unsupported_media_type(content_type));
    }
    serde_json::from_slice(&incoming.body)
        .map(|body| (version, Some(body)))
        .map_err(|_| ApiError::malformed_json())
}

fn parse_query(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// The address that the client used, unless the configuration says another.
fn base_url(api: &Api, headers: &HeaderMap) -> String {
    if let Some(url) = &api.config.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = text("x-forwarded-proto").filter(|scheme| *scheme == "https").unwrap_or("http");
    format!("{scheme}://{}", text(HOST.as_str()).unwrap_or("localhost"))
}

fn success(
    version: Version,
    answer: Answer,
    wants_envelope: bool,
    wants_pretty: bool,
) -> Response<Body> {
    let status = answer.status;
    let body = match (answer.body, wants_envelope) {
        (Some(Value::Object(mut list)), true) if answer.is_list => {
            list.insert("status".to_owned(), status.as_u16().into());
            Some(Value::Object(list))
        }
        (Some(entity), true) => Some(json!({ "content": entity, "status": status.as_u16() })),
        (body, _) => body,
    };
    let content_type = format!("application/vnd.atlas.{version}+json;charset=utf-8");
    let text = body.map(|body| if wants_pretty { pretty(body) } else { compact(body) });
    build(status, &content_type, text)
}

/// An error answer.
pub(crate) fn failure(error: &ApiError, wants_pretty: bool) -> Response<Body> {
    let body = error.body();
    let text = if wants_pretty { pretty(body) } else { compact(body) };
    let mut response = build(error.status, "application/json", Some(text));
    response.headers_mut().insert("x-error-code", HeaderValue::from_static(error.code));
    if error.status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert("retry-after", HeaderValue::from_static("5"));
    }
    response
}

fn build(status: StatusCode, content_type: &str, text: Option<String>) -> Response<Body> {
    let mut response = Response::new(text.map_or_else(Body::empty, Body::from));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(content_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    headers.insert(SERVER, SERVER_NAME);
    for (name, value) in COMMON_HEADERS {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    response
}

/// The challenge: the one answer whose body is neither compact nor in alphabetical order.
fn challenge_response(challenge: &str) -> Response<Body> {
    const BODY: &str = "{\n  \"error\" : 401,\n  \"reason\" : \"Unauthorized\",\n  \"detail\" : \"You are not authorized for this resource.\",\n  \"errorCode\" : \"UNEXPECTED_ERROR\"\n}";
    let mut response = Response::new(Body::from(BODY));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    headers.insert(SERVER, SERVER_NAME);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(value) = HeaderValue::from_str(challenge) {
        headers.insert(WWW_AUTHENTICATE, value);
    }
    response
}

fn wrong_method(methods: &[&str]) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(SERVER, SERVER_NAME);
    if let Ok(value) = HeaderValue::from_str(&methods.join(",")) {
        response.headers_mut().insert(ALLOW, value);
    }
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}
