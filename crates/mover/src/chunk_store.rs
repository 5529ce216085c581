//! Storing chunks on threads of their own, so that one collection uses all cores.
//!
//! Reading and cutting is one thread's work for each collection; naming, compressing and encrypting
//! is what costs. At most `WAITING` chunks wait, whatever the size of the data.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bson::Bson;
use bson::raw::RawDocument;
use tidemark_vault::{ChunkList, ChunkRef, ListWriter, RawChunk, SnapshotWriter, VaultError};

use crate::error::MoverError;

/// Chunks that wait for a thread.
const WAITING: usize = 16;

/// The threads that store the chunks of one snapshot.
pub(crate) struct ChunkStore {
    jobs: SyncSender<Job>,
    threads: Vec<JoinHandle<()>>,
    writer: Arc<SnapshotWriter>,
}

/// Where the references of one collection's chunks come together.
pub(crate) struct ChunkSequence {
    jobs: SyncSender<Job>,
    stored: Arc<Stored>,
    sent: usize,
}

struct Job {
    chunk: RawChunk,
    position: usize,
    stored: Arc<Stored>,
}

#[derive(Default)]
struct Stored {
    /// Held for putting references into the list, at longest while a full part of it is stored.
    state: Mutex<State>,
    progress: Condvar,
}

#[derive(Default)]
struct State {
    /// References that came before one that is due first; no more than chunks are in work.
    early: BTreeMap<usize, ChunkRef>,
    list: ListWriter,
    /// How many references are in the list.
    done: usize,
    error: Option<VaultError>,
    /// What a thread panicked with; whoever waits for it goes on with the panic.
    panic: Option<Box<dyn Any + Send>>,
}

impl State {
    /// Puts a reference where it belongs, and those that waited for it.
    fn take(
        &mut self,
        writer: &SnapshotWriter,
        (position, reference): (usize, ChunkRef),
    ) -> Result<(), VaultError> {
        self.early.insert(position, reference);
        while let Some(next) = self.early.remove(&self.done) {
            self.list.push(writer, next)?;
            self.done += 1;
        }
        Ok(())
    }

    fn has_failed(&self) -> bool {
        self.error.is_some() || self.panic.is_some()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ChunkStore {
    /// A thread for each core.
    pub(crate) fn start(writer: SnapshotWriter) -> Self {
        let writer = Arc::new(writer);
        let (jobs, waiting) = sync_channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = (0..cores).map(|_| {
            let (writer, waiting) = (Arc::clone(&writer), Arc::clone(&waiting));
            std::thread::spawn(move || store_all(&writer, &waiting))
        });
        Self { jobs, threads: threads.collect(), writer }
    }

    /// Who writes the chunks.
    pub(crate) fn writer(&self) -> &SnapshotWriter {
        &self.writer
    }

    /// A list for the chunks of one collection.
    pub(crate) fn list(&self) -> ChunkSequence {
        ChunkSequence { jobs: self.jobs.clone(), stored: Arc::default(), sent: 0 }
    }

    /// Ends the threads; all lists must be finished.
    pub(crate) fn finish(self) -> Result<SnapshotWriter, MoverError> {
        drop(self.jobs);
        for thread in self.threads {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
        Arc::into_inner(self.writer).ok_or(MoverError::Stopped)
    }
}

fn store_all(writer: &SnapshotWriter, waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = lock(waiting).recv();
        let Ok(Job { chunk, position, stored }) = job else { return };
        let outcome = catch_unwind(AssertUnwindSafe(|| store(writer, &chunk)));
        let mut state = lock(&stored.state);
        // A full part of the list is stored while this one list is held.
        let outcome = outcome
            .map(|stored| stored.and_then(|reference| state.take(writer, (position, reference))));
        match outcome {
            Err(panic) => drop(state.panic.get_or_insert(panic)),
            Ok(Err(error)) => drop(state.error.get_or_insert(error)),
            Ok(Ok(())) => {}
        }
        drop(state);
        stored.progress.notify_all();
    }
}

fn store(writer: &SnapshotWriter, chunk: &RawChunk) -> Result<ChunkRef, VaultError> {
    let id = writer.put_chunk(chunk)?;
    let (first_id, last_id) = bounds(&chunk.bytes);
    let bytes = u32::try_from(chunk.bytes.len()).unwrap_or(u32::MAX);
    Ok(ChunkRef { id, documents: chunk.documents, bytes, first_id, last_id })
}

impl ChunkSequence {
    /// Sends a chunk to be stored; waits while too many wait.
    pub(crate) fn push(&mut self, chunk: RawChunk) -> Result<(), MoverError> {
        if let Some(error) = lock(&self.stored.state).error.take() {
            return Err(error.into());
        }
        let job = Job { chunk, position: self.sent, stored: Arc::clone(&self.stored) };
        self.sent += 1;
        self.jobs.send(job).map_err(|_| MoverError::Stopped)
    }

    /// Puts a chunk that the vault has behind those that were sent.
    pub(crate) fn keep(
        &mut self,
        writer: &SnapshotWriter,
        chunk: ChunkRef,
    ) -> Result<(), MoverError> {
        writer.keep_chunk(chunk.id)?;
        let mut state = lock(&self.stored.state);
        state.take(writer, (self.sent, chunk))?;
        self.sent += 1;
        Ok(())
    }

    /// The list of all chunks in their order, once all are stored.
    pub(crate) fn finish(self, writer: &SnapshotWriter) -> Result<ChunkList, MoverError> {
        let mut state = lock(&self.stored.state);
        while state.done < self.sent && !state.has_failed() {
            state = self.stored.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(panic) = state.panic.take() {
            drop(state);
            resume_unwind(panic);
        }
        if let Some(error) = state.error.take() {
            return Err(error.into());
        }
        let list = std::mem::take(&mut state.list);
        drop(state);
        Ok(list.finish(writer)?)
    }
}

/// No larger `_id` is recorded: lists of chunks must stay small.
const LARGEST_BOUND_BYTES: usize = 1_024;

/// The `_id` of the first and of the last document; null for one that is large.
fn bounds(documents: &[u8]) -> (Bson, Bson) {
    let id = |document: &RawDocument| -> Option<Bson> {
        let id: Bson = document.get("_id").ok()??.try_into().ok()?;
        let bytes = tidemark_wire::encode_document(&bson::doc! { "": &id });
        (bytes.len() <= LARGEST_BOUND_BYTES).then_some(id)
    };
    let mut run = tidemark_wire::DocumentRun::new(documents).flatten();
    let first = run.next();
    let last = run.last().or(first);
    (first.and_then(id).unwrap_or(Bson::Null), last.and_then(id).unwrap_or(Bson::Null))
}
