//! What is different between two snapshots of one instance, found in the vault.
//!
//! Equal chunks have equal names, and are not read: what did not change costs nothing. Where documents are
//! in the order of their `_id` on both sides, the rest is merged, with two chunks in memory. Elsewhere
//! documents of the chunks that only one side has are matched by their `_id`, in passes of
//! [`PASS_BYTES`] bytes.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use bson::raw::RawDocumentBuf;
use bson::{Bson, Document};
use tidemark_vault::{ChunkId, ChunkRef, CollectionManifest, ListItem, Manifest, Vault};
use tidemark_wire::DocumentRun;

use crate::error::MoverError;
use crate::order::compare;
use crate::replay::key_of;
use crate::stop::Stop;

/// Bytes of documents that are matched at a time where they are in no order.
const PASS_BYTES: u64 = 128 << 20;
/// Names of chunks that are held where documents are in no order: 160 MB of them.
const MOST_CHUNKS: u64 = 4_000_000;

/// What became of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceDifference {
    /// The namespace.
    pub namespace: String,
    /// Whether it is there on each side.
    pub is_there: (bool, bool),
    /// Documents that are on the second side only.
    pub added: u64,
    /// Documents that are on the first side only.
    pub removed: u64,
    /// Documents that are not the same on both.
    pub changed: u64,
    /// Chunks of both sides that have the same name, and were not read.
    pub chunks_equal: u64,
    /// Chunks that were read.
    pub chunks_read: u64,
    /// What else is different, as `its options`.
    pub also: Vec<String>,
}

impl NamespaceDifference {
    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.is_there == (true, true)
            && (self.added, self.removed, self.changed) == (0, 0, 0)
            && self.also.is_empty()
    }
}

/// A document that is different.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentDifference {
    /// As it is on the first side.
    pub before: Option<RawDocumentBuf>,
    /// As it is on the second side.
    pub after: Option<RawDocumentBuf>,
}

/// What is told of documents; may end the work with an error.
type Tell<'a> = &'a mut dyn FnMut(&str, DocumentDifference) -> Result<(), MoverError>;

/// Compares one namespace after another; those for which `is_wanted` holds.
pub fn compare_snapshots(
    vault: &Vault,
    (before, after): (&Manifest, &Manifest),
    is_wanted: impl Fn(&str) -> bool,
    (stop, tell): (&Stop, Tell<'_>),
    mut each: impl FnMut(NamespaceDifference) -> Result<(), MoverError>,
) -> Result<(), MoverError> {
    for manifest in [before, after] {
        if !manifest.oplog.is_empty() {
            return Err(MoverError::Lookup {
                what: format!(
                    "documents of snapshot {} were read while they changed, and only with its oplog they are of one moment: compare moments instead",
                    manifest.snapshot
                ),
            });
        }
    }
    let mut pairs: BTreeMap<String, [Option<&CollectionManifest>; 2]> = BTreeMap::new();
    for (side, manifest) in [before, after].into_iter().enumerate() {
        for collection in &manifest.collections {
            let pair = pairs.entry(collection.namespace()).or_default();
            if let Some(place) = pair.get_mut(side) {
                *place = Some(collection);
            }
        }
    }
    for (namespace, [before, after]) in pairs {
        if !is_wanted(&namespace) {
            continue;
        }
        stop.check()?;
        let comparison = Comparison::new(vault, &namespace, (before, after), stop);
        each(comparison.run(before, after, tell)?)?;
    }
    Ok(())
}

struct Comparison<'a> {
    vault: &'a Vault,
    namespace: &'a str,
    stop: &'a Stop,
    found: NamespaceDifference,
}

impl<'a> Comparison<'a> {
    fn new(
        vault: &'a Vault,
        namespace: &'a str,
        (before, after): (Option<&CollectionManifest>, Option<&CollectionManifest>),
        stop: &'a Stop,
    ) -> Self {
        let found = NamespaceDifference {
            namespace: namespace.to_owned(),
            is_there: (before.is_some(), after.is_some()),
            added: 0,
            removed: 0,
            changed: 0,
            chunks_equal: 0,
            chunks_read: 0,
            also: Vec::new(),
        };
        Self { vault, namespace, stop, found }
    }

    fn run(
        mut self,
        before: Option<&CollectionManifest>,
        after: Option<&CollectionManifest>,
        tell: Tell<'_>,
    ) -> Result<NamespaceDifference, MoverError> {
        if let (Some(before), Some(after)) = (before, after) {
            self.found.also = different_settings(before, after);
            if before.content == after.content {
                // The same hash of all documents: the same documents.
                return Ok(self.found);
            }
        }
        let items = |side: Option<&CollectionManifest>| -> VecDeque<ListItem> {
            side.into_iter().flat_map(|found| found.chunks.items.iter().cloned()).collect()
        };
        let is_sorted = [before, after].into_iter().flatten().all(|found| found.is_sorted);
        if is_sorted && self.are_comparable(before, after)? {
            let (a, b) = (Side::new(items(before)), Side::new(items(after)));
            self.merge(a, b, tell)?;
        } else {
            self.match_by_id(before, after, tell)?;
        }
        Ok(self.found)
    }

    /// Whether the bounds of the chunks that differ have one order. Parts that both sides have are not loaded:
    /// merging leaves them out, too.
    fn are_comparable(
        &self,
        before: Option<&CollectionManifest>,
        after: Option<&CollectionManifest>,
    ) -> Result<bool, MoverError> {
        let parts_of = |side: Option<&CollectionManifest>| -> HashSet<ChunkId> {
            let items = side.into_iter().flat_map(|side| &side.chunks.items);
            let part = |item: &ListItem| match item {
                ListItem::Part(part) => Some(part.id),
                ListItem::Chunk(_) => None,
            };
            items.filter_map(part).collect()
        };
        let (ours, theirs) = (parts_of(before), parts_of(after));
        let is_shared = |item: &&ListItem| match item {
            ListItem::Part(part) => ours.contains(&part.id) && theirs.contains(&part.id),
            ListItem::Chunk(_) => false,
        };
        let items = [before, after].into_iter().flatten().flat_map(|side| &side.chunks.items);
        let mut first: Option<Bson> = None;
        for item in items.filter(|item| !is_shared(item)) {
            for chunk in self.vault.load_item(item)? {
                let first = first.get_or_insert_with(|| chunk.first_id.clone());
                let is_of_it = |end: &Bson| compare(first, end).is_some();
                if !is_of_it(&chunk.first_id) || !is_of_it(&chunk.last_id) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Merges what differs, in the order of `_id`.
    fn merge(&mut self, mut a: Side, mut b: Side, tell: Tell<'_>) -> Result<(), MoverError> {
        loop {
            if a.documents.is_empty() && b.documents.is_empty() {
                if !self.advance(&mut a, &mut b)? {
                    return Ok(());
                }
                continue;
            }
            // A document whose other half may be in a chunk that is not read yet waits for that.
            if self.read_up_to(&mut a, &b)? || self.read_up_to(&mut b, &a)? {
                continue;
            }
            let order = match (a.documents.front(), b.documents.front()) {
                (Some((a, _)), Some((b, _))) => order(a, b)?,
                (Some(_), None) => Ordering::Less,
                _ => Ordering::Greater,
            };
            let before = if order.is_le() { a.documents.pop_front() } else { None };
            let after = if order.is_ge() { b.documents.pop_front() } else { None };
            self.note(before.map(|(_, d)| d), after.map(|(_, d)| d), tell)?;
        }
    }

    /// Goes on where no document waits: over what is equal, or into the next chunk. Answers whether there
    /// was anything.
    fn advance(&mut self, a: &mut Side, b: &mut Side) -> Result<bool, MoverError> {
        self.stop.check()?;
        if let Some(chunks) = a.skips_part(b) {
            self.found.chunks_equal += chunks;
            return Ok(true);
        }
        let (next_a, next_b) = (a.next_chunk(self.vault)?, b.next_chunk(self.vault)?);
        let order = match (next_a, next_b) {
            (None, None) => return Ok(false),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) if a.id == b.id => {
                self.found.chunks_equal += 1;
                Ordering::Equal
            }
            (Some(a), Some(b)) => match order(&a.first_id, &b.first_id)? {
                // One after the other: both may hold the same documents.
                Ordering::Equal => Ordering::Less,
                order => order,
            },
        };
        match order {
            Ordering::Equal => {
                a.chunks.pop_front();
                b.chunks.pop_front();
            }
            Ordering::Less => self.read(a)?,
            Ordering::Greater => self.read(b)?,
        }
        Ok(true)
    }

    /// Reads the next chunk of a side without documents if it may hold the first one that waits on the
    /// other side.
    fn read_up_to(&mut self, side: &mut Side, other: &Side) -> Result<bool, MoverError> {
        let Some((id, _)) = other.documents.front().filter(|_| side.documents.is_empty()) else {
            return Ok(false);
        };
        let Some(chunk) = side.next_chunk(self.vault)? else { return Ok(false) };
        if order(&chunk.first_id, id)?.is_gt() {
            return Ok(false);
        }
        self.read(side)?;
        Ok(true)
    }

    fn read(&mut self, side: &mut Side) -> Result<(), MoverError> {
        self.stop.check()?;
        let Some(chunk) = side.chunks.pop_front() else { return Ok(()) };
        self.found.chunks_read += 1;
        side.documents.extend(self.documents_of(chunk.id)?);
        Ok(())
    }

    fn documents_of(&self, chunk: ChunkId) -> Result<Vec<(Bson, RawDocumentBuf)>, MoverError> {
        let bytes = self.vault.read_chunk(chunk)?;
        let damaged = |what: String| MoverError::Lookup {
            what: format!("a chunk of {} is damaged: {what}", self.namespace),
        };
        let documents = DocumentRun::new(&bytes).map(|document| {
            let document = document.map_err(|error| damaged(error.to_string()))?;
            let id = document.get("_id").map_err(|error| damaged(error.to_string()))?;
            let id = id.map(Bson::try_from).transpose();
            let id = id.map_err(|error| damaged(error.to_string()))?.unwrap_or(Bson::Null);
            Ok((id, document.to_owned()))
        });
        documents.collect()
    }

    fn note(
        &mut self,
        before: Option<RawDocumentBuf>,
        after: Option<RawDocumentBuf>,
        tell: Tell<'_>,
    ) -> Result<(), MoverError> {
        let count = match (&before, &after) {
            (Some(before), Some(after)) if before == after => return Ok(()),
            (Some(_), Some(_)) => &mut self.found.changed,
            (Some(_), None) => &mut self.found.removed,
            (None, _) => &mut self.found.added,
        };
        *count += 1;
        tell(self.namespace, DocumentDifference { before, after })
    }

    /// Where documents are in no order: matches those of chunks that one side has alone.
    fn match_by_id(
        &mut self,
        before: Option<&CollectionManifest>,
        after: Option<&CollectionManifest>,
        tell: Tell<'_>,
    ) -> Result<(), MoverError> {
        let (a, b) = (self.chunks_of(before)?, self.chunks_of(after)?);
        let names = |chunks: &[NamedChunk]| -> HashSet<ChunkId> {
            chunks.iter().map(|(id, _)| *id).collect()
        };
        let (in_a, in_b) = (names(&a), names(&b));
        let only = |chunks: Vec<NamedChunk>, other: &HashSet<ChunkId>| -> Vec<NamedChunk> {
            chunks.into_iter().filter(|(id, _)| !other.contains(id)).collect()
        };
        self.found.chunks_equal = in_a.intersection(&in_b).count() as u64;
        let (a, b) = (only(a, &in_b), only(b, &in_a));
        self.found.chunks_read = (a.len() + b.len()) as u64;
        let bytes: u64 = a.iter().map(|(_, bytes)| u64::from(*bytes)).sum();
        let passes = bytes / PASS_BYTES + 1;
        for pass in 0..passes {
            self.match_pass((&a, &b), (pass, passes), tell)?;
        }
        Ok(())
    }

    fn match_pass(
        &mut self,
        (a, b): (&[NamedChunk], &[NamedChunk]),
        (pass, passes): (u64, u64),
        tell: Tell<'_>,
    ) -> Result<(), MoverError> {
        let is_of_pass = |key: &[u8]| {
            let hash = blake3::hash(key);
            let (first, _) = hash.as_bytes().split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
            u64::from_le_bytes(*first) % passes == pass
        };
        let mut waiting: HashMap<Vec<u8>, RawDocumentBuf> = HashMap::new();
        for (chunk, _) in a {
            self.stop.check()?;
            for (id, document) in self.documents_of(*chunk)? {
                let key = key_of(&id);
                if is_of_pass(&key) {
                    waiting.insert(key, document);
                }
            }
        }
        for (chunk, _) in b {
            self.stop.check()?;
            for (id, document) in self.documents_of(*chunk)? {
                let key = key_of(&id);
                if is_of_pass(&key) {
                    self.note(waiting.remove(&key), Some(document), tell)?;
                }
            }
        }
        for document in waiting.into_values() {
            self.note(Some(document), None, tell)?;
        }
        Ok(())
    }

    fn chunks_of(&self, side: Option<&CollectionManifest>) -> Result<Vec<NamedChunk>, MoverError> {
        let mut chunks = Vec::new();
        for item in side.into_iter().flat_map(|found| &found.chunks.items) {
            let loaded = self.vault.load_item(item)?;
            chunks.extend(loaded.into_iter().map(|chunk| (chunk.id, chunk.bytes)));
            if chunks.len() as u64 > MOST_CHUNKS {
                let what = format!(
                    "{} is in no order of its _id and too large to be compared",
                    self.namespace
                );
                return Err(MoverError::Lookup { what });
            }
        }
        Ok(chunks)
    }
}

/// A chunk's name, and how many bytes of documents it has.
type NamedChunk = (ChunkId, u32);

/// One side of a comparison: lists that are not loaded, chunks that are not read, documents that wait.
struct Side {
    items: VecDeque<ListItem>,
    chunks: VecDeque<ChunkRef>,
    documents: VecDeque<(Bson, RawDocumentBuf)>,
}

impl Side {
    fn new(items: VecDeque<ListItem>) -> Self {
        Self { items, chunks: VecDeque::new(), documents: VecDeque::new() }
    }

    fn next_chunk(&mut self, vault: &Vault) -> Result<Option<&ChunkRef>, MoverError> {
        while self.chunks.is_empty() {
            let Some(item) = self.items.pop_front() else { break };
            self.chunks.extend(vault.load_item(&item)?);
        }
        Ok(self.chunks.front())
    }

    /// Leaves a part of both lists out if it has the same name; answers how many chunks it is.
    fn skips_part(&mut self, other: &mut Self) -> Option<u64> {
        if !self.chunks.is_empty() || !other.chunks.is_empty() {
            return None;
        }
        match (self.items.front(), other.items.front()) {
            (Some(ListItem::Part(a)), Some(ListItem::Part(b))) if a.id == b.id => {
                let chunks = u64::from(a.chunks);
                self.items.pop_front();
                other.items.pop_front();
                Some(chunks)
            }
            _ => None,
        }
    }
}

fn order(a: &Bson, b: &Bson) -> Result<Ordering, MoverError> {
    compare(a, b).ok_or_else(|| MoverError::Lookup {
        what: format!("the _ids {a} and {b} of a collection in order have none"),
    })
}

/// What beside documents is different.
pub(crate) fn different_settings(
    before: &CollectionManifest,
    after: &CollectionManifest,
) -> Vec<String> {
    let mut what = Vec::new();
    if before.options != after.options {
        what.push("its options".to_owned());
    }
    // Servers list indexes in the order in which they were made, or in another one.
    let by_name = |collection: &CollectionManifest| -> BTreeMap<String, Document> {
        let indexes = collection.indexes.iter();
        indexes.map(|i| (i.get_str("name").unwrap_or_default().to_owned(), i.clone())).collect()
    };
    if by_name(before) != by_name(after) {
        what.push("its indexes".to_owned());
    }
    if (&before.kind, &before.uuid) != (&after.kind, &after.uuid) {
        what.push("its kind or UUID".to_owned());
    }
    what
}
