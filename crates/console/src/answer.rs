//! Answers: pages, redirects, files.

use askama::Template;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, SET_COOKIE};
use http::{HeaderName, HeaderValue, Response, StatusCode};

/// What a page may load and where its forms may go: here, and nowhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// What every answer carries.
const COMMON: &[(HeaderName, &str)] = &[
    (CONTENT_SECURITY_POLICY, POLICY),
    (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (http::header::REFERRER_POLICY, "same-origin"),
    (http::header::X_FRAME_OPTIONS, "DENY"),
];

/// An answer of the console.
pub(crate) type Answer = Response<Vec<u8>>;

fn build(status: StatusCode, media_type: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    for (name, value) in COMMON {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

/// A page.
pub(crate) fn page(status: StatusCode, template: &impl Template) -> Answer {
    match template.render() {
        Ok(text) => {
            let mut answer = build(status, "text/html; charset=utf-8", text.into_bytes());
            let never = HeaderValue::from_static("no-store");
            answer.headers_mut().insert(CACHE_CONTROL, never);
            answer
        }
        Err(error) => {
            tracing::error!(%error, "a page could not be written");
            let text = b"This page could not be written.".to_vec();
            build(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", text)
        }
    }
}

/// Goes on somewhere else, after a form was sent.
pub(crate) fn see(path: &str) -> Answer {
    let mut answer = build(StatusCode::SEE_OTHER, "text/plain", Vec::new());
    if let Ok(path) = HeaderValue::from_str(path) {
        answer.headers_mut().insert(LOCATION, path);
    }
    answer
}

/// Has a page that asked by a script load itself again.
pub(crate) fn refresh() -> Answer {
    let mut answer = build(StatusCode::OK, "text/plain", Vec::new());
    let name = HeaderName::from_static("hx-refresh");
    answer.headers_mut().insert(name, HeaderValue::from_static("true"));
    answer
}

/// A file that does not change as long as the release does not.
pub(crate) fn file(media_type: &'static str, body: &[u8]) -> Answer {
    let mut answer = build(StatusCode::OK, media_type, body.to_vec());
    let hour = HeaderValue::from_static("public, max-age=3600");
    answer.headers_mut().insert(CACHE_CONTROL, hour);
    answer
}

/// A picture that is drawn anew each time; its own styles are in it.
pub(crate) fn picture(svg: String) -> Answer {
    let mut answer = build(StatusCode::OK, "image/svg+xml", svg.into_bytes());
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// With a cookie.
pub(crate) fn with_cookie(mut answer: Answer, cookie: &str) -> Answer {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        answer.headers_mut().append(SET_COOKIE, cookie);
    }
    answer
}
