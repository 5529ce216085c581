//! Making a snapshot of what `mongodump` wrote: an archive, or a folder as a tar.
//!
//! Source: `common/archive` and `mongodump` of mongo-tools. Both may be compressed with gzip, also file
//! by file in a folder. Namespaces of an archive come in pieces that alternate; the CRC at the end of
//! each proves that all of it was there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Cursor, Read};
use std::sync::Arc;

use bson::raw::RawDocument;
use bson::{Bson, Document};
use crc64fast::Digest;
use flate2::read::MultiGzDecoder;
use tidemark_model::{DUMP_FOLDER, OplogTime};
use tidemark_vault::{
    ChunkList, CollectionManifest, DocumentSet, Manifest, SnapshotMode, SnapshotOwner, Vault,
};

use crate::archive::{MAGIC, TERMINATOR};
use crate::chunk_store::ChunkStore;
use crate::error::MoverError;
use crate::replay::Checker;
use crate::server_collections::is_time_series;
use crate::snapshot::{ChunkPipeline, ReadSnapshot};
use crate::stop::{Progress, Stop};
use crate::visit::Visit;
use tidemark_deployment::{INTERNAL_DATABASES, TIME_SERIES, is_of_server, time_series_of};

/// No document is larger, with what is around it in an oplog.
const LARGEST_DOCUMENT: usize = 17 << 20;
/// The first bytes of what gzip wrote.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// What a dump of which nobody says it was made of.
const UNKNOWN_VERSION: &str = "0.0.0";

/// What is imported.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// The new snapshot's id.
    pub snapshot: String,
    /// Whose it is.
    pub owner: SnapshotOwner,
    /// When it is imported, as an RFC 3339 instant.
    pub taken_at: String,
}

/// Reads everything that a dump holds.
pub fn import_dump(
    vault: &Arc<Vault>,
    dump: impl Read,
    request: &ImportRequest,
    (stop, progress): (&Stop, &Progress),
) -> Result<ReadSnapshot, MoverError> {
    let store = ChunkStore::start(vault.writer()?);
    let mut import = Import {
        store: &store,
        collections: BTreeMap::new(),
        ended: BTreeSet::new(),
        oplog: None,
        server_version: UNKNOWN_VERSION.to_owned(),
        stop,
        progress,
    };
    let mut dump = BufReader::with_capacity(1 << 20, decompressed(dump)?);
    let mut first = [0; 4];
    dump.read_exact(&mut first).map_err(broken)?;
    if first == MAGIC.to_le_bytes() {
        import.read_archive(&mut dump)?;
    } else {
        import.read_folder(Cursor::new(first).chain(dump))?;
    }
    let (server_version, collections, oplog) = import.finish()?;
    let (mode, oplog) = match oplog {
        Some((start, end, chunks)) => (SnapshotMode::FuzzyWithOplog { start, end }, chunks),
        None => (SnapshotMode::AsIs, ChunkList::default()),
    };
    let manifest = Manifest {
        snapshot: request.snapshot.clone(),
        owner: request.owner.clone(),
        taken_at: request.taken_at.clone(),
        server_version,
        mode,
        mode_reason: Some("imported from a dump".to_owned()),
        collections,
        oplog,
    };
    Ok(ReadSnapshot::new(vault, store, manifest))
}

/// What gzip has wrapped, or what it has not as it is.
fn decompressed<'a>(mut from: impl Read + 'a) -> Result<Box<dyn Read + 'a>, MoverError> {
    let mut first = Vec::new();
    from.by_ref().take(2).read_to_end(&mut first).map_err(broken)?;
    let is_gzip = first == GZIP;
    let whole = Cursor::new(first).chain(from);
    Ok(if is_gzip { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) })
}

/// What was found of one collection.
#[derive(Default)]
struct Found {
    metadata: Option<Document>,
    content: DocumentSet,
    chunks: ChunkList,
}

impl Found {
    fn is_view(&self) -> bool {
        let metadata = self.metadata.as_ref();
        metadata.is_some_and(|metadata| {
            metadata.get_str("type").is_ok_and(|kind| kind == "view")
                || metadata.get_document("options").is_ok_and(|o| o.contains_key("viewOn"))
        })
    }

    /// The name of the collection: names of files are cut where a collection's is long.
    fn name(&self) -> Option<&str> {
        self.metadata.as_ref().and_then(|metadata| metadata.get_str("collectionName").ok())
    }
}

/// The entries of a dump: the first and last position that count, and all of them.
type FoundOplog = (OplogTime, OplogTime, ChunkList);

struct Import<'a> {
    store: &'a ChunkStore,
    collections: BTreeMap<(String, String), Found>,
    /// Namespaces of an archive of which the end was there.
    ended: BTreeSet<(String, String)>,
    oplog: Option<FoundOplog>,
    server_version: String,
    stop: &'a Stop,
    progress: &'a Progress,
}

/// A namespace of an archive that is being read.
struct Open {
    documents: Documents,
    crc: Digest,
}

/// The documents of one namespace, or the entries of the oplog.
struct Documents {
    pipeline: ChunkPipeline,
    entries: Option<Entries>,
}

#[derive(Default)]
struct Entries {
    checker: Checker,
    first: Option<OplogTime>,
    last: Option<OplogTime>,
}

impl Documents {
    fn push(&mut self, document: &RawDocument) -> Result<(), MoverError> {
        if let Some(entries) = &mut self.entries {
            let ts = document.get_timestamp("ts").map_err(|error| strange(&error.to_string()))?;
            let at = OplogTime::new(ts.time, ts.increment);
            entries.first.get_or_insert(at);
            entries.last = Some(at);
            // What could not be replayed makes no snapshot.
            entries.checker.push(&Visit { entry: document, is_before: false })?;
        }
        self.pipeline.push(document)
    }
}

impl Import<'_> {
    fn documents(&self, namespace: &(String, String)) -> Documents {
        let is_oplog = is_oplog(namespace);
        Documents {
            pipeline: ChunkPipeline::new(self.store),
            entries: is_oplog.then(Entries::default),
        }
    }

    fn read_archive(&mut self, from: &mut impl Read) -> Result<(), MoverError> {
        let mut bytes = Vec::new();
        let header = next_document(from, &mut bytes)?.ok_or_else(|| strange("it has no header"))?;
        if let Ok(version) = header.get_str("server_version") {
            version.clone_into(&mut self.server_version);
        }
        while let Some(collection) = next_document(from, &mut bytes)? {
            let text = collection.get_str("metadata").unwrap_or_default().to_owned();
            let kind = collection.get_str("type").unwrap_or_default().to_owned();
            let namespace = namespace_of(collection)?;
            self.note_metadata(namespace, &text, &kind)?;
        }
        let mut open: BTreeMap<(String, String), Open> = BTreeMap::new();
        while let Some(header) = next_document_or_end(from, &mut bytes)? {
            let namespace = namespace_of(header)?;
            let is_end = header.get_bool("EOF").unwrap_or(false);
            let crc = header.get_i64("CRC").unwrap_or_default();
            if is_end {
                if next_document(from, &mut bytes)?.is_some() {
                    return Err(strange("documents come after the end of their collection"));
                }
                self.end_namespace(namespace.clone(), open.remove(&namespace), crc)?;
                continue;
            }
            let documents = || self.documents(&namespace);
            let piece = open
                .entry(namespace.clone())
                .or_insert_with(|| Open { documents: documents(), crc: Digest::new() });
            self.progress.enter(&format!("{}.{}", namespace.0, namespace.1));
            while let Some(document) = next_document(from, &mut bytes)? {
                self.stop.check()?;
                piece.crc.write(document.as_bytes());
                self.progress.add(1, document.as_bytes().len() as u64);
                piece.documents.push(document)?;
            }
        }
        // Every collection has an end of its own, also an empty one.
        let is_cut = |(namespace, found): &(&(String, String), &Found)| {
            !found.is_view() && !self.ended.contains(*namespace)
        };
        let cut =
            open.keys().next().or_else(|| self.collections.iter().find(is_cut).map(|(n, _)| n));
        match cut {
            Some((database, name)) => Err(strange(&format!("it ends within {database}.{name}"))),
            None => Ok(()),
        }
    }

    fn end_namespace(
        &mut self,
        namespace: (String, String),
        open: Option<Open>,
        crc: i64,
    ) -> Result<(), MoverError> {
        self.ended.insert(namespace.clone());
        let Some(open) = open else { return Ok(()) };
        if open.crc.sum64().cast_signed() != crc {
            let (database, name) = namespace;
            return Err(strange(&format!("the checksum of {database}.{name} is another one")));
        }
        self.keep(namespace, open.documents)
    }

    /// Reads `dump/<database>/<collection>.bson` and what is beside it.
    fn read_folder(&mut self, from: impl Read) -> Result<(), MoverError> {
        const HINT: &str = "it is neither an archive of mongodump nor a tar with a folder `dump`";
        let mut tar = tar::Archive::new(from);
        let mut is_dump = false;
        for entry in tar.entries().map_err(broken)? {
            let entry = match entry {
                Err(_) if !is_dump => return Err(strange(HINT)),
                entry => entry.map_err(broken)?,
            };
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = entry.path().map_err(broken)?.to_string_lossy().into_owned();
            let path = path.trim_start_matches("./");
            let Some(path) = path.strip_prefix(DUMP_FOLDER).and_then(|p| p.strip_prefix('/'))
            else {
                continue;
            };
            is_dump = true;
            let path = path.trim_end_matches(".gz").to_owned();
            self.read_file(&path, decompressed(entry)?)?;
        }
        if is_dump { Ok(()) } else { Err(strange(HINT)) }
    }

    fn read_file(&mut self, path: &str, content: impl Read) -> Result<(), MoverError> {
        let text = |mut content: Box<dyn Read + '_>| -> Result<String, MoverError> {
            let mut text = String::new();
            let most = LARGEST_DOCUMENT as u64;
            content.by_ref().take(most + 1).read_to_string(&mut text).map_err(broken)?;
            if text.len() as u64 > most {
                return Err(strange(&format!("{path} is no metadata: it is too large")));
            }
            Ok(text)
        };
        let namespace = match path.split('/').collect::<Vec<_>>()[..] {
            ["prelude.json"] => {
                let prelude: Option<serde_json::Value> =
                    serde_json::from_str(&text(Box::new(content))?).ok();
                let version = prelude.as_ref().and_then(|p| p.get("ServerVersion")?.as_str());
                if let Some(version) = version {
                    version.clone_into(&mut self.server_version);
                }
                return Ok(());
            }
            ["oplog.bson"] => (String::new(), "oplog".to_owned()),
            [database, file] => {
                if let Some(name) = file.strip_suffix(".metadata.json") {
                    let namespace = (unescaped(database), unescaped(name));
                    return self.note_metadata(namespace, &text(Box::new(content))?, "");
                }
                let Some(name) = file.strip_suffix(".bson") else { return Ok(()) };
                (unescaped(database), users_name(unescaped(name)))
            }
            _ => return Ok(()),
        };
        self.progress.enter(&format!("{}.{}", namespace.0, namespace.1));
        let mut documents = self.documents(&namespace);
        let (mut from, mut bytes) = (BufReader::with_capacity(1 << 20, content), Vec::new());
        while let Some(document) = next_document_or_end(&mut from, &mut bytes)? {
            self.stop.check()?;
            self.progress.add(1, document.as_bytes().len() as u64);
            documents.push(document)?;
        }
        self.keep(namespace, documents)
    }

    fn keep(
        &mut self,
        namespace: (String, String),
        documents: Documents,
    ) -> Result<(), MoverError> {
        let (content, chunks) = documents.pipeline.finish(self.store.writer())?;
        match documents.entries {
            None => {
                let found = self.collections.entry(namespace).or_default();
                found.content.merge(&content);
                found.chunks.extend(chunks);
            }
            Some(Entries { first: Some(first), last: Some(last), .. }) => {
                // The first one is replayed too.
                let start = OplogTime::from_u64(first.to_u64().saturating_sub(1));
                self.oplog = Some((start, last, chunks));
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn note_metadata(
        &mut self,
        namespace: (String, String),
        text: &str,
        kind: &str,
    ) -> Result<(), MoverError> {
        if is_oplog(&namespace) {
            return Ok(());
        }
        let refuse = || strange(&format!("the metadata of {}.{}", namespace.0, namespace.1));
        let mut metadata = if text.trim().is_empty() {
            Document::new()
        } else {
            let value: serde_json::Value = serde_json::from_str(text).map_err(|_| refuse())?;
            match Bson::try_from(value) {
                Ok(Bson::Document(metadata)) => metadata,
                _ => return Err(refuse()),
            }
        };
        if !metadata.contains_key("type") && !kind.is_empty() {
            metadata.insert("type", kind);
        }
        self.collections.entry(namespace).or_default().metadata = Some(metadata);
        Ok(())
    }

    /// The users' collections, in the order in which a deployment is listed.
    fn finish(self) -> Result<(String, Vec<CollectionManifest>, Option<FoundOplog>), MoverError> {
        let mut collections = Vec::new();
        for ((database, name), found) in self.collections {
            let name = found.name().map_or(name, |name| users_name(name.to_owned()));
            let is_own = |(database, name): (&str, &str)| {
                INTERNAL_DATABASES.contains(&database) || is_of_server(name)
            };
            if !is_own((&database, &name)) {
                collections.push(described((database, name), found)?);
            }
        }
        if collections.is_empty() && self.oplog.is_none() {
            return Err(strange("it holds no collection"));
        }
        Ok((self.server_version, collections, self.oplog))
    }
}

fn is_oplog((database, name): &(String, String)) -> bool {
    database.is_empty() && name == "oplog"
}

/// A collection with its options and indexes as the dump says them.
fn described(
    (database, name): (String, String),
    found: Found,
) -> Result<CollectionManifest, MoverError> {
    let is_view = found.is_view();
    let metadata = found.metadata.unwrap_or_default();
    let options = metadata.get_document("options").cloned().unwrap_or_default();
    let kind = match metadata.get_str("type") {
        _ if is_view => "view",
        Ok(TIME_SERIES) => TIME_SERIES,
        _ if is_time_series(&options) => TIME_SERIES,
        _ => "collection",
    };
    let mut indexes: Vec<Document> = Vec::new();
    for index in metadata.get_array("indexes").into_iter().flatten() {
        let mut index = index.as_document().cloned().ok_or_else(|| strange("an index"))?;
        // Old servers named the collection in each of its indexes; new ones refuse that.
        index.remove("ns");
        indexes.push(index);
    }
    if kind == "collection" && indexes.is_empty() {
        indexes.push(bson::doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" });
    }
    let uuid = metadata.get_str("uuid").ok().and_then(uuid_of);
    Ok(CollectionManifest {
        database,
        name,
        kind: kind.to_owned(),
        uuid,
        options,
        indexes,
        content: found.content,
        chunks: found.chunks,
        is_sorted: false,
    })
}

fn uuid_of(hex: &str) -> Option<bson::Binary> {
    let bytes: Option<Vec<u8>> = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let bytes = bytes.filter(|bytes| bytes.len() == 16)?;
    Some(bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes })
}

fn namespace_of(header: &RawDocument) -> Result<(String, String), MoverError> {
    match (header.get_str("db"), header.get_str("collection")) {
        (Ok(database), Ok(name)) => Ok((database.to_owned(), users_name(name.to_owned()))),
        _ => Err(strange("a header without its namespace")),
    }
}

/// The name of the time series of which a dump has the buckets; any other name as it is.
fn users_name(name: String) -> String {
    match time_series_of(&name) {
        Some(series) => series.to_owned(),
        None => name,
    }
}

/// A name in the name of a file, as it was: escaped as in a query.
fn unescaped(name: &str) -> String {
    let spaced = name.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// The next document where a file may end; `None` if it does.
fn next_document_or_end<'b>(
    from: &mut impl Read,
    bytes: &'b mut Vec<u8>,
) -> Result<Option<&'b RawDocument>, MoverError> {
    let mut length = [0; 4];
    let mut read = 0;
    while read < length.len() {
        match from.read(length.get_mut(read..).unwrap_or_default()).map_err(broken)? {
            0 if read == 0 => return Ok(None),
            0 => return Err(strange("it ends within a document")),
            some => read += some,
        }
    }
    rest_of_document(from, length, bytes).map(Some)
}

/// The next document of a list that a terminator ends; `None` at that.
fn next_document<'b>(
    from: &mut impl Read,
    bytes: &'b mut Vec<u8>,
) -> Result<Option<&'b RawDocument>, MoverError> {
    let mut length = [0; 4];
    from.read_exact(&mut length).map_err(broken)?;
    if length == TERMINATOR {
        return Ok(None);
    }
    rest_of_document(from, length, bytes).map(Some)
}

fn rest_of_document<'b>(
    from: &mut impl Read,
    length: [u8; 4],
    bytes: &'b mut Vec<u8>,
) -> Result<&'b RawDocument, MoverError> {
    let size = u32::from_le_bytes(length) as usize;
    if !(5..=LARGEST_DOCUMENT).contains(&size) {
        return Err(strange(&format!("a document of {size} bytes")));
    }
    bytes.clear();
    bytes.extend_from_slice(&length);
    bytes.resize(size, 0);
    from.read_exact(bytes.get_mut(4..).unwrap_or_default()).map_err(broken)?;
    RawDocument::from_bytes(bytes).map_err(|error| strange(&error.to_string()))
}

fn broken(error: std::io::Error) -> MoverError {
    strange(&error.to_string())
}

fn strange(what: &str) -> MoverError {
    MoverError::Import { what: what.to_owned() }
}
