//! The engine of one instance: its store, its present state, and when writes are durable.
//!
//! Guarantees: writers are one at a time, so oplog entries become visible in their order and
//! without holes; a reader holds a `View`, one moment of everything; a reader sees only what is on
//! disk. Transactions put their changes into one group; the first that waits commits the group for
//! all, and those that come meanwhile form the next one. What a crash leaves is a prefix of the
//! groups, each whole.

mod durability;
mod groups;
mod maintenance;
mod pins;

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tidemark_model::{Clock, OplogTime};
use tidemark_store::{Batch, Direction, Moment, Range, Store, Tree};

use crate::collections::{Catalog, Collection};
use crate::error::{Code, CommandError, Result};
use durability::{Durability, lock};
pub(crate) use maintenance::OPLOG_BYTES;
use pins::{Pins, Pooled};

/// How many documents a collection holds, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Statistics {
    pub(crate) count: i64,
    pub(crate) bytes: i64,
}

impl Statistics {
    pub(crate) fn encode(self) -> Vec<u8> {
        [self.count.to_le_bytes(), self.bytes.to_le_bytes()].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let number = |at: usize| {
            let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, i64::from_le_bytes)
        };
        Self { count: number(0), bytes: number(8) }
    }
}

/// Everything at one moment.
pub(crate) struct View {
    moment: Held,
    pub(crate) catalog: Arc<Catalog>,
    /// The last oplog entry that the view shows.
    pub(crate) at: OplogTime,
}

/// A moment of one's own, or one that is lent.
enum Held {
    Own(Moment),
    Pooled(Pooled),
}

impl Deref for View {
    type Target = Moment;

    fn deref(&self) -> &Moment {
        match &self.moment {
            Held::Own(moment) => moment,
            Held::Pooled(pooled) => pooled,
        }
    }
}

/// What only the one writer may touch.
pub(crate) struct Writer {
    pub(crate) last: OplogTime,
    pub(crate) term: i64,
    pub(crate) next_id: u32,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) next_record: HashMap<u32, u64>,
    pub(crate) statistics: HashMap<u32, Statistics>,
    /// The changes of all transactions since the last group was taken.
    pub(crate) group: Batch,
    /// How often the state was read from the store again after a failed commit.
    pub(crate) reloads: u64,
}

/// A group of this size is committed by whoever made it so large.
const GROUP_BYTES: usize = 16 * 1024 * 1024;
/// A group of so many changes too: each may touch a page of its own.
const GROUP_CHANGES: usize = 16_384;

impl Writer {
    /// Whether the group has become so large that it is to be committed.
    pub(crate) fn is_large(&self) -> bool {
        self.is_heavy() || self.group.changes() >= GROUP_CHANGES
    }

    /// Whether the bytes of the group alone make it so large.
    pub(crate) fn is_heavy(&self) -> bool {
        self.group.bytes() >= GROUP_BYTES
    }
}

/// The last commit that readers may see, with what belongs to it.
struct Published {
    number: u64,
    catalog: Arc<Catalog>,
    at: OplogTime,
}

/// The engine of one instance.
pub(crate) struct Engine {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    /// Held while one transaction reads what it changes and adds to the group, at longest while a
    /// transaction that outgrows a group has it committed. Readers need it never.
    writer: Mutex<Writer>,
    /// Held for taking a copy and for replacing it.
    published: RwLock<Published>,
    /// Held for looking and noting; who waits for the disk waits on `progress`.
    durability: Mutex<Durability>,
    progress: Condvar,
    pins: Pins,
    /// How many bytes of changes were committed, but for those of the upkeep.
    written: AtomicU64,
    /// Held while a commit is made, with its sync to the disk, and told of, so that both happen in the
    /// same order. Only who commits or looks after the store waits for it.
    commits: Mutex<()>,
    /// Whether the last commit failed.
    has_failed: AtomicBool,
    folder: PathBuf,
    /// Indexes that are being built, although a mark says that they are to be purged. Held for a
    /// lookup.
    building: Mutex<HashSet<u32>>,
    /// The collections that are being loaded, with what `reloads` was when that began. Held for a
    /// lookup.
    loading: Mutex<HashMap<u32, u64>>,
    reloads: AtomicU64,
}

/// An index that is being built; dropping it ends that.
pub(crate) struct Building<'e>(&'e Engine, u32);

impl Drop for Building<'_> {
    fn drop(&mut self) {
        lock(&self.0.building).remove(&self.1);
    }
}

/// The key of a numbered thing in the meta tree.
pub(crate) fn meta_key(kind: u8, id: u32) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&id.to_be_bytes());
    key
}

/// The key of a document.
pub(crate) fn document_key(collection: u32, record: u64) -> [u8; 12] {
    let mut key = [0; 12];
    let (head, tail) = key.split_at_mut(4);
    head.copy_from_slice(&collection.to_be_bytes());
    tail.copy_from_slice(&record.to_be_bytes());
    key
}

/// All documents of a collection.
pub(crate) fn documents_of(collection: u32) -> Range {
    Range::prefix(&collection.to_be_bytes())
}

/// The record number at the end of a document's key or an index entry's value.
pub(crate) fn record_of(bytes: &[u8]) -> Option<u64> {
    bytes.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

impl Engine {
    /// Opens or creates the store in `folder`.
    pub(crate) fn open(folder: &Path, clock: Clock) -> Result<Arc<Self>> {
        let store = Store::open(folder)?;
        let moment = store.moment()?;
        let writer = load_writer(&moment)?;
        let published = Published {
            number: moment.number(),
            catalog: Arc::clone(&writer.catalog),
            at: writer.last,
        };
        drop(moment);
        let engine = Arc::new(Self {
            store,
            clock,
            durability: Mutex::new(Durability::new(writer.last)),
            writer: Mutex::new(writer),
            published: RwLock::new(published),
            progress: Condvar::new(),
            pins: Pins::default(),
            written: AtomicU64::new(0),
            commits: Mutex::default(),
            has_failed: AtomicBool::new(false),
            folder: folder.to_owned(),
            building: Mutex::default(),
            loading: Mutex::default(),
            reloads: AtomicU64::new(0),
        });
        engine.start_term()?;
        Ok(engine)
    }

    /// Where temporary files may be made.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps the entries of an index from being purged while it is built.
    pub(crate) fn keep_unpurged(&self, index: u32) -> Building<'_> {
        lock(&self.building).insert(index);
        Building(self, index)
    }

    /// A secret that was made with the store.
    pub(crate) fn decoy_key(&self) -> Result<[u8; 32]> {
        let mut transaction = self.begin()?;
        let stored = transaction.get(Tree::Meta, b"decoy")?;
        if let Some(key) = stored.and_then(|key| <[u8; 32]>::try_from(key.as_ref()).ok()) {
            return Ok(key);
        }
        let key = tidemark_model::random_bytes::<32>();
        transaction.put_meta(b"decoy", &key);
        transaction.commit_to_disk()?;
        Ok(key)
    }

    /// Notes that a collection is loaded from here on without anybody waiting for the disk.
    pub(crate) fn note_loading(&self, collection: u32) {
        lock(&self.loading).insert(collection, self.reloads.load(Ordering::Acquire));
    }

    /// Refuses to go on with a collection of whose documents some may not have reached the disk.
    pub(crate) fn check_loaded(&self, collection: u32) -> Result<()> {
        let begun = lock(&self.loading).get(&collection).copied();
        if begun == Some(self.reloads.load(Ordering::Acquire)) {
            return Ok(());
        }
        let text = "documents of this collection did not reach the disk; drop it and load it again";
        Err(CommandError::new(Code::OutOfDiskSpace, text))
    }

    /// Forgets that a collection was being loaded.
    pub(crate) fn note_loaded(&self, collection: u32) {
        lock(&self.loading).remove(&collection);
    }

    /// How often the state was read from the store again after a failed commit.
    pub(crate) fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Acquire)
    }

    /// Begins a new term, as an election would: the first entry after every start.
    fn start_term(&self) -> Result<()> {
        let mut transaction = self.begin()?;
        let term = transaction.next_term();
        let message = if term == 1 { "initiating set" } else { "new primary" };
        transaction.log_noop(message);
        self.wait_durable(transaction.commit()?)
    }

    /// The present moment.
    pub(crate) fn view(&self) -> Result<View> {
        loop {
            let moment = self.store.moment()?;
            let published = self.published();
            if published.number == moment.number() {
                let catalog = Arc::clone(&published.catalog);
                return Ok(View { moment: Held::Own(moment), catalog, at: published.at });
            }
            // A commit is in the store and about to be published.
            drop(published);
            std::thread::yield_now();
        }
    }

    fn published(&self) -> std::sync::RwLockReadGuard<'_, Published> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last position that is on disk; what anybody may see.
    pub(crate) fn durable(&self) -> OplogTime {
        self.published().at
    }

    /// Tells readers of a commit; `None` where it changes nothing that they know by name.
    fn publish(&self, number: u64, change: Option<(Arc<Catalog>, OplogTime)>) {
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        published.number = number;
        if let Some((catalog, at)) = change {
            (published.catalog, published.at) = (catalog, at);
        }
    }

    /// The present moment, kept readable by its time for a while.
    pub(crate) fn pin_view(&self) -> Result<View> {
        loop {
            let view = self.view()?;
            // A commit may have come between the two.
            if self.pin(&view)? {
                return Ok(view);
            }
        }
    }

    /// Opens the moment of a view several times, so that several readers can have it at once.
    ///
    /// `false` if it is not the present one any more.
    fn pin(&self, view: &View) -> Result<bool> {
        if self.pins.renew(view.at) {
            return Ok(true);
        }
        let mut moments = Vec::new();
        while moments.len() < Pins::READERS {
            let moment = self.store.moment()?;
            if moment.number() != view.number() {
                break;
            }
            moments.push(moment);
        }
        let disk_bytes = self.store.usage()?.disk_bytes;
        let is_kept = !moments.is_empty();
        self.pins.keep((view.at, disk_bytes), Arc::clone(&view.catalog), moments);
        Ok(is_kept)
    }

    /// The moment `at`, if it is the present or was pinned.
    pub(crate) fn view_at(&self, at: OplogTime) -> Result<Option<View>> {
        if let Some((pooled, catalog)) = self.pins.borrow(at)? {
            return Ok(Some(View { moment: Held::Pooled(pooled), catalog, at }));
        }
        let view = self.view()?;
        if view.at > at {
            return Ok(None);
        }
        self.pin(&view)?;
        Ok((view.at == at).then_some(view))
    }

    /// Waits until something after `at` is durable, or until the time is over.
    pub(crate) fn wait_for_progress(&self, at: OplogTime, patience: Duration) {
        let state = lock(&self.durability);
        // What failed is behind the writers, but nobody sees it.
        let is_waiting = |_: &mut Durability| self.durable() <= at;
        let _ = self.progress.wait_timeout_while(state, patience, is_waiting);
    }
}

fn load_writer(moment: &Moment) -> Result<Writer> {
    let mut catalog = Catalog::default();
    let mut next_record = HashMap::new();
    let mut statistics = HashMap::new();
    let mut records = Vec::new();
    moment.visit(Tree::Meta, &Range::prefix(b"c"), Direction::Ascending, |_, value| {
        records.push(Collection::decode(value)?);
        Ok::<_, crate::error::CommandError>(true)
    })?;
    for collection in records {
        let last = moment.last_key(Tree::Documents, &documents_of(collection.id))?;
        let next = last.as_deref().and_then(record_of).map_or(1, |record| record + 1);
        next_record.insert(collection.id, next);
        let stored = moment.get(Tree::Meta, &meta_key(b'n', collection.id))?;
        statistics.insert(
            collection.id,
            stored.map_or_else(Statistics::default, |s| Statistics::decode(&s)),
        );
        catalog.put(Arc::new(collection));
    }
    let number = |key: &[u8]| -> Result<u64> {
        let value = moment.get(Tree::Meta, key)?;
        Ok(value.as_deref().and_then(record_of).unwrap_or(0))
    };
    let last = moment.last_key(Tree::Oplog, &Range::prefix(&[]))?;
    Ok(Writer {
        last: last
            .as_deref()
            .and_then(record_of)
            .map_or_else(OplogTime::default, OplogTime::from_u64),
        term: i64::try_from(number(b"term")?).unwrap_or(0),
        next_id: u32::try_from(number(b"id")?).unwrap_or(0).max(1),
        catalog: Arc::new(catalog),
        next_record,
        statistics,
        group: Batch::new(),
        reloads: 0,
    })
}

#[cfg(test)]
mod tests;

impl View {
    /// The document with this record number.
    pub(crate) fn document(
        &self,
        collection: u32,
        record: u64,
    ) -> Result<Option<std::borrow::Cow<'_, [u8]>>> {
        Ok(self.get(Tree::Documents, &document_key(collection, record))?)
    }

    /// How many documents a collection holds.
    pub(crate) fn statistics(&self, collection: u32) -> Result<Statistics> {
        let stored = self.get(Tree::Meta, &meta_key(b'n', collection))?;
        Ok(stored.map_or_else(Statistics::default, |bytes| Statistics::decode(&bytes)))
    }
}
