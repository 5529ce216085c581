//! The engine of one instance: its storage, its present state, and when writes are durable.
//!
//! Guarantees: writers are one at a time, so oplog entries become visible in their order and
//! without holes; a reader holds a `View`, one moment of everything; a write is acknowledged
//! after its commit was synced to disk, and waiting writers share one sync. What a crash leaves
//! is a prefix of the commits, each whole: the storage writes a commit atomically.

mod maintenance;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};
use tidemark_model::{Clock, OplogTime};

use crate::collections::{Catalog, Collection};
use crate::error::{CommandError, Result};

/// The trees of the storage.
#[derive(Clone)]
pub(crate) struct Keyspaces {
    /// `c` + collection id → collection record; `n` + collection id → count and bytes;
    /// `x` + id → what is to be purged; `term`, `id` → counters; `s` + session → last write.
    pub(crate) meta: Keyspace,
    /// Collection id, record number → document.
    pub(crate) documents: Keyspace,
    /// Index id, key, (record number unless unique) → record number.
    pub(crate) indexes: Keyspace,
    /// Oplog position → entry.
    pub(crate) oplog: Keyspace,
}

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
    pub(crate) snapshot: Snapshot,
    pub(crate) catalog: Arc<Catalog>,
    /// The last oplog entry that the view shows.
    pub(crate) at: OplogTime,
}

/// What only the one writer may touch.
pub(crate) struct Writer {
    pub(crate) last: OplogTime,
    pub(crate) term: i64,
    pub(crate) next_id: u32,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) next_record: HashMap<u32, u64>,
    pub(crate) statistics: HashMap<u32, Statistics>,
}

struct Durability {
    durable: OplogTime,
    is_syncing: bool,
    has_failed: bool,
}

/// The engine of one instance.
pub(crate) struct Engine {
    database: Database,
    pub(crate) keyspaces: Keyspaces,
    pub(crate) clock: Clock,
    writer: Mutex<Writer>,
    view: RwLock<Arc<View>>,
    durability: Mutex<Durability>,
    progress: Condvar,
    pinned: Mutex<BTreeMap<OplogTime, (Arc<View>, Instant)>>,
}

/// How long a snapshot read keeps its moment readable, MongoDB's default history window.
const HISTORY_WINDOW: Duration = Duration::from_mins(5);

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

/// The record number at the end of a document's key or an index entry's value.
pub(crate) fn record_of(bytes: &[u8]) -> Option<u64> {
    bytes.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere does not make the state wrong: it changes only after a commit.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Engine {
    /// Opens or creates the storage in `folder`.
    pub(crate) fn open(folder: &Path, clock: Clock) -> Result<Arc<Self>> {
        let database = Database::builder(folder).worker_threads(2).open()?;
        let open = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        let keyspaces = Keyspaces {
            meta: open("meta")?,
            documents: open("documents")?,
            indexes: open("indexes")?,
            oplog: open("oplog")?,
        };
        let snapshot = database.snapshot();
        let writer = load_writer(&snapshot, &keyspaces)?;
        let view = View { snapshot, catalog: Arc::clone(&writer.catalog), at: writer.last };
        let durable = writer.last;
        let engine = Arc::new(Self {
            database,
            keyspaces,
            clock,
            writer: Mutex::new(writer),
            view: RwLock::new(Arc::new(view)),
            durability: Mutex::new(Durability { durable, is_syncing: false, has_failed: false }),
            progress: Condvar::new(),
            pinned: Mutex::default(),
        });
        engine.start_term()?;
        Ok(engine)
    }

    /// Begins a new term, as an election would: the first entry after every start.
    fn start_term(&self) -> Result<()> {
        let mut transaction = self.begin();
        let term = transaction.next_term();
        let message = if term == 1 { "initiating set" } else { "new primary" };
        transaction.log_noop(message);
        self.wait_durable(transaction.commit()?)
    }

    /// The present moment.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// The present moment, kept readable by its time for a while.
    pub(crate) fn pin_view(&self) -> Arc<View> {
        let view = self.view();
        lock(&self.pinned).insert(view.at, (Arc::clone(&view), Instant::now()));
        view
    }

    /// The moment `at`, if it is the present or was pinned.
    pub(crate) fn view_at(&self, at: OplogTime) -> Option<Arc<View>> {
        let present = self.view();
        let mut pinned = lock(&self.pinned);
        if present.at <= at {
            pinned.insert(present.at, (Arc::clone(&present), Instant::now()));
            return (present.at == at).then_some(present);
        }
        let (view, last_used) = pinned.get_mut(&at)?;
        *last_used = Instant::now();
        Some(Arc::clone(view))
    }

    fn unpin_old_views(&self) {
        lock(&self.pinned).retain(|_, (_, last_used)| last_used.elapsed() < HISTORY_WINDOW);
    }

    pub(crate) fn publish(&self, catalog: Arc<Catalog>, at: OplogTime) {
        let view = Arc::new(View { snapshot: self.database.snapshot(), catalog, at });
        *self.view.write().unwrap_or_else(std::sync::PoisonError::into_inner) = view;
    }

    pub(crate) fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        lock(&self.writer)
    }

    pub(crate) fn batch(&self) -> fjall::OwnedWriteBatch {
        self.database.batch()
    }

    /// Waits until everything up to `at` is on disk.
    ///
    /// The first to wait syncs for all that have committed by then; the others wait for it. After
    /// a failed sync nobody knows what reached the disk, so every later write is refused.
    pub(crate) fn wait_durable(&self, at: OplogTime) -> Result<()> {
        let mut state = lock(&self.durability);
        loop {
            if state.has_failed {
                let text = "a write to the disk failed; restart this instance to see what it holds";
                return Err(CommandError::new(crate::error::Code::InternalError, text));
            }
            if state.durable >= at {
                return Ok(());
            }
            if state.is_syncing {
                state =
                    self.progress.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
                continue;
            }
            state.is_syncing = true;
            drop(state);
            let committed = self.view().at;
            let outcome = self.database.persist(PersistMode::SyncData);
            state = lock(&self.durability);
            state.is_syncing = false;
            match outcome {
                Ok(()) => state.durable = state.durable.max(committed),
                Err(error) => {
                    tracing::error!(%error, "syncing an instance's journal failed");
                    state.has_failed = true;
                }
            }
            self.progress.notify_all();
        }
    }

    /// The last position that is on disk; what a majority read may show.
    pub(crate) fn durable(&self) -> OplogTime {
        lock(&self.durability).durable
    }

    /// Waits until something after `at` is durable, or until the time is over.
    pub(crate) fn wait_for_progress(&self, at: OplogTime, patience: Duration) {
        let state = lock(&self.durability);
        let is_waiting = |state: &mut Durability| state.durable <= at && !state.has_failed;
        let _ = self.progress.wait_timeout_while(state, patience, is_waiting);
    }
}

fn load_writer(snapshot: &Snapshot, keyspaces: &Keyspaces) -> Result<Writer> {
    let mut catalog = Catalog::default();
    let mut next_record = HashMap::new();
    let mut statistics = HashMap::new();
    for entry in snapshot.prefix(&keyspaces.meta, b"c") {
        let collection = Collection::decode(&entry.value()?)?;
        let last = snapshot.prefix(&keyspaces.documents, collection.id.to_be_bytes()).next_back();
        let last = last.map(fjall::Guard::key).transpose()?;
        let next = last.as_deref().and_then(record_of).map_or(1, |record| record + 1);
        next_record.insert(collection.id, next);
        let stored = snapshot.get(&keyspaces.meta, meta_key(b'n', collection.id))?;
        statistics.insert(
            collection.id,
            stored.map_or_else(Statistics::default, |s| Statistics::decode(&s)),
        );
        catalog.put(Arc::new(collection));
    }
    let number = |key: &[u8]| -> Result<u64> {
        let value = snapshot.get(&keyspaces.meta, key)?;
        Ok(value.as_deref().and_then(record_of).unwrap_or(0))
    };
    let last = snapshot.last_key_value(&keyspaces.oplog).map(fjall::Guard::key).transpose()?;
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
    })
}

impl View {
    /// The document with this record number.
    pub(crate) fn document(
        &self,
        keyspaces: &Keyspaces,
        collection: u32,
        record: u64,
    ) -> Result<Option<fjall::Slice>> {
        Ok(self.snapshot.get(&keyspaces.documents, document_key(collection, record))?)
    }

    /// How many documents a collection holds.
    pub(crate) fn statistics(&self, keyspaces: &Keyspaces, collection: u32) -> Result<Statistics> {
        let stored = self.snapshot.get(&keyspaces.meta, meta_key(b'n', collection))?;
        Ok(stored.map_or_else(Statistics::default, |bytes| Statistics::decode(&bytes)))
    }
}
