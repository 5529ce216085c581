//! Taking a snapshot: read raw batches, cut, store, write the manifest.
//!
//! Mode "snapshot" reads everything as it was at one moment; when the deployment cannot do that,
//! or collections changed their definition meanwhile, documents are read while they change and
//! the oplog of that time is kept beside them. Collections, and parts of large ones, are read in
//! parallel, each in natural order; memory holds a few batches per thread whatever the size of the
//! data.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bson::raw::RawDocument;
use bson::{Bson, Document};
use tidemark_model::OplogTime;
use tidemark_vault::{
    ChunkList, Chunker, CollectionManifest, DocumentSet, Manifest, SnapshotMode, SnapshotOwner,
    SnapshotWriter, Vault,
};

use crate::chunk_store::{ChunkSequence, ChunkStore};
use crate::error::MoverError;
use crate::oplog_slice::{Dropped, has_entry, oplog_start};
use crate::parts::{Part, READERS, id_parts_of, in_parallel, parts_of, whole};
use crate::reading::{Drafts, Reading, empty_collection};
use crate::replay::Checker;
use crate::stop::{Progress, Stop};
use crate::visit::Visit;
use tidemark_deployment::{
    Abilities, CollectionListing, Product, buckets_of, is_stage, list_collections, newest_entry,
    open_snapshot, probe,
};
use tidemark_deployment::{Connection, Endpoint};

/// How often reading a part goes on after nothing came.
const MOST_FAILURES: u32 = 5;
/// The wait before it goes on, times how often nothing came.
const PAUSE: Duration = Duration::from_secs(1);
/// A collection that does not exist, or that was dropped while it was read.
const NAMESPACE_GONE: &[i32] = &[26, 175];
/// SnapshotTooOld and SnapshotUnavailable.
const MOMENT_GONE: &[i32] = &[239, 246];

/// Which mode a snapshot shall have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedMode {
    /// The strongest that the deployment allows.
    Strongest,
    /// Without snapshot reads, although the deployment may have them.
    FuzzyWithOplog,
}

/// What a snapshot is taken of.
#[derive(Debug, Clone)]
pub struct SnapshotRequest {
    /// The deployment.
    pub endpoint: Endpoint,
    /// The snapshot's id.
    pub snapshot: String,
    /// Whose it is.
    pub owner: SnapshotOwner,
    /// When it is taken, as an RFC 3339 instant.
    pub taken_at: String,
    /// Which mode it shall have.
    pub mode: WantedMode,
    /// How often it is kept how far reading is; `DRAFT_INTERVAL` unless a test says otherwise.
    pub draft_interval: Duration,
    /// Why it is read, where it could have been made in the vault.
    pub why: Option<String>,
    /// Collections of attached deployments are read in parts of so many bytes; `PART_BYTES` unless
    /// a test says otherwise.
    pub part_bytes: i64,
}

/// A snapshot whose documents are read and whose manifest is not stored: as long as that is not, the
/// vault has no such snapshot. When this is dropped, what the vault holds of one is pruned later.
pub struct ReadSnapshot {
    vault: Arc<Vault>,
    store: ChunkStore,
    manifest: Manifest,
}

impl ReadSnapshot {
    pub(crate) fn new(vault: &Arc<Vault>, store: ChunkStore, manifest: Manifest) -> Self {
        Self { vault: Arc::clone(vault), store, manifest }
    }

    /// Makes what was read readable, without a manifest in the vault. It stays as long as the writer
    /// that comes with it.
    pub fn keep_readable(self, stop: &Stop) -> Result<(Manifest, SnapshotWriter), MoverError> {
        stop.check()?;
        let writer = self.store.finish()?;
        writer.flush()?;
        Ok((self.manifest, writer))
    }

    /// What will be stored.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Stores everything and then the manifest; when this returns the snapshot is in the vault.
    pub fn store(self, stop: &Stop) -> Result<Manifest, MoverError> {
        stop.check()?;
        let writer = self.store.finish()?;
        writer.finish(&self.manifest)?;
        if let Err(error) = self.vault.remove_draft(&self.manifest.snapshot) {
            tracing::warn!(%error, "the draft of a snapshot was left behind");
        }
        Ok(self.manifest)
    }
}

/// Reads everything that a snapshot holds.
pub fn read_snapshot(
    vault: &Arc<Vault>,
    request: &SnapshotRequest,
    stop: &Stop,
    progress: &Progress,
) -> Result<ReadSnapshot, MoverError> {
    let endpoint = request.endpoint.reading()?;
    let mut connection = Connection::open(&endpoint)?;
    let abilities = probe(&mut connection)?;
    let store = ChunkStore::start(vault.writer()?);
    // What an engine of ours has is read as fast as it is looked up.
    let goes_on =
        matches!(endpoint, Endpoint::Attached(_)) && abilities.product != Product::Tidemark;
    let reader = Reader {
        endpoint: &endpoint,
        drafts: goes_on.then(|| Drafts {
            vault,
            snapshot: &request.snapshot,
            interval: request.draft_interval,
        }),
        abilities: &abilities,
        part_bytes: request.part_bytes,
        gone: Mutex::default(),
        store,
        stop,
        progress,
    };
    let read = reader.read(&mut connection, request.mode);
    let ((mode, collections, oplog), weaker) = read.inspect_err(|error| {
        // What went wrong is in what was read: the next attempt begins anew.
        let is_of_draft = matches!(
            error,
            MoverError::Renamed { .. } | MoverError::WentAway { .. } | MoverError::OplogGap { .. }
        );
        if is_of_draft && let Err(error) = vault.remove_draft(&request.snapshot) {
            tracing::warn!(%error, "the draft of a snapshot was left behind");
        }
    })?;
    let no_oplog = "; there is no oplog that can be read either";
    let end = if mode == SnapshotMode::AsIs { no_oplog } else { "" };
    let weaker = weaker.map(|why| format!("{why}{end}"));
    let store = reader.store;
    let reasons: Vec<String> = [request.why.clone(), weaker].into_iter().flatten().collect();
    let mode_reason = (!reasons.is_empty()).then(|| reasons.join("; "));
    let manifest = Manifest {
        snapshot: request.snapshot.clone(),
        owner: request.owner.clone(),
        taken_at: request.taken_at.clone(),
        server_version: abilities.version,
        mode,
        mode_reason,
        collections,
        oplog,
    };
    Ok(ReadSnapshot::new(vault, store, manifest))
}

struct Reader<'a> {
    /// From where everything is read.
    endpoint: &'a Endpoint,
    /// Where it is kept how far reading is, if that is worth it.
    drafts: Option<Drafts<'a>>,
    abilities: &'a Abilities,
    part_bytes: i64,
    /// Collections that were not there to be read to their end. Held for adding one.
    gone: Mutex<Vec<CollectionListing>>,
    store: ChunkStore,
    stop: &'a Stop,
    progress: &'a Progress,
}

/// What was read, and how it is consistent.
type Read = (SnapshotMode, Vec<CollectionManifest>, ChunkList);

impl Reader<'_> {
    /// Reads everything; the text says why not in a stronger way.
    fn read(
        &self,
        connection: &mut Connection,
        mode: WantedMode,
    ) -> Result<(Read, Option<&'static str>), MoverError> {
        let mut found = match &self.drafts {
            Some(drafts) => drafts.find(self.store.writer())?,
            None => None,
        };
        // Without the oplog since then, what was read before leads nowhere.
        if let Some(start) = found.as_ref().and_then(|reading| reading.start)
            && !has_entry(connection, start)?
        {
            found = None;
        }
        let (mut reading, mut why) = match found {
            Some(reading) => {
                let (documents, bytes) = reading.done();
                self.progress.add(documents, bytes);
                tracing::info!(documents, bytes, "a snapshot goes on where it was");
                (reading, Some("it went on after a break"))
            }
            None => self.begin(connection, mode)?,
        };
        if let Some(at) = reading.at {
            match self.read_at(connection, &reading, at)? {
                Ok(collections) => {
                    let mode = SnapshotMode::Snapshot { at };
                    return Ok(((mode, collections, ChunkList::default()), None));
                }
                Err(reason) => {
                    why = Some(reason);
                    reading = self.without_moment(connection, reading)?;
                }
            }
        }
        Ok((self.read_with_oplog(connection, &reading)?, why))
    }

    /// Looks at what there is to read, and at which moment; the text says why at none.
    fn begin(
        &self,
        connection: &mut Connection,
        mode: WantedMode,
    ) -> Result<(Reading, Option<&'static str>), MoverError> {
        let start = match self.abilities.newest_entry {
            Some(_) => oplog_start(connection)?,
            None => None,
        };
        let listings = list_collections(connection)?;
        let (at, why) = match mode {
            WantedMode::FuzzyWithOplog => (None, Some("it was asked for so")),
            WantedMode::Strongest if !self.abilities.snapshot_reads => (None, None),
            WantedMode::Strongest => (open_snapshot(connection)?, None),
        };
        let why = why.or(at.is_none().then_some("the deployment cannot read one moment"));
        let parts = self.all_parts(connection, &listings, at)?;
        Ok((Reading::new((start, at), listings, parts), why))
    }

    /// Reads what is left at one moment, or says why that is not possible.
    fn read_at(
        &self,
        connection: &mut Connection,
        reading: &Reading,
        at: OplogTime,
    ) -> Result<Result<Vec<CollectionManifest>, &'static str>, MoverError> {
        const DEFINED_ANEW: &str = "collections or indexes were defined anew while they were read";
        let is_one_of = |error: &MoverError, codes: &[i32]| {
            error.code().is_some_and(|code| codes.contains(&code))
        };
        match self.read_parts(reading, Some(at)) {
            Err(error) if is_one_of(&error, MOMENT_GONE) => {
                return Ok(Err("reading took longer than the deployment keeps a moment"));
            }
            Err(error) if is_one_of(&error, NAMESPACE_GONE) => return Ok(Err(DEFINED_ANEW)),
            outcome => outcome?,
        }
        if reading.listings != list_collections(connection)? {
            return Ok(Err(DEFINED_ANEW));
        }
        Ok(Ok(Self::assemble(reading)))
    }

    /// Goes on at no one moment: what was read at one is consistent with the oplog from before it.
    fn without_moment(
        &self,
        connection: &mut Connection,
        reading: Reading,
    ) -> Result<Reading, MoverError> {
        // Where collections are found by their names only, a name may have come to mean another one.
        if !self.abilities.reads_by_uuid || reading.start.is_none() {
            return Ok(self.begin(connection, WantedMode::FuzzyWithOplog)?.0);
        }
        Ok(reading.at_no_moment())
    }

    fn read_with_oplog(
        &self,
        connection: &mut Connection,
        reading: &Reading,
    ) -> Result<Read, MoverError> {
        self.read_parts(reading, None)?;
        let collections = Self::assemble(reading);
        let Some(start) = reading.start else {
            let collections = self.without_gone(connection, collections)?;
            return Ok((SnapshotMode::AsIs, collections, ChunkList::default()));
        };
        let end = newest_entry(connection)?.unwrap_or(start);
        let oplog = self.read_oplog(connection, start, end)?;
        // The entry at the start is replayed too: it may be the first part of a transaction.
        let start = OplogTime::from_u64(start.to_u64().saturating_sub(1));
        Ok((SnapshotMode::FuzzyWithOplog { start, end }, collections, oplog))
    }

    /// Without the collections that were dropped while they were read; where there is no oplog to say
    /// so, that is what the deployment says now.
    fn without_gone(
        &self,
        connection: &mut Connection,
        mut collections: Vec<CollectionManifest>,
    ) -> Result<Vec<CollectionManifest>, MoverError> {
        let gone = std::mem::take(&mut *self.gone.lock().unwrap_or_else(PoisonError::into_inner));
        if gone.is_empty() {
            return Ok(collections);
        }
        let present = list_collections(connection)?;
        for gone in gone {
            let namespace = gone.namespace();
            if present.iter().any(|listing| listing.namespace() == namespace) {
                return Err(MoverError::WentAway { namespace });
            }
            collections.retain(|collection| collection.namespace() != namespace);
        }
        Ok(collections)
    }

    /// Refuses a rename by a user, where collections are read by their names: what was read under a
    /// name may be of another collection.
    fn check_rename(&self, entry: &RawDocument) -> Result<(), MoverError> {
        if self.abilities.reads_by_uuid || self.abilities.product == Product::Tidemark {
            return Ok(());
        }
        let renamed = entry.get_document("o").ok();
        let from = renamed.and_then(|command| command.get_str("renameCollection").ok());
        match from.and_then(|from| from.split_once('.')) {
            Some((_, name)) if !is_stage(name) => {
                Err(MoverError::Renamed { namespace: from.unwrap_or_default().to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Reads the parts that are left.
    fn read_parts(&self, reading: &Reading, at: Option<OplogTime>) -> Result<(), MoverError> {
        let left = reading.left();
        in_parallel((self.endpoint, READERS), &left, |connection, number| {
            let Some(part) = reading.parts.get(*number) else { return Ok(()) };
            let Some(listing) = reading.listings.get(part.collection) else { return Ok(()) };
            let found = self.read_part(connection, (listing, part), at)?;
            let keeps = !self.is_gone(listing);
            reading.note((*number, keeps), found, (self.drafts.as_ref(), self.store.writer()))
        })?;
        Ok(())
    }

    /// Whether a collection was not there to be read to its end.
    fn is_gone(&self, listing: &CollectionListing) -> bool {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).contains(listing)
    }

    /// The collections of what was read.
    fn assemble(reading: &Reading) -> Vec<CollectionManifest> {
        let mut collections: Vec<_> = reading.listings.iter().map(empty_collection).collect();
        for part in reading.parts.iter().filter(|part| part.is_ordered()) {
            if let Some(collection) = collections.get_mut(part.collection) {
                collection.is_sorted = true;
            }
        }
        for (part, (content, chunks)) in reading.parts.iter().zip(reading.take_found()) {
            if let Some(collection) = collections.get_mut(part.collection) {
                // Parts in their order of `_id` come first; what is of other kinds has none.
                collection.is_sorted &= part.is_ordered() || content.documents == 0;
                collection.content.merge(&content);
                collection.chunks.extend(chunks);
            }
        }
        collections
    }

    fn all_parts(
        &self,
        connection: &mut Connection,
        listings: &[CollectionListing],
        at: Option<OplogTime>,
    ) -> Result<Vec<Part>, MoverError> {
        let mut parts = Vec::new();
        for (number, listing) in listings.iter().enumerate() {
            self.stop.check()?;
            if listing.kind != "view" {
                parts.extend(self.parts_of(connection, (listing, number), at)?);
            }
        }
        Ok(parts)
    }

    fn parts_of(
        &self,
        connection: &mut Connection,
        (listing, number): (&CollectionListing, usize),
        at: Option<OplogTime>,
    ) -> Result<Vec<Part>, MoverError> {
        match (self.abilities.product, at) {
            _ if listing.kind != "collection" => Ok(vec![whole(number)]),
            // In one part unless it is of one moment: a name may come to mean another collection
            // while parts are counted.
            (Product::Tidemark, Some(_)) if self.abilities.record_ranges => {
                let name = (listing.database.as_str(), listing.name.as_str());
                parts_of(connection, name, number)
            }
            // It looks at every document for every part.
            (Product::Tidemark | Product::FerretDb, _) => Ok(vec![whole(number)]),
            (Product::MongoDb, _) => id_parts_of(connection, listing, (number, self.part_bytes)),
        }
    }

    /// Reads one part. Where documents come in the order of their `_id`, a connection that breaks
    /// costs nothing: reading goes on after the last one.
    fn read_part(
        &self,
        connection: &mut Connection,
        (listing, part): (&CollectionListing, &Part),
        at: Option<OplogTime>,
    ) -> Result<(DocumentSet, ChunkList), MoverError> {
        let mut pipeline = ChunkPipeline::new(&self.store);
        self.progress.enter(&listing.namespace());
        let (mut last, mut failures) = (None, 0);
        loop {
            let find = self.find(listing, part, (at, last.as_ref()));
            let mut has_read = false;
            let read = connection.for_each(&listing.database, find, |document| {
                self.stop.check()?;
                self.progress.add(1, document.as_bytes().len() as u64);
                if part.is_ordered() {
                    last = id_of(document);
                }
                has_read = true;
                pipeline.push(document)
            });
            match read {
                Err(error)
                    if part.is_ordered()
                        && error.is_transient()
                        && failures < MOST_FAILURES
                        && (last.is_some() || !has_read) =>
                {
                    // What counts is how often nothing comes.
                    failures = if has_read { 1 } else { failures + 1 };
                    tracing::info!(%error, namespace = listing.namespace(), "reading goes on where it was");
                    std::thread::sleep(PAUSE * failures);
                }
                // It was dropped meanwhile, if the oplog says so.
                Err(error)
                    if at.is_none()
                        && error.code().is_some_and(|code| NAMESPACE_GONE.contains(&code)) =>
                {
                    let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
                    gone.push(listing.clone());
                    break;
                }
                Err(error) => return Err(error),
                Ok(_) => break,
            }
        }
        pipeline.finish(self.store.writer())
    }

    /// The question for a part, or for what of it comes after a document.
    fn find(
        &self,
        listing: &CollectionListing,
        part: &Part,
        (at, last): (Option<OplogTime>, Option<&Bson>),
    ) -> Document {
        let mut find = bson::doc! { "find": self.name_or_uuid(listing), "batchSize": part.batch() };
        if listing.is_time_series() && self.abilities.has_raw_data() {
            find.insert("rawData", true);
        }
        if self.abilities.product != Product::FerretDb {
            find.insert("noCursorTimeout", true);
        }
        part.restrict(&mut find, last);
        if let Some(at) = at {
            let at = bson::Timestamp { time: at.seconds, increment: at.increment };
            find.insert("readConcern", bson::doc! { "level": "snapshot", "atClusterTime": at });
            return find;
        }
        if part.is_natural() {
            find.insert("hint", bson::doc! { "$natural": 1 });
        }
        if self.abilities.newest_entry.is_some() {
            // What a failing primary alone has may never have been.
            find.insert("readConcern", bson::doc! { "level": "majority" });
        }
        find
    }

    /// What is looked for: the collection itself, whatever its name is by then. At a moment too: servers
    /// before 7.0 answer a name that is gone by now as if nothing had been there.
    fn name_or_uuid(&self, listing: &CollectionListing) -> Bson {
        match &listing.uuid {
            Some(uuid) if self.abilities.reads_by_uuid => Bson::Binary(uuid.clone()),
            _ if listing.is_time_series() && !self.abilities.has_raw_data() => {
                Bson::String(buckets_of(&listing.name))
            }
            _ => Bson::String(listing.name.clone()),
        }
    }

    /// Reads the oplog from `start`, which must still be there, to `end`.
    fn read_oplog(
        &self,
        connection: &mut Connection,
        start: OplogTime,
        end: OplogTime,
    ) -> Result<ChunkList, MoverError> {
        let mut pipeline = ChunkPipeline::new(&self.store);
        let mut first = None;
        let timestamp =
            |at: OplogTime| bson::Timestamp { time: at.seconds, increment: at.increment };
        let command = bson::doc! {
            "find": "oplog.rs",
            "filter": { "ts": { "$gte": timestamp(start), "$lte": timestamp(end) } },
            "readConcern": { "level": "majority" },
        };
        let (mut checker, mut dropped) = (Checker::default(), Dropped::default());
        connection.for_each("local", command, |entry| {
            self.stop.check()?;
            if first.is_none() {
                first = entry.get_timestamp("ts").ok();
            }
            // What could not be replayed makes no snapshot.
            checker.push(&Visit { entry, is_before: false })?;
            self.check_rename(entry)?;
            dropped.note(entry);
            pipeline.push(entry)
        })?;
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listing) = gone.iter().find(|listing| !dropped.has(listing)) {
            return Err(MoverError::WentAway { namespace: listing.namespace() });
        }
        drop(gone);
        if first != Some(timestamp(start)) {
            return Err(MoverError::OplogGap {
                what: format!(
                    "back to {start}, where this snapshot began: it was cut off while documents were read"
                ),
            });
        }
        Ok(pipeline.finish(self.store.writer())?.1)
    }
}

fn id_of(document: &RawDocument) -> Option<Bson> {
    document.get("_id").ok()??.try_into().ok()
}

/// Cuts documents into chunks and has them stored.
pub(crate) struct ChunkPipeline {
    chunker: Chunker,
    content: DocumentSet,
    chunks: ChunkSequence,
}

impl ChunkPipeline {
    pub(crate) fn new(store: &ChunkStore) -> Self {
        Self { chunker: Chunker::new(), content: DocumentSet::default(), chunks: store.list() }
    }

    pub(crate) fn push(&mut self, document: &RawDocument) -> Result<(), MoverError> {
        self.content.add(document.as_bytes());
        match self.chunker.push(document.as_bytes()) {
            Some(chunk) => self.chunks.push(chunk),
            None => Ok(()),
        }
    }

    pub(crate) fn finish(
        mut self,
        writer: &SnapshotWriter,
    ) -> Result<(DocumentSet, ChunkList), MoverError> {
        if let Some(chunk) = self.chunker.finish() {
            self.chunks.push(chunk)?;
        }
        Ok((self.content, self.chunks.finish(writer)?))
    }
}
