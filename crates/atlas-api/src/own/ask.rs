//! What is asked below `/api/tidemark/v1`, and how answers are put together.

use serde_json::Value;
use tidemark_model::Caller;

use crate::api::Api;
use crate::incoming::Incoming;

/// A request of a known caller.
pub(super) struct Ask<'a> {
    pub(super) api: &'a Api,
    pub(super) incoming: &'a Incoming,
    pub(super) caller: &'a Caller,
}

/// Adds an attribute to an object.
pub(super) fn put(body: &mut Value, name: &str, value: Value) {
    if let Some(body) = body.as_object_mut() {
        body.insert(name.to_owned(), value);
    }
}
