//! The manifest of a snapshot: everything that belongs to it, and the proof that it is whole.

use std::io::{Cursor, Read};

use bson::{Binary, Bson, Document};
use serde::{Deserialize, Serialize};
use tidemark_model::OplogTime;

use crate::digest::DocumentSet;
use crate::list::{ChunkList, ListItem, binary};

/// The format's version that this code writes and reads.
pub(crate) const MANIFEST_VERSION: i32 = 2;
/// No manifest is larger once it is decompressed; lists of chunks are not in it.
const LARGEST_BYTES: u64 = 4 << 30;
const COMPRESSION_LEVEL: i32 = 1;

/// How the snapshot was made consistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "camelCase")]
pub enum SnapshotMode {
    /// Every document was read as it was at one moment.
    Snapshot {
        /// The moment.
        at: OplogTime,
    },
    /// Documents were read while they changed; the oplog between the two positions makes them
    /// consistent at the second.
    FuzzyWithOplog {
        /// The first position that must be replayed.
        start: OplogTime,
        /// The position that the restored data shows.
        end: OplogTime,
    },
    /// It was made in the vault, of an earlier snapshot and the captured oplog, and shows one moment.
    Synthetic {
        /// The moment.
        at: OplogTime,
    },
    /// Documents were read while they changed and there is no oplog: not one moment.
    AsIs,
}

impl SnapshotMode {
    /// The word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Snapshot { .. } => "snapshot",
            Self::FuzzyWithOplog { .. } => "fuzzyWithOplog",
            Self::Synthetic { .. } => "synthetic",
            Self::AsIs => "asIs",
        }
    }

    /// The moment that restored data shows, if it is one.
    pub fn consistent_at(&self) -> Option<OplogTime> {
        match self {
            Self::Snapshot { at } | Self::Synthetic { at } => Some(*at),
            Self::FuzzyWithOplog { end, .. } => Some(*end),
            Self::AsIs => None,
        }
    }
}

/// A collection in a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectionManifest {
    /// The database.
    pub database: String,
    /// The collection.
    pub name: String,
    /// `collection`, `view` or `timeseries`.
    pub kind: String,
    /// The collection's UUID, where the deployment has them.
    pub uuid: Option<Binary>,
    /// The options as `listCollections` answers them.
    pub options: Document,
    /// The indexes as `listIndexes` answers them.
    pub indexes: Vec<Document>,
    /// Count, bytes and hash of what was read.
    pub content: DocumentSet,
    /// The chunks, in the order in which they were read.
    pub chunks: ChunkList,
    /// Whether documents are in the order of their `_id`, all of one kind, through all chunks.
    pub is_sorted: bool,
}

impl CollectionManifest {
    /// `database.collection`.
    pub fn namespace(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }
}

/// Whose snapshot it is, and for how long; enough to make the catalog's record anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotOwner {
    /// The instance that was read.
    pub instance: String,
    /// What the instance was called.
    pub instance_name: String,
    /// Why the snapshot was taken.
    pub kind: String,
    /// When it was asked for, as an RFC 3339 instant.
    pub created_at: String,
    /// When it may be removed, as an RFC 3339 instant.
    pub expires_at: String,
}

impl SnapshotOwner {
    /// The kind of a snapshot that was made of a dump, not of the instance.
    pub const IMPORTED: &str = "imported";
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The snapshot's id.
    pub snapshot: String,
    /// Whose it is.
    pub owner: SnapshotOwner,
    /// When it was taken, as an RFC 3339 instant.
    pub taken_at: String,
    /// The version that the deployment says it has.
    pub server_version: String,
    /// How it was made consistent.
    pub mode: SnapshotMode,
    /// Why not in a stronger way.
    pub mode_reason: Option<String>,
    /// The collections.
    pub collections: Vec<CollectionManifest>,
    /// Oplog entries that belong to the snapshot, in order; empty unless the mode needs them.
    pub oplog: ChunkList,
}

/// Why bytes are not a manifest that this release reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A newer release wrote it.
    #[error(
        "it has version {0}; this release reads version {MANIFEST_VERSION}, so another release is needed"
    )]
    Version(i32),
    /// A field is missing or has another type.
    #[error("its field {0:?} is unusable")]
    Field(&'static str),
    /// It is not BSON.
    #[error("it is not BSON")]
    Format,
}

/// The first document of a manifest; the collections follow it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    version: i32,
    snapshot: String,
    owner: SnapshotOwner,
    taken_at: String,
    server_version: String,
    mode: SnapshotMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode_reason: Option<String>,
    collections: i64,
}

impl Manifest {
    /// All lists of chunks that the snapshot needs.
    pub fn lists(&self) -> impl Iterator<Item = &ChunkList> {
        self.collections.iter().map(|collection| &collection.chunks).chain([&self.oplog])
    }

    /// The items of all lists.
    pub(crate) fn items(&self) -> impl Iterator<Item = &ListItem> {
        self.lists().flat_map(|list| &list.items)
    }

    /// Bytes of documents.
    pub fn size_bytes(&self) -> u64 {
        self.collections.iter().map(|collection| collection.content.bytes).sum()
    }

    /// `size (8) ‖ zstd frame` of one document for the head, one with the list of the oplog's
    /// chunks, and one for each collection.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        let head = Head {
            version: MANIFEST_VERSION,
            snapshot: self.snapshot.clone(),
            owner: self.owner.clone(),
            taken_at: self.taken_at.clone(),
            server_version: self.server_version.clone(),
            mode: self.mode,
            mode_reason: self.mode_reason.clone(),
            collections: i64::try_from(self.collections.len())
                .map_err(|_| ManifestError::Field("collections"))?,
        };
        let head = bson::serialize_to_document(&head).map_err(|_| ManifestError::Format)?;
        let oplog = bson::doc! { "chunks": self.oplog.encode() };
        let collections = self.collections.iter().map(encode_collection);
        let mut raw = Vec::new();
        for document in [head, oplog].into_iter().chain(collections) {
            document.to_writer(&mut raw).map_err(|_| ManifestError::Format)?;
        }
        let mut out = (raw.len() as u64).to_le_bytes().to_vec();
        let packed = zstd::bulk::compress(&raw, COMPRESSION_LEVEL);
        out.extend(packed.map_err(|_| ManifestError::Format)?);
        Ok(out)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let (size, packed) = bytes.split_first_chunk::<8>().ok_or(ManifestError::Format)?;
        let size = u64::from_le_bytes(*size);
        if size > LARGEST_BYTES {
            return Err(ManifestError::Format);
        }
        let mut raw = Vec::new();
        let unpacked = zstd::stream::Decoder::new(Cursor::new(packed))
            .and_then(|decoder| decoder.take(size + 1).read_to_end(&mut raw));
        if unpacked.is_err() || raw.len() as u64 != size {
            return Err(ManifestError::Format);
        }
        let mut rest = raw.as_slice();
        let mut next = || Document::from_reader(&mut rest).map_err(|_| ManifestError::Format);
        let head = next()?;
        let version = head.get_i32("version").map_err(|_| ManifestError::Field("version"))?;
        if version != MANIFEST_VERSION {
            return Err(ManifestError::Version(version));
        }
        let head: Head =
            bson::deserialize_from_document(head).map_err(|_| ManifestError::Field("head"))?;
        let oplog = decode_list(&next()?).ok_or(ManifestError::Field("oplog"))?;
        let collections = (0..head.collections)
            .map(|_| decode_collection(&next()?).ok_or(ManifestError::Field("collections")))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            snapshot: head.snapshot,
            owner: head.owner,
            taken_at: head.taken_at,
            server_version: head.server_version,
            mode: head.mode,
            mode_reason: head.mode_reason,
            collections,
            oplog,
        })
    }
}

pub(crate) fn decode_list(document: &Document) -> Option<ChunkList> {
    ChunkList::decode(document.get_array("chunks").ok()?)
}

pub(crate) fn encode_content(document: &mut Document, content: &DocumentSet) {
    let hash: Vec<u8> = content.hash.iter().flat_map(|lane| lane.to_le_bytes()).collect();
    document.insert("documents", content.documents.cast_signed());
    document.insert("bytes", content.bytes.cast_signed());
    document.insert("hash", binary(&hash));
}

pub(crate) fn decode_content(document: &Document) -> Option<DocumentSet> {
    let hash = document.get_binary_generic("hash").ok()?;
    let (lanes, []) = hash.as_chunks::<8>() else {
        return None;
    };
    let mut sum = [0; 4];
    if lanes.len() != sum.len() {
        return None;
    }
    sum.iter_mut().zip(lanes).for_each(|(lane, bytes)| *lane = u64::from_le_bytes(*bytes));
    Some(DocumentSet {
        documents: document.get_i64("documents").ok()?.cast_unsigned(),
        bytes: document.get_i64("bytes").ok()?.cast_unsigned(),
        hash: sum,
    })
}

pub(crate) fn encode_collection(collection: &CollectionManifest) -> Document {
    let mut document = bson::doc! {
        "db": &collection.database,
        "name": &collection.name,
        "type": &collection.kind,
        "options": &collection.options,
        "indexes": collection.indexes.clone(),
    };
    encode_content(&mut document, &collection.content);
    document.insert("chunks", collection.chunks.encode());
    if collection.is_sorted {
        document.insert("sorted", true);
    }
    if let Some(uuid) = &collection.uuid {
        document.insert("uuid", uuid.clone());
    }
    document
}

pub(crate) fn decode_collection(collection: &Document) -> Option<CollectionManifest> {
    let indexes = collection.get_array("indexes").ok()?.iter();
    Some(CollectionManifest {
        database: collection.get_str("db").ok()?.to_owned(),
        name: collection.get_str("name").ok()?.to_owned(),
        kind: collection.get_str("type").ok()?.to_owned(),
        uuid: match collection.get("uuid") {
            Some(Bson::Binary(uuid)) => Some(uuid.clone()),
            _ => None,
        },
        options: collection.get_document("options").ok()?.clone(),
        indexes: indexes.map(|index| index.as_document().cloned()).collect::<Option<_>>()?,
        content: decode_content(collection)?,
        chunks: decode_list(collection)?,
        is_sorted: collection.get_bool("sorted").unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::ChunkId;
    use crate::list::{ChunkRef, PartRef};

    #[test]
    fn a_manifest_survives_its_bytes() {
        let mut content = DocumentSet::default();
        content.add(b"document");
        let chunk = ChunkRef {
            id: ChunkId([3; 32]),
            documents: 1,
            bytes: 8,
            first_id: Bson::Int32(1),
            last_id: Bson::MaxKey,
            extent: crate::list::Extent::Between(Box::new((Bson::Int32(0), Bson::MaxKey))),
        };
        let manifest = Manifest {
            snapshot: "s".into(),
            owner: SnapshotOwner {
                instance: "i".into(),
                instance_name: "one".into(),
                kind: "onDemand".into(),
                created_at: "2026-01-01T00:00:00Z".into(),
                expires_at: "2026-02-01T00:00:00Z".into(),
            },
            taken_at: "2026-01-01T00:00:00Z".into(),
            server_version: "7.0.12".into(),
            mode: SnapshotMode::FuzzyWithOplog {
                start: OplogTime::new(1, 2),
                end: OplogTime::new(3, 4),
            },
            mode_reason: Some("why".into()),
            collections: vec![CollectionManifest {
                database: "d".into(),
                name: "c\n$/".into(),
                kind: "collection".into(),
                uuid: Some(Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![1; 16] }),
                options: bson::doc! { "validator": { "b": 1, "a": 2 } },
                indexes: vec![bson::doc! { "v": 2, "key": { "z": 1, "a": -1 }, "name": "z_a" }],
                content,
                is_sorted: true,
                chunks: ChunkList {
                    items: vec![
                        ListItem::Part(PartRef { id: ChunkId([4; 32]), chunks: 500 }),
                        ListItem::Chunk(chunk.clone()),
                    ],
                },
            }],
            oplog: ChunkList { items: vec![ListItem::Chunk(chunk)] },
        };
        assert_eq!(Manifest::decode(&manifest.encode().unwrap()).unwrap(), manifest);
    }

    #[test]
    fn a_newer_version_is_refused_with_its_number() {
        let raw = bson::doc! { "version": 99 }.to_vec().unwrap();
        let mut bytes = (raw.len() as u64).to_le_bytes().to_vec();
        bytes.extend(zstd::bulk::compress(&raw, 1).unwrap());
        assert_eq!(Manifest::decode(&bytes), Err(ManifestError::Version(99)));
        assert!(Manifest::decode(b"nonsense").is_err());
    }
}
