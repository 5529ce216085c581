//! `/api/oauth/token` and `/api/oauth/revoke`: client credentials of service accounts.

use std::time::Instant;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tidemark_model::{SecretId, ServiceAccountId};

use crate::api::Api;
use crate::credentials::{account_of, hash_secret};
use crate::incoming::{Incoming, decode_form};
use crate::rate_limit::{RateLimits, Taken};
use crate::render::compact;
use crate::response::{build, wrong_method};
use crate::token::TOKEN_LIFETIME_SECONDS;

/// Requests for tokens that one address may make, and the minute in which it may.
const BUCKET: (&str, u64, u64) = ("oauthToken_ip", 10, 10);

/// Answers a request for a token.
pub(crate) fn issue(api: &Api, incoming: &Incoming) -> Response<Body> {
    if let Some(response) = limit(api, incoming) {
        return response;
    }
    let who = match authenticate(api, incoming) {
        Ok(who) => who,
        Err(response) => return response,
    };
    match form_value(&incoming.body, "grant_type").as_deref() {
        Some("client_credentials") => {
            let token = api.signing.newest().issue_token(who, api.clock.now());
            let answer = json!({
                "access_token": token,
                "expires_in": TOKEN_LIFETIME_SECONDS,
                "token_type": "Bearer",
            });
            answer_with(StatusCode::OK, compact(answer))
        }
        Some(_) => refuse(
            StatusCode::BAD_REQUEST,
            "unsupported_grant_type",
            "Only client_credentials is supported.",
        ),
        None => refuse(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "The parameter grant_type is missing.",
        ),
    }
}

/// The refusal of an address that asks too often.
fn limit(api: &Api, incoming: &Incoming) -> Option<Response<Body>> {
    if api.config.rate_limits != RateLimits::Enforce {
        return None;
    }
    match api.buckets.take(BUCKET, &incoming.address.to_string(), api.clock.now()) {
        Taken::Left(_) => None,
        Taken::Empty(seconds) => {
            let path = incoming.uri.path();
            let text =
                format!("Resource {path} is limited to {} requests every 1 minutes.", BUCKET.1);
            let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "rate_limited", &text);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            Some(response)
        }
    }
}

/// Revokes a token; one that is unknown or over is revoked already.
pub(crate) fn revoke(api: &Api, incoming: &Incoming) -> Response<Body> {
    let account = match authenticate(api, incoming) {
        Ok((account, _)) => account,
        Err(response) => return response,
    };
    let Some(token) = form_value(&incoming.body, "token") else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "The parameter token is missing.",
        );
    };
    let now = api.clock.now();
    if let Some(token) = api
        .signing
        .check(|signer| signer.check_token(&token, now))
        .filter(|token| token.account == account)
        && let Err(error) = api.catalog.revoke_token(&token.id, token.expires_at, now)
    {
        return server_error(&error);
    }
    Response::new(Body::empty())
}

fn server_error(error: &tidemark_catalog::CatalogError) -> Response<Body> {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "a token request failed in the catalog"
    );
    refuse(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "Unexpected error.")
}

/// The account that asks, and the secret with which it does.
#[expect(clippy::result_large_err, reason = "the error is the answer itself")]
fn authenticate(
    api: &Api,
    incoming: &Incoming,
) -> Result<(ServiceAccountId, SecretId), Response<Body>> {
    if incoming.method != Method::POST {
        return Err(wrong_method(&["POST", "OPTIONS"]));
    }
    let invalid =
        || refuse(StatusCode::UNAUTHORIZED, "invalid_client", "Invalid credentials provided.");
    let (client_id, secret) = basic_credentials(&incoming.headers)
        .or_else(|| form_credentials(&incoming.body))
        .ok_or_else(invalid)?;
    let account = account_of(&client_id).ok_or_else(invalid)?;
    match api.catalog.use_account_secret(account, &hash_secret(&secret), api.clock.now()) {
        Ok(Some(secret)) => {
            api.throttle.note_success(incoming.address, &client_id, Instant::now());
            Ok((account, secret))
        }
        Ok(None) => Err(invalid()),
        Err(error) => Err(server_error(&error)),
    }
}

/// The client id that a request for a token names.
pub(crate) fn claimed_client(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    basic_credentials(headers).or_else(|| form_credentials(body)).map(|(client, _)| client)
}

/// Client id and secret; both may be form-encoded inside, as RFC 6749 says.
fn basic_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64.decode(encoded.trim()).ok()?).ok()?;
    let (client_id, secret) = text.split_once(':')?;
    Some((decode_form(client_id), decode_form(secret)))
}

/// The same in the body, which RFC 6749 allows beside the header.
fn form_credentials(body: &[u8]) -> Option<(String, String)> {
    Some((form_value(body, "client_id")?, form_value(body, "client_secret")?))
}

fn form_value(body: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    text.split('&').find_map(|pair| {
        let (candidate, value) = pair.split_once('=')?;
        (candidate == name).then(|| decode_form(value))
    })
}

fn refuse(status: StatusCode, error: &str, description: &str) -> Response<Body> {
    // The description comes first, as the real service writes it.
    let description = Value::from(description);
    answer_with(status, format!("{{\"error_description\":{description},\"error\":\"{error}\"}}"))
}

fn answer_with(status: StatusCode, body: String) -> Response<Body> {
    let mut response = build(status, "application/json", Some(body));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
