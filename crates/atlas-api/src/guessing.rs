//! Requests with credentials take turns when those before them were wrong.
//!
//! A wrong answer to a challenge, or a wrong secret of a service account, is answered late, and
//! later each time; too many at once are refused before they are looked at.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{Response, StatusCode};

use crate::api::Api;
use crate::digest_auth::Credentials;
use crate::incoming::Incoming;
use crate::token_endpoint::claimed_client;

/// Where tokens are issued and revoked.
const TOKENS: &str = "/api/oauth/";

/// A request that says who makes it.
pub(crate) struct Attempt {
    address: IpAddr,
    name: String,
    wait: Duration,
    /// Whether a token was asked for, or a token was to be revoked.
    is_for_token: bool,
}

/// What becomes of a request.
pub(crate) enum Turn {
    /// It proves nothing, so nothing can be guessed with it.
    Unclaimed,
    /// It is looked at, and a wrong one is answered late.
    Claimed(Attempt),
    /// Too many wrong ones came before it.
    Refused,
}

/// Whose turn it is.
pub(crate) fn turn(api: &Api, incoming: &Incoming) -> Turn {
    let Some(name) = claimed_name(incoming) else { return Turn::Unclaimed };
    let address = incoming.address;
    match api.throttle.turn(address, &name, Instant::now()) {
        Some(wait) => {
            let is_for_token = incoming.uri.path().starts_with(TOKENS);
            Turn::Claimed(Attempt { address, name, wait, is_for_token })
        }
        None => Turn::Refused,
    }
}

/// The public key or client id that a request names.
fn claimed_name(incoming: &Incoming) -> Option<String> {
    let headers = &incoming.headers;
    // Only here a name and a secret are enough.
    if incoming.uri.path().starts_with(TOKENS) {
        return claimed_client(headers, &incoming.body);
    }
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match header.and_then(|header| header.split_once(' ')) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("digest") => {
            Credentials::parse(rest).map(|credentials| credentials.username)
        }
        // A token is not guessed.
        _ => None,
    }
}

impl Attempt {
    /// Notes how it ended; answers how long a wrong one has to wait for its answer.
    pub(crate) fn finish(self, api: &Api, response: &Response<Body>) -> Duration {
        let challenge = response.headers().get(WWW_AUTHENTICATE);
        // Who may not do something is told so with the same status, but is known.
        let is_wrong = response.status() == StatusCode::UNAUTHORIZED
            && (challenge.is_some() || self.is_for_token);
        if !is_wrong {
            return Duration::ZERO;
        }
        let is_stale = challenge
            .and_then(|challenge| challenge.to_str().ok())
            .is_some_and(|challenge| challenge.to_ascii_lowercase().contains("stale=true"));
        // The right answer to an old challenge is not a guess.
        if is_stale {
            return Duration::ZERO;
        }
        api.throttle.note_failure(self.address, &self.name, Instant::now());
        self.wait
    }
}
