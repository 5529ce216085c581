//! From an HTTP request to an answer: authenticate, route, and hand over to who answers.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode};

use crate::api::Api;
use crate::asked::{Asked, Edition};
use crate::auth::AuthError;
use crate::call::query_flag;
use crate::error::ApiError;
use crate::guessing::{self, Turn};
use crate::incoming::Incoming;
use crate::response::{PLAIN, Style, build, challenge_response, failure, wrong_method};
use crate::routing::{Route, route};
use crate::{dev, openapi, own, private, token_endpoint};

/// Answers a request to anything below `/api`.
pub async fn serve(api: Arc<Api>, request: Request<Body>) -> Response<Body> {
    let deadline = api.config.deadline;
    tokio::time::timeout(deadline, answer(api, request)).await.unwrap_or_else(|_| {
        // Whoever is that slow must not keep the connection.
        let mut response = failure(&ApiError::out_of_time(), PLAIN);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    })
}

async fn answer(api: Arc<Api>, request: Request<Body>) -> Response<Body> {
    let incoming = match Incoming::read(&api.config, request).await {
        Ok(incoming) => incoming,
        Err(error) => return failure(&error, PLAIN),
    };
    let turn = guessing::turn(&api, &incoming);
    if matches!(turn, Turn::Refused) {
        return failure(&ApiError::too_many_attempts(), PLAIN);
    }
    let response = if is_short(&api, &incoming) {
        let done = std::panic::AssertUnwindSafe(|| respond(&api, &incoming));
        std::panic::catch_unwind(done).ok()
    } else {
        let for_running = Arc::clone(&api);
        tokio::task::spawn_blocking(move || respond(&for_running, &incoming)).await.ok()
    };
    let response = response.unwrap_or_else(|| {
        tracing::error!("a handler ended in the middle");
        failure(&ApiError::unexpected(), PLAIN)
    });
    if let Turn::Claimed(attempt) = turn {
        let wait = attempt.finish(&api, &response);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
    response
}

/// Whether a request is answered faster than another thread would begin with it: it reads records out of a
/// file, which waits for nobody who writes.
fn is_short(api: &Api, incoming: &Incoming) -> bool {
    incoming.method == Method::GET
        && !api.catalog.is_shared()
        && Edition::ALL.iter().any(|edition| incoming.uri.path().starts_with(edition.root()))
}

fn respond(api: &Api, incoming: &Incoming) -> Response<Body> {
    let path = incoming.uri.path();
    match path {
        "/api/oauth/token" => return token_endpoint::issue(api, incoming),
        "/api/oauth/revoke" => return token_endpoint::revoke(api, incoming),
        "/api/atlas/v2/openapi.json" if incoming.method == Method::GET => {
            return build(StatusCode::OK, "application/json", Some(openapi::text()));
        }
        _ => {}
    }
    if let Some(response) = private::respond_to_anybody(path) {
        return response;
    }
    let query = incoming.query();
    let style = Style {
        pretty: query_flag(&query, "pretty", false).unwrap_or(false),
        envelope: query_flag(&query, "envelope", false).unwrap_or(false),
    };
    let target = incoming.uri.path_and_query().map_or(path, |target| target.as_str());
    let asked = (incoming.method.as_str(), target);
    let identity = match api.authenticate(asked, &incoming.headers, incoming.address) {
        Ok(identity) => identity,
        Err(AuthError::Challenge(challenge)) => return challenge_response(&challenge),
        Err(AuthError::Refused(error)) => return failure(&error, style),
        Err(AuthError::Catalog(error)) => return failure(&error.into(), style),
    };
    if let Some(response) = private::respond(path, incoming.address) {
        return response;
    }
    if let Some(path) = path.strip_prefix(dev::ROOT) {
        return dev::respond(api, incoming, &identity.caller, path);
    }
    if let Some(path) = path.strip_prefix(own::ROOT) {
        return own::respond(api, incoming, &identity.caller, path);
    }
    let below = Edition::ALL.into_iter().find_map(|edition| {
        let rest = path.strip_prefix(edition.root())?;
        (rest.is_empty() || rest.starts_with('/')).then_some((edition, rest))
    });
    let Some((edition, below)) = below else {
        return failure(&ApiError::unknown_route(path), style);
    };
    match route(incoming.method.as_str(), below) {
        Route::Found(operation, path_values) if edition.has(operation) => {
            let caller = &identity.caller;
            let asked = Asked { api, incoming, caller, query: &query, style, edition };
            asked.respond(operation, path_values)
        }
        Route::WrongMethod(methods) => wrong_method(&methods),
        Route::Found(..) | Route::Unknown => failure(&ApiError::unknown_route(path), style),
    }
}
