//! `GET /`: whether the service is up, and who asks.

use serde_json::json;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    Ok(Answer::entity(json!({
        "appName": "MongoDB Atlas",
        "build": env!("CARGO_PKG_VERSION"),
        "links": [crate::links::link(call.href(""), "self")],
        "throttling": false,
    })))
}
