//! Operations on behalf of somebody who is known already, without HTTP in between: the console's way to the
//! same rules, rights, limits and events.

use std::net::IpAddr;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tidemark_model::Caller;

use crate::answer::{Answer, Content};
use crate::api::Api;
use crate::asked::{Asked, Edition};
use crate::call::PathValues;
use crate::error::{ApiError, Result};
use crate::incoming::Incoming;
use crate::operation::Operation;
use crate::operations::OPERATIONS;
use crate::response::PLAIN;

/// An operation that somebody wants.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// Its official id.
    pub operation: &'a str,
    /// The values of its path's placeholders.
    pub values: &'a [(&'a str, &'a str)],
    /// Its query.
    pub query: &'a [(&'a str, &'a str)],
    /// Its body.
    pub body: Option<&'a Value>,
}

/// Why it is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status of HTTP.
    pub status: u16,
    /// The code of the API.
    pub code: String,
    /// In words.
    pub detail: String,
}

impl Api {
    /// Does an operation in its newest version; answers its body, or null where there is none.
    pub fn act(
        &self,
        (caller, address): (&Caller, IpAddr),
        act: Act<'_>,
    ) -> std::result::Result<Value, Refusal> {
        self.try_act((caller, address), act).map_err(|error| Refusal {
            status: error.status.as_u16(),
            code: error.code.to_owned(),
            detail: std::iter::once(error.detail.as_str())
                .chain(error.violations.iter().map(|violation| violation.description.as_str()))
                .collect::<Vec<_>>()
                .join(" "),
        })
    }

    fn try_act(&self, (caller, address): (&Caller, IpAddr), act: Act<'_>) -> Result<Value> {
        let found = OPERATIONS.iter().find(|operation| operation.id == act.operation);
        let operation = found.ok_or_else(ApiError::unexpected)?;
        let version = *operation.versions.last().ok_or_else(ApiError::unexpected)?;
        let (path, values) = path_of(operation, act.values)?;
        let incoming = Incoming {
            method: operation.verb.as_str().parse().unwrap_or(Method::GET),
            uri: path.parse::<Uri>().map_err(|_| ApiError::unexpected())?,
            headers: HeaderMap::from_iter([(
                CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            )]),
            body: act.body.map_or_else(Bytes::new, |body| body.to_string().into()),
            address,
            local_address: None,
        };
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let query: Vec<(String, String)> = act.query.iter().map(owned).collect();
        let asked = Asked {
            api: self,
            incoming: &incoming,
            caller,
            query: &query,
            style: PLAIN,
            // That a version is past its day is between the API and its clients.
            edition: Edition::Undated,
        };
        let answer = asked.carry_out(operation, version, values, &mut None)?;
        body_of(answer)
    }
}

/// The path of an operation with its values, and the values by the names of the placeholders.
fn path_of(operation: &Operation, given: &[(&str, &str)]) -> Result<(String, PathValues)> {
    let mut path = Edition::Dated.root().to_owned();
    let mut values = PathValues::new();
    for part in operation.path.split('/').skip(1) {
        path.push('/');
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => {
                let value = given.iter().find(|(known, _)| *known == name);
                let (_, value) = value.ok_or_else(ApiError::unexpected)?;
                path.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
                values.insert(name, (*value).to_owned());
            }
            None => path.push_str(part),
        }
    }
    Ok((path, values))
}

fn body_of(answer: Answer) -> Result<Value> {
    match answer.body {
        Some(Content::Tree(tree)) => Ok(tree),
        Some(Content::Text(text)) => {
            serde_json::from_str(&text).map_err(|_| ApiError::unexpected())
        }
        None => Ok(Value::Null),
    }
}
