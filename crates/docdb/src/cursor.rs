//! Open cursors: streams that clients come back to.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidemark_model::random_bytes;

use crate::error::{Code, CommandError, Result};
use crate::query::Stream;

/// An unused cursor is closed after this time, as on every MongoDB server.
const IDLE_LIMIT: Duration = Duration::from_mins(10);

/// Open cursors of an instance; each may keep a sorted run in memory.
const MOST_CURSORS: usize = 10_000;

/// A stream that more will be asked of.
pub(crate) struct Cursor {
    pub(crate) namespace: String,
    pub(crate) stream: Stream,
    pub(crate) tail: Tail,
    pub(crate) user: Option<String>,
}

/// What happens at the end of what is there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// The cursor is closed.
    Closed,
    /// The cursor stays open and answers nothing for now.
    Open,
    /// The cursor stays open and waits a while for more.
    Waiting,
}

/// All open cursors of an engine.
#[derive(Default)]
pub(crate) struct Cursors {
    /// Held for lookups: a cursor that is read from is taken out.
    open: Mutex<HashMap<i64, (Cursor, Instant)>>,
}

impl Cursors {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i64, (Cursor, Instant)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a cursor under a new id.
    pub(crate) fn keep(&self, cursor: Cursor) -> Result<i64> {
        let id = i64::from_le_bytes(random_bytes()) & i64::MAX;
        let id = id.max(1);
        self.put_back(id, cursor);
        if self.lock().len() <= MOST_CURSORS {
            return Ok(id);
        }
        drop(self.take(id));
        let text =
            format!("{MOST_CURSORS} cursors are open; close some, or read them to their end");
        Err(CommandError::new(Code::TooManyLogicalSessions, text))
    }

    /// Closes cursors that nobody has used for a while.
    pub(crate) fn close_idle(&self) {
        self.lock().retain(|_, (_, last_used)| last_used.elapsed() < IDLE_LIMIT);
    }

    /// Keeps a cursor under the id it had.
    pub(crate) fn put_back(&self, id: i64, cursor: Cursor) {
        let mut open = self.lock();
        open.insert(id, (cursor, Instant::now()));
    }

    /// Takes a cursor out, to use or to close it.
    pub(crate) fn take(&self, id: i64) -> Option<Cursor> {
        self.lock().remove(&id).map(|(cursor, _)| cursor)
    }
}
