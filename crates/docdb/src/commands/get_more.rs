//! `getMore` and `killCursors`.

use std::time::{Duration, Instant};

use bson::{Bson, RawBsonRef};

use crate::context::Context;
use crate::cursor::{Cursor, Tail};
use crate::error::{Code, CommandError, Result};
use crate::number::as_integer;
use crate::reply::Batch;
use crate::reply::Reply;
use crate::request::Request;

/// How long a waiting cursor waits, unless the client says otherwise.
const AWAIT_TIME: Duration = Duration::from_secs(1);
/// The stop of the server must not wait longer than this for a waiting cursor.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

pub(super) fn run(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&["collection", "batchSize"])?;
    let id = request.integer("getMore")?.unwrap_or(0);
    let mut cursor = context.shared.cursors.take(id).ok_or_else(|| {
        CommandError::new(Code::CursorNotFound, format!("cursor id {id} not found"))
    })?;
    if cursor.user.as_deref() != context.login.user_name() {
        context.shared.cursors.put_back(id, cursor);
        let text = format!("cursor id {id} was not created by the authenticated user");
        return Err(CommandError::new(Code::Unauthorized, text));
    }
    let size = request.size("batchSize")?.filter(|size| *size > 0);
    let size = size.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    let mut batch = Batch::new("nextBatch", size);
    let patience = request.size("maxTimeMS")?.map_or(AWAIT_TIME, Duration::from_millis);
    let is_at_end = fill(context, &mut cursor, &mut batch, patience)?;
    let namespace = cursor.namespace.clone();
    let stays_open = !is_at_end || cursor.tail != Tail::Closed;
    if stays_open {
        context.shared.cursors.put_back(id, cursor);
    }
    let id = if stays_open { id } else { 0 };
    Ok(Reply::Cursor { batch, id, namespace, at: None })
}

fn fill(
    context: &Context<'_>,
    cursor: &mut Cursor,
    batch: &mut Batch,
    patience: Duration,
) -> Result<bool> {
    let engine = &context.shared.engine;
    let deadline = Instant::now() + patience;
    loop {
        let seen = engine.durable();
        let is_at_end = cursor.stream.fill(engine, batch)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let is_stopping = context.shared.stopping.load(std::sync::atomic::Ordering::SeqCst);
        let is_done =
            batch.count() > 0 || cursor.tail != Tail::Waiting || left.is_zero() || is_stopping;
        if is_done {
            return Ok(is_at_end);
        }
        engine.wait_for_progress(seen, left.min(LONGEST_WAIT));
    }
}

pub(super) fn kill(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&["cursors"])?;
    let ids = request.field("cursors").and_then(RawBsonRef::as_array).ok_or_else(|| {
        CommandError::new(Code::FailedToParse, "killCursors needs an array of cursors")
    })?;
    let (mut killed, mut missing) = (Vec::new(), Vec::new());
    for id in ids {
        let id = as_integer(id?).unwrap_or(0);
        match context.shared.cursors.take(id) {
            Some(cursor) if cursor.user.as_deref() == context.login.user_name() => {
                killed.push(Bson::Int64(id));
            }
            Some(cursor) => {
                context.shared.cursors.put_back(id, cursor);
                missing.push(Bson::Int64(id));
            }
            None => missing.push(Bson::Int64(id)),
        }
    }
    Ok(bson::doc! {
        "cursorsKilled": killed,
        "cursorsNotFound": missing,
        "cursorsAlive": [],
        "cursorsUnknown": [],
    }
    .into())
}
