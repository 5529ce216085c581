//! What an engine does on its own: moves time, forgets old oplog entries, purges what was dropped.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use fjall::Readable;
use tidemark_model::OplogTime;

use super::Engine;
use crate::error::Result;
use crate::session::forget_old_sessions;

/// How often an idle oplog gets an entry, as MongoDB's periodic noop writer does.
const NOOP_INTERVAL: Duration = Duration::from_secs(10);
const ROUND: Duration = Duration::from_secs(1);
/// How many keys are removed in one commit, so that writers never wait long.
const PURGE_BATCH: usize = 10_000;
/// How long oplog entries stay.
const OPLOG_WINDOW_SECONDS: u32 = 24 * 60 * 60;

impl Engine {
    /// Runs until `stop` is told or dropped.
    pub(crate) fn maintain(&self, stop: &Receiver<()>) {
        let mut last_noop = Instant::now();
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(ROUND) {
            let is_noop_due = last_noop.elapsed() >= NOOP_INTERVAL;
            if is_noop_due {
                last_noop = Instant::now();
            }
            if let Err(error) = self.maintain_once(is_noop_due) {
                tracing::error!(error = %error.message, "the upkeep of an instance failed");
            }
        }
    }

    fn maintain_once(&self, is_noop_due: bool) -> Result<()> {
        self.unpin_old_views();
        if is_noop_due {
            let mut transaction = self.begin();
            transaction.log_noop("periodic noop");
            let at = transaction.commit()?;
            self.wait_durable(at)?;
            self.trim_oplog(at)?;
            forget_old_sessions(self)?;
        }
        self.purge_dropped()
    }

    /// Removes entries that are older than the window, but never the newest.
    fn trim_oplog(&self, newest: OplogTime) -> Result<()> {
        let oldest_kept = OplogTime::new(newest.seconds.saturating_sub(OPLOG_WINDOW_SECONDS), 0);
        let view = self.view();
        let old = view.snapshot.range(&self.keyspaces.oplog, ..oldest_kept.to_u64().to_be_bytes());
        let mut batch = self.batch();
        for entry in old.take(PURGE_BATCH) {
            batch.remove(&self.keyspaces.oplog, entry.key()?);
        }
        Ok(batch.commit()?)
    }

    /// Removes the documents and index entries of dropped collections and indexes.
    fn purge_dropped(&self) -> Result<()> {
        let view = self.view();
        for mark in view.snapshot.prefix(&self.keyspaces.meta, b"x") {
            let mark = mark.key()?;
            let (tree, id) = match mark.split_first_chunk::<2>() {
                Some(([_, b'i'], id)) => (&self.keyspaces.indexes, id),
                Some((_, id)) => (&self.keyspaces.documents, id),
                None => continue,
            };
            let mut batch = self.batch();
            let mut removed = 0;
            for entry in view.snapshot.prefix(tree, id).take(PURGE_BATCH) {
                batch.remove(tree, entry.key()?);
                removed += 1;
            }
            if removed < PURGE_BATCH {
                batch.remove(&self.keyspaces.meta, mark);
            }
            batch.commit()?;
        }
        Ok(())
    }
}
