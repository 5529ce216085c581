//! Group commit: transactions that wait at the same time share one commit and its sync.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidemark_model::OplogTime;
use tidemark_store::{Batch, StoreError};

use super::durability::{lock, not_written};
use super::{Engine, Writer, load_writer};
use crate::collections::{Catalog, Namespace, Staging};
use crate::error::Result;

/// A commit that writes no more than this is the upkeep's own.
const QUIET_BYTES: usize = 1_000;

/// A group on its way into the store.
struct Group {
    batch: Arc<Batch>,
    catalog: Arc<Catalog>,
    last: OplogTime,
}

impl Engine {
    /// The writer's state, for one transaction at a time.
    pub(crate) fn lock_writer(&self) -> Result<std::sync::MutexGuard<'_, Writer>> {
        let mut writer = lock(&self.writer);
        if lock(&self.durability).is_stale {
            self.reload(&mut writer)?;
        }
        Ok(writer)
    }

    /// Forgets what did not reach the store. Positions are not used again.
    fn reload(&self, writer: &mut Writer) -> Result<()> {
        let fresh = load_writer(&*self.view()?)?;
        let mut state = lock(&self.durability);
        let through = writer.last;
        if through > state.durable {
            let after = state.durable;
            match state.failed.last_mut() {
                Some((_, last)) if *last == after => *last = through,
                _ => state.failed.push((after, through)),
            }
            state.durable = through;
        }
        let (last, reloads) = (writer.last.max(fresh.last), writer.reloads + 1);
        *writer = Writer { last, reloads, ..fresh };
        self.reloads.store(reloads, Ordering::Release);
        state.is_stale = false;
        state.committing = None;
        drop(state);
        self.progress.notify_all();
        Ok(())
    }

    /// Whether what a transaction saw is undone.
    pub(crate) fn check_fresh(&self) -> Result<()> {
        if lock(&self.durability).is_stale { Err(not_written()) } else { Ok(()) }
    }

    /// Refuses to answer for a command that began before something was undone: a part of it may be.
    pub(crate) fn check_kept(&self, reloads: u64) -> Result<()> {
        if self.reloads() == reloads { Ok(()) } else { Err(not_written()) }
    }

    /// Whether the last write reached the disk.
    pub(crate) fn is_writable(&self) -> bool {
        !self.has_failed.load(Ordering::Relaxed)
    }

    /// The group that is being committed.
    pub(crate) fn committing(&self) -> Option<Arc<Batch>> {
        lock(&self.durability).committing.clone()
    }

    /// Waits until everything up to `at` is on disk.
    ///
    /// The first to wait commits for all that are waiting by then; the others wait for it. A
    /// commit that fails leaves nothing behind: whoever waits for it is told, and the state is
    /// read from the store again.
    pub(crate) fn wait_durable(&self, at: OplogTime) -> Result<()> {
        loop {
            {
                let mut state = lock(&self.durability);
                loop {
                    if let Some(outcome) = state.outcome(at) {
                        return outcome;
                    }
                    if !state.is_committing {
                        break;
                    }
                    state = self
                        .progress
                        .wait(state)
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                }
            }
            let mut writer = self.lock_writer()?;
            let group = self.take_group(&mut writer);
            drop(writer);
            if let Some(group) = group {
                self.commit_group(&group);
            }
        }
    }

    /// The writer's state once there is room for more: a group that is large waits for the one that
    /// is on its way.
    pub(crate) fn lock_writer_with_room(&self) -> Result<std::sync::MutexGuard<'_, Writer>> {
        loop {
            let writer = self.lock_writer()?;
            if !writer.is_large() || !lock(&self.durability).is_committing {
                return Ok(writer);
            }
            drop(writer);
            self.wait_for_commit();
        }
    }

    /// Waits until no group is on its way.
    fn wait_for_commit(&self) {
        let mut state = lock(&self.durability);
        while state.is_committing {
            state = self.progress.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// Commits the group if it has become large, while others fill the next one; when one is on its
    /// way already, waits for its turn. Whether something is undone is told by `wait_durable`, and
    /// by `check_kept` where no oplog entry stands for it; this fails early where it knows.
    pub(crate) fn commit_large(&self) -> Result<()> {
        loop {
            let mut writer = self.lock_writer()?;
            if !writer.is_large() {
                return Ok(());
            }
            if let Some(group) = self.take_group(&mut writer) {
                drop(writer);
                self.commit_group(&group);
                return self.check_fresh();
            }
            drop(writer);
            self.wait_for_commit();
        }
    }

    /// Commits all that was done before, and waits for it, while nobody else may write; fails if
    /// any of it is undone.
    pub(crate) fn settle(&self, writer: &mut Writer) -> Result<()> {
        let reloads = writer.reloads;
        self.settle_all(writer)?;
        if writer.reloads == reloads { Ok(()) } else { Err(not_written()) }
    }

    /// As `settle`, but what failed is gone and that is all.
    pub(crate) fn settle_all(&self, writer: &mut Writer) -> Result<()> {
        loop {
            // Nobody begins another commit while the writer is ours.
            self.wait_for_commit();
            if lock(&self.durability).is_stale {
                self.reload(writer)?;
                continue;
            }
            let Some(group) = self.take_group(writer) else { return Ok(()) };
            self.commit_group(&group);
        }
    }

    /// Commits what was done to a collection that a restore changes: no oplog entry stands for it,
    /// so nobody waits for one. What is being loaded is not read before it is complete.
    pub(crate) fn settle_staged(&self, namespace: &Namespace) -> Result<()> {
        // A collection is complete on the disk before anybody is told, so readers know of it.
        let is_staged = self
            .published()
            .catalog
            .find(namespace)
            .is_some_and(|collection| collection.staging == Staging::Complete);
        if is_staged { self.settle(&mut *self.lock_writer()?) } else { Ok(()) }
    }

    /// Takes the group to be the one that commits it; `None` if there is none, or if somebody
    /// else is committing.
    fn take_group(&self, writer: &mut Writer) -> Option<Group> {
        let mut state = lock(&self.durability);
        // What stands on a commit that failed may not be committed.
        if state.is_committing || state.is_stale || writer.group.is_empty() {
            return None;
        }
        let batch = Arc::new(writer.group.take());
        state.is_committing = true;
        state.committing = Some(Arc::clone(&batch));
        Some(Group { batch, catalog: Arc::clone(&writer.catalog), last: writer.last })
    }

    fn commit_group(&self, group: &Group) {
        let outcome = {
            let _order = lock(&self.commits);
            let outcome = self.store.commit(&group.batch);
            if let Ok(number) = outcome {
                self.publish(number, Some((Arc::clone(&group.catalog), group.last)));
            }
            outcome
        };
        let mut state = lock(&self.durability);
        state.is_committing = false;
        match outcome {
            Ok(_) => {
                if group.batch.bytes() > QUIET_BYTES {
                    let bytes = group.batch.bytes() as u64;
                    self.written.fetch_add(bytes, Ordering::Relaxed);
                }
                state.durable = state.durable.max(group.last);
                state.committing = None;
                self.has_failed.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                report(&error);
                // The group stays visible until whoever writes next has read the state again.
                state.is_stale = true;
                self.has_failed.store(true, Ordering::Relaxed);
            }
        }
        drop(state);
        self.progress.notify_all();
    }
}

fn report(error: &StoreError) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(%error, cause, "a commit of an instance failed; nothing of it was kept");
}
