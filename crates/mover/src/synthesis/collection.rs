//! Applying entries to one collection in the vault.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use bson::raw::RawDocument;
use bson::{Bson, Document};
use tidemark_vault::{
    ChunkList, ChunkRef, Chunker, CollectionManifest, DocumentSet, ListItem, Vault,
};
use tidemark_wire::{DocumentRun, OplogEntry, OplogOperation, encode_document};

use crate::chunk_store::{ChunkSequence, ChunkStore};
use crate::error::MoverError;
use crate::order::compare;
use crate::replay::{apply, id_of, key_of, position};

/// What is left of a changed chunk goes on in the next one if it is smaller: many changes must not leave
/// many small chunks.
const SMALLEST_REST: usize = 16 * 1024;

/// The entries of one collection, by the document that they change.
pub(super) struct Changes<'a> {
    namespace: &'a str,
    by_key: HashMap<Vec<u8>, Vec<&'a OplogEntry>>,
}

impl<'a> Changes<'a> {
    pub(super) fn new(namespace: &'a str, entries: &'a [OplogEntry]) -> Result<Self, MoverError> {
        let mut by_key: HashMap<Vec<u8>, Vec<&OplogEntry>> = HashMap::new();
        for entry in entries {
            if let Some(id) = id_of(&entry.operation) {
                by_key.entry(key_of(id)).or_default().push(entry);
            }
        }
        Ok(Self { namespace, by_key })
    }

    /// In the order of `_id`, if all of them have one.
    fn sorted(&self) -> Option<Vec<(Bson, Vec<u8>)>> {
        let id = |entries: &Vec<&OplogEntry>| {
            entries.first().and_then(|entry| id_of(&entry.operation)).cloned()
        };
        let mut all = Vec::with_capacity(self.by_key.len());
        for (key, entries) in &self.by_key {
            all.push((id(entries)?, key.clone()));
        }
        let first = all.first()?.0.clone();
        if all.iter().any(|(id, _)| compare(&first, id).is_none()) {
            return None;
        }
        all.sort_by(|(a, _), (b, _)| compare(a, b).unwrap_or(Ordering::Equal));
        Some(all)
    }

    /// Takes the entries on one document out; answers what the document is after them.
    fn take(
        &mut self,
        key: &[u8],
        before: Option<&RawDocument>,
    ) -> Result<Option<Document>, MoverError> {
        let entries = self.by_key.remove(key).unwrap_or_default();
        let decode = |raw: &RawDocument| Document::try_from(raw);
        let mut present = match before.map(decode) {
            None => None,
            Some(Ok(document)) => Some(document),
            Some(Err(error)) => return Err(self.strange(error.to_string())),
        };
        for entry in entries {
            self.check(entry, present.is_some())?;
            present = apply(entry, present)?;
        }
        Ok(present)
    }

    /// Refuses an entry that does not fit to what is there.
    fn check(&self, entry: &OplogEntry, is_there: bool) -> Result<(), MoverError> {
        let fits = match entry.operation {
            OplogOperation::Insert(_) => !is_there,
            OplogOperation::Update { .. } | OplogOperation::Delete(_) => is_there,
            OplogOperation::Command(_) | OplogOperation::Noop => true,
        };
        if fits {
            return Ok(());
        }
        let state = if is_there { "there already" } else { "not there" };
        Err(self.strange(format!("{} is about a document that is {state}", position(entry.ts))))
    }

    fn strange(&self, what: String) -> MoverError {
        MoverError::Synthesis { what: format!("{}: {what}", self.namespace) }
    }
}

/// Asked with documents and bytes that were read; may end the work.
type Watch<'a> = &'a mut dyn FnMut(u64, u64) -> Result<(), MoverError>;

/// Applies changes to a collection.
pub(super) fn change(
    (vault, store): (&Vault, &ChunkStore),
    collection: &mut CollectionManifest,
    changes: Changes<'_>,
    mut watch: impl FnMut(u64, u64) -> Result<(), MoverError>,
) -> Result<(), MoverError> {
    let mut old = std::mem::take(&mut collection.chunks).items;
    let sorted = changes.sorted().filter(|_| collection.is_sorted);
    let sorted = match sorted {
        Some(ids) if has_bounds(vault, &old, ids.first())? => Some(ids),
        _ => None,
    };
    let mut rewriter = Rewriter {
        vault,
        store,
        sequence: store.list(),
        chunker: Chunker::new(),
        content: collection.content,
        changes,
        watch: &mut watch,
    };
    collection.is_sorted = sorted.is_some();
    match sorted {
        Some(ids) => rewriter.change_in_order(&mut old, ids)?,
        None => rewriter.change_anywhere(&mut old)?,
    }
    (collection.content, collection.chunks) = rewriter.finish()?;
    Ok(())
}

/// Whether the bounds of all chunks compare with the `_id`s that change.
fn has_bounds(
    vault: &Vault,
    items: &[ListItem],
    id: Option<&(Bson, Vec<u8>)>,
) -> Result<bool, MoverError> {
    let Some((id, _)) = id else { return Ok(true) };
    for item in items {
        let bounds = vault.load_item(item)?;
        if bounds.iter().any(|chunk| compare(id, &chunk.first_id).is_none()) {
            return Ok(false);
        }
    }
    Ok(true)
}

struct Rewriter<'a> {
    vault: &'a Vault,
    store: &'a ChunkStore,
    sequence: ChunkSequence,
    chunker: Chunker,
    content: DocumentSet,
    changes: Changes<'a>,
    watch: Watch<'a>,
}

impl Rewriter<'_> {
    /// Where documents are in order: only chunks that hold one that changes are read.
    fn change_in_order(
        &mut self,
        items: &mut Vec<ListItem>,
        ids: Vec<(Bson, Vec<u8>)>,
    ) -> Result<(), MoverError> {
        let mut ids = ids.into_iter().peekable();
        let mut waiting: Option<ChunkRef> = None;
        for item in items.drain(..) {
            for next in self.vault.load_item(&item)? {
                if let Some(chunk) = waiting.replace(next) {
                    let end = waiting.as_ref().map(|next| next.first_id.clone());
                    let is_before = |(id, _): &(Bson, Vec<u8>)| {
                        end.as_ref().and_then(|end| compare(id, end)) == Some(Ordering::Less)
                    };
                    let mut here = Vec::new();
                    while let Some(id) = ids.next_if(is_before) {
                        here.push(id);
                    }
                    self.change_chunk(chunk, here, false)?;
                }
            }
        }
        let rest: Vec<_> = ids.collect();
        match waiting {
            Some(chunk) => self.change_chunk(chunk, rest, true),
            None => self.merge(&[], rest),
        }
    }

    /// Changes what belongs into the range of one chunk, or keeps it as it is.
    fn change_chunk(
        &mut self,
        chunk: ChunkRef,
        ids: Vec<(Bson, Vec<u8>)>,
        is_last: bool,
    ) -> Result<(), MoverError> {
        if ids.is_empty() && self.chunker.rest_bytes() == 0 {
            return self.keep(chunk);
        }
        let documents = self.read(&chunk)?;
        self.merge(&documents, ids)?;
        if is_last || self.chunker.rest_bytes() >= SMALLEST_REST { self.cut() } else { Ok(()) }
    }

    /// Puts documents and changes, both in their order, together.
    fn merge(&mut self, documents: &[u8], ids: Vec<(Bson, Vec<u8>)>) -> Result<(), MoverError> {
        let mut ids = ids.into_iter().peekable();
        for document in DocumentRun::new(documents) {
            let document = document.map_err(|error| self.changes.strange(error.to_string()))?;
            let there = id(document).ok_or_else(|| {
                self.changes.strange("a document of the snapshot has no _id".to_owned())
            })?;
            let is_before = |(id, _): &(Bson, Vec<u8>)| compare(id, &there) == Some(Ordering::Less);
            while let Some((_, key)) = ids.next_if(is_before) {
                self.put_changed(&key, None)?;
            }
            let is_here = |(id, _): &(Bson, Vec<u8>)| compare(id, &there) == Some(Ordering::Equal);
            match ids.next_if(is_here) {
                Some((_, key)) => self.put_changed(&key, Some(document))?,
                None => self.put(document.as_bytes())?,
            }
        }
        ids.try_for_each(|(_, key)| self.put_changed(&key, None))
    }

    /// Where documents are in no order: all chunks are looked at, and what is new comes last.
    fn change_anywhere(&mut self, items: &mut Vec<ListItem>) -> Result<(), MoverError> {
        let mut last: Option<ChunkRef> = None;
        for item in items.drain(..) {
            for next in self.vault.load_item(&item)? {
                if let Some(chunk) = last.replace(next) {
                    self.change_found(chunk, false)?;
                }
            }
        }
        // New documents follow those of the last chunk: it is cut anew where it would have been.
        let has_new = self.changes.by_key.values().any(|entries| {
            entries.first().is_some_and(|e| matches!(e.operation, OplogOperation::Insert(_)))
        });
        if let Some(chunk) = last {
            self.change_found(chunk, has_new)?;
        }
        // In the order in which they were written.
        let mut new = BTreeMap::new();
        for (key, entries) in &self.changes.by_key {
            let first = entries.first().map(|entry| (entry.ts.time, entry.ts.increment));
            new.insert((first, key.clone()), key.clone());
        }
        new.into_values().try_for_each(|key| self.put_changed(&key, None))?;
        self.cut()
    }

    /// Changes the documents of a chunk that change, or keeps it as it is.
    fn change_found(&mut self, chunk: ChunkRef, is_open: bool) -> Result<(), MoverError> {
        let documents = self.read(&chunk)?;
        let found = |document: &RawDocument| {
            id(document).map(|id| key_of(&id)).filter(|key| self.changes.by_key.contains_key(key))
        };
        let mut keys = Vec::new();
        for document in DocumentRun::new(&documents) {
            let document = document.map_err(|error| self.changes.strange(error.to_string()))?;
            keys.push(found(document));
        }
        if !is_open && self.chunker.rest_bytes() == 0 && keys.iter().all(Option::is_none) {
            return self.keep(chunk);
        }
        for (document, key) in DocumentRun::new(&documents).flatten().zip(keys) {
            match key {
                Some(key) => self.put_changed(&key, Some(document))?,
                None => self.put(document.as_bytes())?,
            }
        }
        if is_open || self.chunker.rest_bytes() < SMALLEST_REST { Ok(()) } else { self.cut() }
    }

    fn read(&mut self, chunk: &ChunkRef) -> Result<Vec<u8>, MoverError> {
        (self.watch)(u64::from(chunk.documents), u64::from(chunk.bytes))?;
        Ok(self.vault.read_chunk(chunk.id)?)
    }

    fn keep(&mut self, chunk: ChunkRef) -> Result<(), MoverError> {
        self.sequence.keep(self.store.writer(), chunk)
    }

    /// Puts what a document is after its entries, and keeps account of the content.
    fn put_changed(&mut self, key: &[u8], before: Option<&RawDocument>) -> Result<(), MoverError> {
        let after = self.changes.take(key, before)?;
        if let Some(before) = before {
            self.content.remove(before.as_bytes());
        }
        let Some(after) = after else { return Ok(()) };
        let bytes = encode_document(&after);
        self.content.add(&bytes);
        self.put(&bytes)
    }

    fn put(&mut self, document: &[u8]) -> Result<(), MoverError> {
        match self.chunker.push(document) {
            Some(chunk) => self.sequence.push(chunk),
            None => Ok(()),
        }
    }

    /// Ends the chunk that is being filled.
    fn cut(&mut self) -> Result<(), MoverError> {
        match self.chunker.finish() {
            Some(chunk) => self.sequence.push(chunk),
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Result<(DocumentSet, ChunkList), MoverError> {
        self.cut()?;
        Ok((self.content, self.sequence.finish(self.store.writer())?))
    }
}

fn id(document: &RawDocument) -> Option<Bson> {
    document.get("_id").ok()??.try_into().ok()
}
