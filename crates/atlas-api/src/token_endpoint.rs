//! `/api/oauth/token` and `/api/oauth/revoke`: client credentials of service accounts.

use axum::body::{Body, Bytes};
use axum::http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tidemark_model::ServiceAccountId;

use crate::api::Api;
use crate::render::compact;
use crate::token::{TOKEN_LIFETIME_SECONDS, account_of, hash_secret};

/// Answers a request for a token.
pub(crate) fn issue(
    api: &Api,
    method: &Method,
    headers: &HeaderMap,
    body: &[u8],
) -> Response<Body> {
    let account = match authenticate(api, method, headers) {
        Ok(account) => account,
        Err(response) => return response,
    };
    match form_value(body, "grant_type").as_deref() {
        Some("client_credentials") => {
            let token = api.signer.issue_token(account, api.clock.now());
            let answer = json!({
                "access_token": token,
                "expires_in": TOKEN_LIFETIME_SECONDS,
                "token_type": "Bearer",
            });
            answer_with(StatusCode::OK, answer)
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

/// Revokes a token; one that is unknown or over is revoked already.
pub(crate) fn revoke(
    api: &Api,
    method: &Method,
    headers: &HeaderMap,
    body: &Bytes,
) -> Response<Body> {
    let account = match authenticate(api, method, headers) {
        Ok(account) => account,
        Err(response) => return response,
    };
    let Some(token) = form_value(body, "token") else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "The parameter token is missing.",
        );
    };
    let now = api.clock.now();
    if let Some(token) =
        api.signer.check_token(&token, now).filter(|token| token.account == account)
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

#[expect(clippy::result_large_err, reason = "the error is the answer itself")]
fn authenticate(
    api: &Api,
    method: &Method,
    headers: &HeaderMap,
) -> Result<ServiceAccountId, Response<Body>> {
    if *method != Method::POST {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST,OPTIONS"));
        return Err(response);
    }
    let invalid =
        || refuse(StatusCode::UNAUTHORIZED, "invalid_client", "Invalid credentials provided.");
    let (client_id, secret) = basic_credentials(headers).ok_or_else(invalid)?;
    let account = account_of(&client_id).ok_or_else(invalid)?;
    match api.catalog.has_secret(account, &hash_secret(&secret), api.clock.now()) {
        Ok(true) => Ok(account),
        Ok(false) => Err(invalid()),
        Err(error) => Err(server_error(&error)),
    }
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

fn decode_form(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

fn form_value(body: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    text.split('&').find_map(|pair| {
        let (candidate, value) = pair.split_once('=')?;
        (candidate == name).then(|| decode_form(value))
    })
}

fn refuse(status: StatusCode, error: &str, description: &str) -> Response<Body> {
    answer_with(status, json!({ "error": error, "error_description": description }))
}

fn answer_with(status: StatusCode, body: Value) -> Response<Body> {
    let mut response = Response::new(Body::from(compact(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
