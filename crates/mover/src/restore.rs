//! Restoring a deployment: stage, replay, index, compare, swap.
//!
//! Documents go into staging collections under the snapshot's chunks as they are. Until the swap
//! the target's own collections are not touched; `discard_stage` removes every trace of a restore
//! that was given up. A marker collection exists from the beginning of the staging to the end of
//! the swap: without it, the swap has happened.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::Arc;

use bson::{Bson, Document};
use tidemark_model::OplogTime;
use tidemark_vault::{ChunkRef, CollectionManifest, DocumentSet, Manifest, SnapshotMode, Vault};
use tidemark_wire::{DocumentRun, encode_document};

use crate::client::{Connection, Endpoint, Sent};
use crate::deployment::{STAGE_PREFIX, list_collections, list_indexes, probe};
use crate::error::MoverError;
use crate::parts::{Part, READERS, in_parallel, parts_of, whole};
use crate::replay::{Replayer, Stage, Staged};
use crate::snapshot::is_same_index;
use crate::stop::{Progress, Stop};

/// Parts of collections that are loaded at the same time.
const LOADERS: usize = 3;
/// Chunks of one part, about 32 MiB of documents.
const PART_CHUNKS: usize = 320;
/// Bytes of one insert.
const INSERT_BYTES: usize = 4 * 1024 * 1024;
/// Documents of one insert, the protocol's limit.
const INSERT_DOCUMENTS: u32 = 100_000;
/// The database of the marker collection.
const MARKER_DATABASE: &str = "tidemark";

/// How far the oplog is replayed after the snapshot's own moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The instance whose oplog it is.
    pub instance: String,
    /// The last position that belongs to the restored state.
    pub through: OplogTime,
}

/// What is restored.
#[derive(Debug, Clone)]
pub struct RestoreSource {
    /// The snapshot.
    pub manifest: Manifest,
    /// The oplog to replay on it; `None` for the snapshot as it is.
    pub replay: Option<Replay>,
}

/// A restore in progress.
pub struct Restore<'a> {
    vault: &'a Arc<Vault>,
    endpoint: Endpoint,
    job: String,
    source: RestoreSource,
    stage: Stage,
    stop: &'a Stop,
    progress: &'a Progress,
}

fn prefix(job: &str) -> String {
    format!("{STAGE_PREFIX}{job}.")
}

fn marker(job: &str) -> String {
    format!("{}marker", prefix(job))
}

impl<'a> Restore<'a> {
    /// A restore that has done nothing yet.
    pub fn new(
        vault: &'a Arc<Vault>,
        endpoint: Endpoint,
        (job, source): (&str, RestoreSource),
        stop: &'a Stop,
        progress: &'a Progress,
    ) -> Self {
        let stage = Stage::new(prefix(job), false);
        Self { vault, endpoint, job: job.to_owned(), source, stage, stop, progress }
    }

    /// Reads everything that the restore needs and proves that it is whole. Writes nothing.
    pub fn verify(&self) -> Result<(), MoverError> {
        self.vault.check_snapshot(&self.source.manifest, |_| !self.stop.is_requested())?;
        self.stop.check()?;
        if let Some(kind) = self
            .source
            .manifest
            .collections
            .iter()
            .map(|c| &c.kind)
            .find(|kind| *kind == "timeseries")
        {
            return Err(MoverError::Replay {
                position: "the snapshot".to_owned(),
                reason: format!(
                    "collections of the kind {kind} cannot be restored by this release"
                ),
            });
        }
        self.for_each_entry(|_| Ok(()))
    }

    /// Loads the snapshot's documents into staging collections.
    pub fn stage(&mut self) -> Result<(), MoverError> {
        discard_stage(&self.endpoint, &self.job)?;
        let mut connection = Connection::open(&self.endpoint)?;
        connection.command(MARKER_DATABASE, bson::doc! { "create": marker(&self.job) })?;
        let is_bulk = probe(&mut connection)?.bulk_staging;
        self.stage = Stage::new(prefix(&self.job), is_bulk);
        let collections = self.source.manifest.collections.clone();
        for collection in collections.iter().filter(|collection| collection.kind != "view") {
            self.stage.create(
                &mut connection,
                &collection.namespace(),
                collection.options.clone(),
            )?;
            if let Some(staged) = self.stage.collections.get_mut(&collection.namespace()) {
                staged.content = collection.content;
                staged.indexes.clone_from(&collection.indexes);
            }
        }
        self.load(&collections)?;
        for namespace in self.stage.collections.keys() {
            self.stop.check()?;
            self.stage.complete(&mut connection, namespace)?;
        }
        Ok(())
    }

    /// Loads all collections on several connections; a large one is loaded by all of them.
    fn load(&self, collections: &[CollectionManifest]) -> Result<(), MoverError> {
        let parts: Vec<(&CollectionManifest, &[ChunkRef])> = collections
            .iter()
            .flat_map(|collection| {
                collection.chunks.chunks(PART_CHUNKS).map(move |part| (collection, part))
            })
            .collect();
        in_parallel((&self.endpoint, LOADERS), &parts, |connection, (collection, part)| {
            self.load_part(connection, collection, part)
        })?;
        Ok(())
    }

    /// Inserts some chunks of a collection, in their order.
    fn load_part(
        &self,
        connection: &mut Connection,
        collection: &CollectionManifest,
        chunks: &[ChunkRef],
    ) -> Result<(), MoverError> {
        let Some(staged) = self.stage.collections.get(&collection.namespace()) else {
            return Ok(());
        };
        let command = bson::doc! {
            "insert": &staged.name,
            "ordered": true,
            "bypassDocumentValidation": true,
            "bypassEmptyTsReplacement": true,
            "writeConcern": { "w": 1, "j": false },
        };
        let mut in_flight: Option<Sent> = None;
        let mut chunks = chunks.iter().peekable();
        while chunks.peek().is_some() {
            // The next batch is made while the server works on the one before.
            let (batch, documents) = self.next_batch(&mut chunks)?;
            if let Some(sent) = in_flight.take() {
                connection.finish_write(&sent)?;
            }
            let run = ("documents", batch.as_slice());
            in_flight = Some(connection.begin_write(&staged.database, command.clone(), run)?);
            self.progress.add(u64::from(documents), batch.len() as u64);
        }
        in_flight.map_or(Ok(()), |sent| connection.finish_write(&sent))
    }

    /// Reads chunks until they fill an insert.
    fn next_batch<'c>(
        &self,
        chunks: &mut Peekable<impl Iterator<Item = &'c ChunkRef>>,
    ) -> Result<(Vec<u8>, u32), MoverError> {
        let (mut batch, mut documents) = (Vec::new(), 0);
        let fits = |batch: &Vec<u8>, documents: u32, chunk: &ChunkRef| {
            batch.is_empty()
                || (batch.len() + chunk.bytes as usize <= INSERT_BYTES
                    && documents + chunk.documents <= INSERT_DOCUMENTS)
        };
        while let Some(chunk) = chunks.next_if(|chunk| fits(&batch, documents, chunk)) {
            self.stop.check()?;
            batch.extend(self.vault.read_chunk(chunk.id)?);
            documents += chunk.documents;
        }
        Ok((batch, documents))
    }

    /// Replays the oplog: the snapshot's own, then what was captured, through the wanted position.
    pub fn replay(&mut self) -> Result<(), MoverError> {
        let mut connection = Connection::open(&self.endpoint)?;
        let mut stage = std::mem::take(&mut self.stage);
        let mut replayer = Replayer::new(&mut connection, &mut stage, self.stop);
        let outcome =
            self.for_each_entry(|entry| replayer.push(entry)).and_then(|()| replayer.flush());
        self.stage = stage;
        outcome?;
        // Leftovers of restores that were running at the restored moment.
        let is_leftover = |namespace: &String| {
            namespace.split_once('.').is_some_and(|(_, name)| name.starts_with(STAGE_PREFIX))
        };
        let leftovers: Vec<String> =
            self.stage.collections.keys().filter(|n| is_leftover(n)).cloned().collect();
        for namespace in leftovers {
            if let Some(staged) = self.stage.collections.remove(&namespace) {
                connection.command(&staged.database, bson::doc! { "drop": staged.name })?;
            }
        }
        Ok(())
    }

    /// Visits all entries that are replayed, in order, and proves that none is missing.
    fn for_each_entry(
        &self,
        mut visit: impl FnMut(&bson::raw::RawDocument) -> Result<(), MoverError>,
    ) -> Result<(), MoverError> {
        let manifest = &self.source.manifest;
        let through = self.source.replay.as_ref().map(|replay| replay.through);
        let mut visit_run = |bytes: &[u8], after: OplogTime| -> Result<(), MoverError> {
            for entry in DocumentRun::new(bytes).flatten() {
                let Ok(ts) = entry.get_timestamp("ts") else {
                    continue;
                };
                let at = OplogTime::new(ts.time, ts.increment);
                if at > after && through.is_none_or(|through| at <= through) {
                    visit(entry)?;
                }
            }
            Ok(())
        };
        if let SnapshotMode::FuzzyWithOplog { start, .. } = manifest.mode {
            for ChunkRef { id, .. } in &manifest.oplog {
                visit_run(&self.vault.read_chunk(*id)?, start)?;
            }
        }
        let Some(replay) = &self.source.replay else {
            return Ok(());
        };
        let from = manifest.mode.consistent_at().ok_or_else(|| MoverError::OplogGap {
            what: "this snapshot: its deployment has no oplog".to_owned(),
        })?;
        let mut reached = None;
        for segment in self.vault.segments(&replay.instance)? {
            if segment.last < from || reached.is_some_and(|reached| reached >= replay.through) {
                continue;
            }
            let continues = match reached {
                None => segment.first <= from,
                Some(reached) => segment.first == reached,
            };
            if !continues {
                return Err(MoverError::OplogGap {
                    what: format!("from {} to {}", reached.unwrap_or(from), segment.first),
                });
            }
            self.stop.check()?;
            let loaded = self.vault.load_segment(&replay.instance, segment)?;
            visit_run(&loaded.entries, reached.unwrap_or(from))?;
            reached = Some(segment.last);
        }
        match reached {
            Some(_) => Ok(()),
            None if replay.through <= from => Ok(()),
            None => {
                Err(MoverError::OplogGap { what: format!("from {from} to {}", replay.through) })
            }
        }
    }

    /// Builds the indexes of the staging collections.
    pub fn build_indexes(&self) -> Result<(), MoverError> {
        let mut connection = Connection::open(&self.endpoint)?;
        for staged in self.stage.collections.values() {
            self.stop.check()?;
            let specs: Vec<Bson> = staged
                .indexes
                .iter()
                .filter(|index| index.get_str("name").is_ok_and(|name| name != "_id_"))
                .map(|index| {
                    let mut index = index.clone();
                    index.remove("ns");
                    Bson::Document(index)
                })
                .collect();
            if !specs.is_empty() {
                let command = bson::doc! { "createIndexes": &staged.name, "indexes": specs };
                connection.command(&staged.database, command)?;
            }
        }
        Ok(())
    }

    /// Reads the staging collections back and compares them with what they must hold.
    pub fn compare(&self) -> Result<(), MoverError> {
        let staged: Vec<(&String, &Staged)> = self.stage.collections.iter().collect();
        let mut connection = Connection::open(&self.endpoint)?;
        let has_parts = probe(&mut connection)?.record_ranges;
        let mut parts = Vec::new();
        for (number, (_, staged)) in staged.iter().enumerate() {
            if has_parts {
                let name = (staged.database.as_str(), staged.name.as_str());
                parts.extend(parts_of(&mut connection, name, number)?);
            } else {
                parts.push(whole(number));
            }
        }
        let read = in_parallel((&self.endpoint, READERS), &parts, |connection, part| match staged
            .get(part.collection)
        {
            Some((_, staged)) => self.content_of(connection, staged, part),
            None => Ok(DocumentSet::default()),
        })?;
        let mut found = vec![DocumentSet::default(); staged.len()];
        for (part, content) in parts.iter().zip(read) {
            if let Some(found) = found.get_mut(part.collection) {
                found.merge(&content);
            }
        }
        for ((namespace, staged), found) in staged.into_iter().zip(found) {
            self.stop.check()?;
            compare_collection(&mut connection, (namespace, staged), &found)?;
        }
        self.seal_plan(&mut connection)
    }

    /// Reads a part of a staging collection.
    fn content_of(
        &self,
        connection: &mut Connection,
        staged: &Staged,
        part: &Part,
    ) -> Result<DocumentSet, MoverError> {
        let mut content = DocumentSet::default();
        let mut command =
            bson::doc! { "find": &staged.name, "batchSize": 1_000, "hint": { "$natural": 1 } };
        part.restrict(&mut command);
        connection.for_each(&staged.database, command, |document| {
            self.stop.check()?;
            content.add(document.as_bytes());
            Ok(())
        })?;
        Ok(content)
    }

    /// Writes into the marker which staging collection becomes what, so that any worker can do
    /// the swap.
    fn seal_plan(&self, connection: &mut Connection) -> Result<(), MoverError> {
        let mut documents = encode_document(&bson::doc! { "_id": "", "sealed": true });
        for (namespace, staged) in &self.stage.collections {
            documents.extend(encode_document(
                &bson::doc! { "_id": namespace, "database": &staged.database, "name": &staged.name },
            ));
        }
        let name = marker(&self.job);
        connection.command(
            MARKER_DATABASE,
            bson::doc! { "delete": &name, "deletes": [{ "q": {}, "limit": 0 }] },
        )?;
        let command = bson::doc! { "insert": name, "writeConcern": { "w": "majority", "j": true } };
        connection.write_run(MARKER_DATABASE, command, ("documents", &documents))
    }
}

/// Whether a staging collection holds the documents and has the indexes that it must.
fn compare_collection(
    connection: &mut Connection,
    (namespace, staged): (&str, &Staged),
    found: &DocumentSet,
) -> Result<(), MoverError> {
    let describe = |set: &DocumentSet| {
        let DocumentSet { documents, bytes, hash: [hash, ..] } = set;
        format!("{documents} documents, {bytes} bytes, hash {hash:016x}")
    };
    if *found != staged.content {
        return Err(MoverError::Mismatch {
            namespace: namespace.to_owned(),
            found: describe(found),
            expected: describe(&staged.content),
        });
    }
    let indexes = list_indexes(connection, &staged.database, &staged.name)?;
    let is_missing = |wanted: &&Document| !indexes.iter().any(|index| is_same_index(index, wanted));
    match staged.indexes.iter().find(is_missing) {
        Some(index) => Err(MoverError::Mismatch {
            namespace: namespace.to_owned(),
            found: format!("{} indexes", indexes.len()),
            expected: format!("the index {index}"),
        }),
        None => Ok(()),
    }
}

/// Puts the staging collections of a job in the place of the target's and drops what the restored
/// state does not have. Done again after a crash, it finishes what was begun.
pub fn swap_stage(endpoint: &Endpoint, job: &str) -> Result<(), MoverError> {
    let mut connection = Connection::open(endpoint)?;
    if !has_marker(&mut connection, job)? {
        return Ok(());
    }
    let plan = load_plan(&mut connection, job)?;
    let targets = list_collections(&mut connection)?;
    let exists = |namespace: &str| targets.iter().any(|target| target.namespace() == namespace);
    let mut operations = Vec::new();
    for (namespace, (database, name)) in &plan {
        let from = format!("{database}.{name}");
        operations.push(command_entry(
            database,
            bson::doc! { "renameCollection": from, "to": namespace, "stayTemp": false, "dropTarget": exists(namespace) },
        ));
    }
    for target in targets.iter().filter(|target| !plan.contains_key(&target.namespace())) {
        operations.push(command_entry(&target.database, bson::doc! { "drop": &target.name }));
    }
    operations.push(command_entry(MARKER_DATABASE, bson::doc! { "drop": marker(job) }));
    if probe(&mut connection)?.atomic_renames {
        connection.command("admin", bson::doc! { "applyOps": operations })?;
        return Ok(());
    }
    for operation in operations {
        connection.command("admin", bson::doc! { "applyOps": [operation] })?;
    }
    Ok(())
}

/// Which staging collection, by database and name, becomes what.
fn load_plan(
    connection: &mut Connection,
    job: &str,
) -> Result<BTreeMap<String, (String, String)>, MoverError> {
    let mut plan = BTreeMap::new();
    let mut is_sealed = false;
    connection.for_each(MARKER_DATABASE, bson::doc! { "find": marker(job) }, |row| {
        is_sealed |= row.get_bool("sealed").unwrap_or(false);
        if let (Ok(id), Ok(database), Ok(name)) =
            (row.get_str("_id"), row.get_str("database"), row.get_str("name"))
        {
            plan.insert(id.to_owned(), (database.to_owned(), name.to_owned()));
        }
        Ok(())
    })?;
    if is_sealed {
        return Ok(plan);
    }
    Err(MoverError::Mismatch {
        namespace: format!("{MARKER_DATABASE}.{}", marker(job)),
        found: "no finished plan".to_owned(),
        expected: "the plan of the swap".to_owned(),
    })
}

fn command_entry(database: &str, command: Document) -> Document {
    bson::doc! { "op": "c", "ns": format!("{database}.$cmd"), "o": command }
}

/// Whether the swap of a job has not happened yet.
fn has_marker(connection: &mut Connection, job: &str) -> Result<bool, MoverError> {
    let mut found = false;
    let command =
        bson::doc! { "listCollections": 1, "filter": { "name": marker(job) }, "nameOnly": true };
    connection.for_each(MARKER_DATABASE, command, |_| {
        found = true;
        Ok(())
    })?;
    Ok(found)
}

/// Removes the staging collections of a job, wherever they are; the marker goes last.
pub fn discard_stage(endpoint: &Endpoint, job: &str) -> Result<(), MoverError> {
    let mut connection = Connection::open(endpoint)?;
    let reply = connection.command("admin", bson::doc! { "listDatabases": 1, "nameOnly": true })?;
    let prefix = prefix(job);
    let mut leftovers = Vec::new();
    for database in reply.get_array("databases").into_iter().flatten() {
        let Some(database) = database.as_document().and_then(|d| d.get_str("name").ok()) else {
            continue;
        };
        if database == "local" {
            continue;
        }
        connection.for_each(
            database,
            bson::doc! { "listCollections": 1, "nameOnly": true },
            |collection| {
                let name = collection.get_str("name").unwrap_or_default();
                if name.starts_with(&prefix) {
                    leftovers.push((database.to_owned(), name.to_owned()));
                }
                Ok(())
            },
        )?;
    }
    leftovers.sort_by_key(|(_, name)| *name == marker(job));
    for (database, name) in leftovers {
        connection.command(&database, bson::doc! { "drop": name })?;
    }
    Ok(())
}
