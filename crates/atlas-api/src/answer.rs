//! What an operation answers.

use axum::http::StatusCode;
use serde_json::{Map, Value};

/// A successful answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// `None` for no body at all.
    pub(crate) body: Option<Value>,
    pub(crate) is_list: bool,
    pub(crate) location: Option<String>,
}

impl Answer {
    fn new(status: StatusCode, body: Option<Value>) -> Self {
        Self { status, body, is_list: false, location: None }
    }

    pub(crate) fn entity(body: Value) -> Self {
        Self::new(StatusCode::OK, Some(body))
    }

    pub(crate) fn created(body: Value) -> Self {
        Self::new(StatusCode::CREATED, Some(body))
    }

    /// 202 with the empty object that the real service sends.
    pub(crate) fn accepted() -> Self {
        Self::new(StatusCode::ACCEPTED, Some(Value::Object(Map::new())))
    }

    pub(crate) fn no_content() -> Self {
        Self::new(StatusCode::NO_CONTENT, None)
    }

    /// 200 without a body.
    pub(crate) fn empty() -> Self {
        Self::new(StatusCode::OK, None)
    }

    pub(crate) fn list(body: Value) -> Self {
        Self { is_list: true, ..Self::entity(body) }
    }

    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn with_location(self, location: String) -> Self {
        Self { location: Some(location), ..self }
    }
}
