//! `saslStart`, `saslContinue`, `logout`.

use std::time::Instant;

use bson::raw::RawDocument;
use bson::spec::BinarySubtype;
use bson::{Binary, Document, RawBsonRef};

use crate::auth::Step;
use crate::context::Context;
use crate::error::{Code, CommandError, Result};
use crate::reply::Reply;
use crate::request::Request;

const MECHANISM: &str = "SCRAM-SHA-256";

fn payload(body: &RawDocument) -> Result<&[u8]> {
    match body.get("payload")? {
        Some(RawBsonRef::Binary(binary)) => Ok(binary.bytes),
        Some(RawBsonRef::String(text)) => Ok(text.as_bytes()),
        _ => Err(CommandError::new(Code::FailedToParse, "a SASL message needs a payload")),
    }
}

fn step_document(step: Step) -> Document {
    bson::doc! {
        "conversationId": 1,
        "done": step.is_done,
        "payload": Binary { subtype: BinarySubtype::Generic, bytes: step.payload },
    }
}

fn begin(context: &mut Context<'_>, body: &RawDocument) -> Result<Document> {
    let mechanism = body.get_str("mechanism").unwrap_or_default();
    if mechanism != MECHANISM {
        let text = format!(
            "Received authentication for mechanism {mechanism} which is not enabled; use {MECHANISM}"
        );
        return Err(CommandError::new(Code::MechanismUnavailable, text));
    }
    let known = (&*context.shared.users, &context.shared.decoy_key);
    context.login.start(known, payload(body)?).map(step_document)
}

/// The conversation's first step inside of `hello`.
pub(super) fn speculate(context: &mut Context<'_>, body: &RawDocument) -> Result<Document> {
    begin(context, body)
}

pub(super) fn start(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    begin(context, request.body).map(Reply::from)
}

pub(super) fn continue_conversation(
    context: &mut Context<'_>,
    request: &Request<'_>,
) -> Result<Reply> {
    // Every driver of the last years asks to skip the empty exchange; it does so at the start,
    // and a client that did not ask accepts the early end as well.
    let name = context.login.candidate().unwrap_or_default().to_owned();
    let throttle = &context.shared.throttle;
    match throttle.turn(context.address, &name, Instant::now()) {
        Some(wait) if wait.is_zero() => {}
        // Each connection has a thread; nobody else waits.
        Some(wait) => std::thread::sleep(wait),
        None => {
            context.login.log_out();
            let text = "Authentication failed: too many attempts, try again later.";
            return Err(CommandError::new(Code::AuthenticationFailed, text));
        }
    }
    match context.login.continue_with(payload(request.body)?, true) {
        Ok(step) => {
            throttle.note_success(context.address, &name, Instant::now());
            Ok(step_document(step).into())
        }
        Err(error) => {
            throttle.note_failure(context.address, &name, Instant::now());
            Err(error)
        }
    }
}

pub(super) fn logout(context: &mut Context<'_>, _: &Request<'_>) -> Result<Reply> {
    context.login.log_out();
    Ok(Reply::ok())
}
