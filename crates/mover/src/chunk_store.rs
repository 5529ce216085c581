//! Storing chunks on threads of their own, so that one collection uses all cores.
//!
//! Reading and cutting is one thread's work for each collection; naming, compressing and encrypting
//! is what costs. At most `WAITING` chunks wait, whatever the size of the data.

use std::any::Any;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bson::Bson;
use bson::raw::RawDocument;
use tidemark_vault::{
    ChunkList, ChunkRef, Extent, ListWriter, RawChunk, SnapshotWriter, VaultError,
};

use crate::error::MoverError;
use crate::order::compare;

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
    let (first_id, last_id, extent) = bounds(&chunk.bytes);
    let bytes = u32::try_from(chunk.bytes.len()).unwrap_or(u32::MAX);
    Ok(ChunkRef { id, documents: chunk.documents, bytes, first_id, last_id, extent })
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

/// The `_id` of the first and of the last document, null for one that is large; and between which they all
/// are.
fn bounds(documents: &[u8]) -> (Bson, Bson, Extent) {
    let (mut first, mut last): (Option<Bson>, Bson) = (None, Bson::Null);
    // The least and the greatest, as long as all of them compare.
    let mut ends: Option<(Bson, Bson)> = None;
    let mut is_ordered = true;
    for document in tidemark_wire::DocumentRun::new(documents).flatten() {
        let id = small_id(document).unwrap_or(Bson::Null);
        ends = match ends.filter(|_| is_ordered) {
            None if first.is_none() => Some((id.clone(), id.clone())),
            None => None,
            Some((least, greatest)) => match (compare(&id, &least), compare(&id, &greatest)) {
                (Some(Ordering::Less), _) => Some((id.clone(), greatest)),
                (_, Some(Ordering::Greater)) => Some((least, id.clone())),
                (Some(_), Some(_)) => Some((least, greatest)),
                _ => None,
            },
        };
        is_ordered = ends.is_some();
        first.get_or_insert_with(|| id.clone());
        last = id;
    }
    let first = first.unwrap_or(Bson::Null);
    let extent = match ends {
        // One that compares with nothing is no bound.
        Some((least, _)) if compare(&least, &least).is_none() => Extent::Unknown,
        Some((least, greatest)) if (&least, &greatest) == (&first, &last) => Extent::Ends,
        Some(ends) => Extent::Between(Box::new(ends)),
        None => Extent::Unknown,
    };
    (first, last, extent)
}

fn small_id(document: &RawDocument) -> Option<Bson> {
    let id: Bson = document.get("_id").ok()??.try_into().ok()?;
    let is_small = match &id {
        Bson::ObjectId(_) | Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) => true,
        id => tidemark_wire::encode_document(&bson::doc! { "": id }).len() <= LARGEST_BOUND_BYTES,
    };
    is_small.then_some(id)
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn bounds_of(ids: &[Bson]) -> (Bson, Bson, Extent) {
        let documents: Vec<u8> =
            ids.iter().flat_map(|id| doc! { "_id": id, "a": 1 }.to_vec().unwrap()).collect();
        bounds(&documents)
    }

    #[test]
    fn bounds_say_between_which_ids_all_documents_are() {
        let numbers = |numbers: &[i32]| numbers.iter().map(|n| Bson::Int32(*n)).collect::<Vec<_>>();
        let (one, five, nine) = (Bson::Int32(1), Bson::Int32(5), Bson::Int32(9));
        assert_eq!(bounds_of(&numbers(&[1, 5, 9])), (one.clone(), nine.clone(), Extent::Ends));
        let between = Extent::Between(Box::new((one.clone(), nine.clone())));
        assert_eq!(bounds_of(&numbers(&[5, 9, 1, 5])), (five.clone(), five, between));
        assert_eq!(bounds_of(std::slice::from_ref(&one)), (one.clone(), one.clone(), Extent::Ends));
        let text = Bson::String("x".into());
        assert_eq!(bounds_of(&[one.clone(), text, nine.clone()]), (one, nine, Extent::Unknown));
        let date = Bson::DateTime(bson::DateTime::MIN);
        assert_eq!(bounds_of(std::slice::from_ref(&date)), (date.clone(), date, Extent::Unknown));
        let long = Bson::String("x".repeat(2_000));
        assert_eq!(bounds_of(&[long]), (Bson::Null, Bson::Null, Extent::Unknown));
    }
}
