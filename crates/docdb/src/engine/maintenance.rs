//! What an engine does on its own: moves time, forgets old oplog entries, purges what was dropped.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tidemark_model::OplogTime;
use tidemark_store::{Direction, Range, Tree};

use super::{Engine, lock};
use crate::error::Result;
use crate::session::forget_old_sessions;

/// How often an idle oplog gets an entry, as MongoDB's periodic noop writer does.
const NOOP_INTERVAL: Duration = Duration::from_secs(10);
const ROUND: Duration = Duration::from_secs(1);
/// How many keys are removed in one commit, so that writers never wait long.
const PURGE_BATCH: usize = 8_000;
/// How long a round may remove before it looks whether it should stop.
const PURGE_TIME: Duration = Duration::from_millis(900);
/// How long oplog entries stay at most.
const OPLOG_WINDOW_SECONDS: u32 = 24 * 60 * 60;
/// Entries of this age stay whatever they take, so that nobody who follows is cut off.
const OPLOG_KEPT_SECONDS: u32 = 60;
/// The oplog may take so much, or a quarter of the documents' bytes where that is more.
pub(crate) const OPLOG_BYTES: i64 = 256 << 20;
/// A held moment may let the file grow by so much, by what the documents take, or by a part of what
/// is left on the disk, whichever is most.
const PIN_BYTES: u64 = 1 << 30;
const PIN_PART_OF_DISK: u64 = 4;
/// Unused space is given back when it is more than this, and more than a sixteenth of what is used.
const UNUSED_BYTES: u64 = 32 << 20;
/// And when nothing was changed for so many rounds.
const QUIET_ROUNDS: u32 = 5;

/// How long nothing was changed.
#[derive(Default)]
struct Quiet {
    /// How much had been written when it was looked last.
    written: u64,
    rounds: u32,
    /// Whether moments were pinned the last time.
    has_pins: bool,
    /// What could not be given back the last time.
    left: Option<u64>,
}

impl Engine {
    /// Runs until `stop` is told or dropped; does `also` in every round.
    pub(crate) fn maintain(&self, stop: &Receiver<()>, also: impl Fn()) {
        let mut last_noop = Instant::now();
        let mut is_busy = false;
        let mut quiet = Quiet::default();
        loop {
            // What is left to remove does not wait for the next round.
            let pause = if is_busy { Duration::from_millis(10) } else { ROUND };
            let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(pause) else { return };
            also();
            let is_noop_due = last_noop.elapsed() >= NOOP_INTERVAL;
            if is_noop_due {
                last_noop = Instant::now();
            }
            is_busy = self.maintain_once(is_noop_due).unwrap_or_else(|error| {
                tracing::error!(error = %error.message, "the upkeep of an instance failed");
                false
            });
            if let Err(error) = self.give_back(&mut quiet, is_busy) {
                tracing::warn!(error = %error.message, "unused space was not given back");
            }
        }
    }

    /// Gives unused space back to the disk when nobody writes.
    fn give_back(&self, quiet: &mut Quiet, is_busy: bool) -> Result<()> {
        let written = self.written.load(Ordering::Relaxed);
        if is_busy || std::mem::replace(&mut quiet.written, written) != written {
            *quiet = Quiet { written, ..Quiet::default() };
            return Ok(());
        }
        quiet.rounds += 1;
        if !quiet.rounds.is_multiple_of(QUIET_ROUNDS) {
            return Ok(());
        }
        // What a pinned moment shows stays; when the pins have ended it is looked again.
        let has_pins = !self.pins.is_empty();
        if std::mem::replace(&mut quiet.has_pins, has_pins) && !has_pins {
            quiet.left = None;
        }
        let usage = self.store.usage()?;
        let unused = usage.disk_bytes.saturating_sub(usage.used_bytes);
        let left = quiet.left.unwrap_or(0);
        if unused.saturating_sub(left) <= UNUSED_BYTES.max(usage.used_bytes / 16) {
            return Ok(());
        }
        let _order = lock(&self.commits);
        let bytes = self.store.give_back()?;
        let usage = self.store.usage()?;
        quiet.left = Some(usage.disk_bytes.saturating_sub(usage.used_bytes));
        tracing::debug!(bytes, "unused space of an instance was given back");
        Ok(())
    }

    /// One round; answers whether more is to be removed.
    pub(super) fn maintain_once(&self, is_noop_due: bool) -> Result<bool> {
        if is_noop_due {
            let mut transaction = self.begin()?;
            transaction.log_noop("periodic noop");
            self.wait_durable(transaction.commit()?)?;
            forget_old_sessions(self)?;
        }
        let documents = self.document_bytes();
        if !self.pins.is_empty() {
            let usage = self.store.usage()?;
            let most = PIN_BYTES.max(documents).max(usage.left_bytes / PIN_PART_OF_DISK);
            self.pins.end_old((usage.disk_bytes, usage.left_bytes), most);
        }
        let began = Instant::now();
        let mut has_more = true;
        while has_more && began.elapsed() < PURGE_TIME {
            has_more = self.trim_oplog(documents)?;
            has_more |= self.purge_dropped()?;
        }
        Ok(has_more)
    }

    fn document_bytes(&self) -> u64 {
        let writer = lock(&self.writer);
        let bytes = writer.statistics.values().map(|statistics| statistics.bytes).sum::<i64>();
        u64::try_from(bytes).unwrap_or(0)
    }

    fn remove(&self, tree: Tree, range: &Range) -> Result<bool> {
        let _order = lock(&self.commits);
        let (number, is_empty) = self.store.remove_range(tree, range, PURGE_BATCH)?;
        self.publish(number, None);
        Ok(is_empty)
    }

    /// Forgets entries that are all older than the window, or that are too many; never those of
    /// the last minute. Answers whether more of them may be left.
    fn trim_oplog(&self, documents: u64) -> Result<bool> {
        let moment = self.store.moment()?;
        let too_many = moment.oplog_bytes()? > OPLOG_BYTES.unsigned_abs().max(documents / 4);
        let kept_seconds = if too_many { OPLOG_KEPT_SECONDS } else { OPLOG_WINDOW_SECONDS };
        let kept = OplogTime::new(self.durable().seconds.saturating_sub(kept_seconds), 0);
        let kept = kept.to_u64().to_be_bytes();
        if !moment.can_forget_oplog(&kept)? {
            return Ok(false);
        }
        drop(moment);
        let _order = lock(&self.commits);
        if let Some(number) = self.store.forget_oplog(&kept)? {
            self.publish(number, None);
        }
        Ok(true)
    }

    /// Removes some documents or index entries of dropped collections and indexes. Answers whether
    /// more of them are left.
    fn purge_dropped(&self) -> Result<bool> {
        let mut mark = None;
        let view = self.view()?;
        view.visit(Tree::Meta, &Range::prefix(b"x"), Direction::Ascending, |key, _| {
            let id = key.last_chunk::<4>().map_or(0, |id| u32::from_be_bytes(*id));
            let is_free = !lock(&self.building).contains(&id);
            mark = is_free.then(|| key.to_vec());
            Ok::<_, crate::error::CommandError>(!is_free)
        })?;
        drop(view);
        let Some(mark) = mark else { return Ok(false) };
        let (tree, id) = match mark.split_first_chunk::<2>() {
            Some(([_, b'i'], id)) => (Tree::Indexes, id),
            Some((_, id)) => (Tree::Documents, id),
            None => return Ok(false),
        };
        let order = lock(&self.commits);
        // What was being built may have been named meanwhile, and its mark removed.
        let number = id.first_chunk::<4>().map_or(0, |id| u32::from_be_bytes(*id));
        let is_marked = self.store.moment()?.get(Tree::Meta, &mark)?.is_some();
        if !is_marked || lock(&self.building).contains(&number) {
            return Ok(false);
        }
        let (number, is_empty) = self.store.remove_range(tree, &Range::prefix(id), PURGE_BATCH)?;
        self.publish(number, None);
        drop(order);
        if is_empty {
            self.remove(Tree::Meta, &Range::new(mark.clone(), [mark.as_slice(), &[0]].concat()))?;
        }
        Ok(true)
    }
}
