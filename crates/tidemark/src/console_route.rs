//! The console's pages over HTTP.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response, StatusCode};
use serde_json::Value;
use tidemark_atlas_api::{Act, Api, Ends, SignIn};
use tidemark_catalog::CatalogError;
use tidemark_console::{Console, Gate, Operations, Refused, SignedIn, Wait, Wanted};
use tidemark_model::{Caller, OrgId, Principal, Secret, SecretId};

/// No form is larger.
const LARGEST_BODY_BYTES: usize = 256 * 1024;

/// People are who the API knows.
pub(crate) struct ApiGate(pub(crate) Arc<Api>);

impl Gate for ApiGate {
    fn sign_in(
        &self,
        name: &str,
        secret: &Secret,
        address: IpAddr,
    ) -> Result<SignedIn, CatalogError> {
        Ok(match self.0.sign_in(name, secret, address)? {
            SignIn::Known(caller, secret) => SignedIn::Known(caller, secret),
            SignIn::Wrong(wait) => SignedIn::Wrong(wait),
            SignIn::NotFromHere => SignedIn::NotFromHere,
            SignIn::TooMany => SignedIn::TooMany,
        })
    }

    fn caller(
        &self,
        principal: (Principal, OrgId),
        secret: Option<SecretId>,
        address: IpAddr,
    ) -> Result<Option<Caller>, CatalogError> {
        self.0.caller_of(principal, secret, address)
    }
}

impl Operations for ApiGate {
    fn act(
        &self,
        by: (&Caller, IpAddr),
        Wanted { operation, values, query, body }: Wanted<'_>,
    ) -> Result<Value, Refused> {
        let done = self.0.act(by, Act { operation, values, query, body });
        done.map_err(|refusal| Refused {
            status: refusal.status,
            code: refusal.code,
            reason: refusal.detail,
        })
    }
}

/// Answers a request to the console, in as much time as one to the API has.
pub(crate) async fn serve(
    (api, console): (Arc<Api>, Arc<Console>),
    request: Request<Body>,
    deadline: Duration,
) -> Response<Body> {
    let answered = tokio::time::timeout(deadline, answer(api, console, request)).await;
    let answered = answered.unwrap_or_else(|_| {
        let mut late = plain(StatusCode::SERVICE_UNAVAILABLE, "This took too long; try again.");
        // Whoever is that slow must not keep the connection.
        late.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        late
    });
    if let Some(Wait(wait)) = answered.extensions().get::<Wait>() {
        tokio::time::sleep(*wait).await;
    }
    answered
}

async fn answer(api: Arc<Api>, console: Arc<Console>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LARGEST_BODY_BYTES).await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "This form is too large.");
    };
    let peer = head.extensions.get::<ConnectInfo<Ends>>().map(|info| info.0.peer.ip());
    let request = tidemark_console::Request {
        address: api.address_of(&head.headers, peer),
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        body: body.to_vec(),
    };
    // The records are asked by a thread that may wait.
    match tokio::task::spawn_blocking(move || console.respond(&request)).await {
        Ok(answer) => answer.map(Body::from),
        Err(error) => {
            tracing::error!(%error, "a page of the console ended in the middle");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "This page could not be made.")
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}
