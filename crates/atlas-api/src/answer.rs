//! What an operation answers.

use axum::http::StatusCode;
use serde_json::Value;

/// A successful answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// `None` for no body at all.
    pub(crate) body: Option<Value>,
    pub(crate) is_list: bool,
}

impl Answer {
    pub(crate) fn entity(body: Value) -> Self {
        Self { status: StatusCode::OK, body: Some(body), is_list: false }
    }

    pub(crate) fn created(body: Value) -> Self {
        Self { status: StatusCode::CREATED, body: Some(body), is_list: false }
    }

    /// 202 with the empty object that the real service sends.
    pub(crate) fn accepted() -> Self {
        Self {
            status: StatusCode::ACCEPTED,
            body: Some(Value::Object(serde_json::Map::new())),
            is_list: false,
        }
    }

    pub(crate) fn no_content() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: None, is_list: false }
    }

    pub(crate) fn list(body: Value) -> Self {
        Self { status: StatusCode::OK, body: Some(body), is_list: true }
    }
}
