//! `GET /eventTypes`: the kinds of events that this service knows.

use serde_json::{Value, json};
use tidemark_model::{EVENT_TYPES, EventType};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_of;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let describe = |kind: &EventType| -> Value {
        json!({ "alertable": false, "description": kind.description, "eventType": kind.name })
    };
    let kinds = EVENT_TYPES.iter().map(describe).collect();
    list_of(call, call.page()?.of(kinds)).map(Answer::list)
}
