//! What an operation answers.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{ApiError, Result};

/// A successful answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// `None` for no body at all.
    pub(crate) body: Option<Content>,
    pub(crate) is_list: bool,
    pub(crate) location: Option<String>,
}

/// A body, as a tree, or as it is written already: compact, with its keys in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Tree(Value),
    Text(String),
}

impl Content {
    /// What a type says, whose fields are in alphabetical order.
    pub(crate) fn of(body: &impl Serialize) -> Result<Self> {
        serde_json::to_string(body).map(Self::Text).map_err(|error| {
            tracing::error!(%error, "an answer could not be written");
            ApiError::unexpected()
        })
    }

    /// As a tree, for whoever changes it.
    pub(crate) fn into_tree(self) -> Value {
        match self {
            Self::Tree(tree) => tree,
            Self::Text(text) => serde_json::from_str(&text).unwrap_or_default(),
        }
    }
}

impl From<Value> for Content {
    fn from(tree: Value) -> Self {
        Self::Tree(tree)
    }
}

impl Answer {
    fn new(status: StatusCode, body: Option<Content>) -> Self {
        Self { status, body, is_list: false, location: None }
    }

    pub(crate) fn entity(body: impl Into<Content>) -> Self {
        Self::new(StatusCode::OK, Some(body.into()))
    }

    pub(crate) fn created(body: impl Into<Content>) -> Self {
        Self::new(StatusCode::CREATED, Some(body.into()))
    }

    /// 202 with the empty object that the real service sends.
    pub(crate) fn accepted() -> Self {
        Self::new(StatusCode::ACCEPTED, Some(Value::Object(Map::new()).into()))
    }

    pub(crate) fn no_content() -> Self {
        Self::new(StatusCode::NO_CONTENT, None)
    }

    /// 200 without a body.
    pub(crate) fn empty() -> Self {
        Self::new(StatusCode::OK, None)
    }

    pub(crate) fn list(body: impl Into<Content>) -> Self {
        Self { is_list: true, ..Self::entity(body) }
    }

    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn with_location(self, location: String) -> Self {
        Self { location: Some(location), ..self }
    }
}
