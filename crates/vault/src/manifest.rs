//! The manifest of a snapshot: everything that belongs to it, and the proof that it is whole.

use bson::{Binary, Bson, Document};
use serde::{Deserialize, Serialize};
use tidemark_model::OplogTime;

use crate::digest::{ChunkId, DocumentSet};

/// The format's version that this code writes and reads.
pub(crate) const MANIFEST_VERSION: i32 = 1;

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
    /// Documents were read while they changed and there is no oplog: not one moment.
    AsIs,
}

impl SnapshotMode {
    /// The moment that restored data shows, if it is one.
    pub fn consistent_at(&self) -> Option<OplogTime> {
        match self {
            Self::Snapshot { at } => Some(*at),
            Self::FuzzyWithOplog { end, .. } => Some(*end),
            Self::AsIs => None,
        }
    }
}

/// A reference to a chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct ChunkRef {
    /// Its name.
    pub id: ChunkId,
    /// How many documents it holds.
    pub documents: u32,
    /// Their bytes.
    pub bytes: u32,
    /// The `_id` of its first document.
    pub first_id: Bson,
    /// The `_id` of its last document.
    pub last_id: Bson,
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
    pub chunks: Vec<ChunkRef>,
}

impl CollectionManifest {
    /// `database.collection`.
    pub fn namespace(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The snapshot's id.
    pub snapshot: String,
    /// The instance that was read.
    pub instance: String,
    /// When, as an RFC 3339 instant.
    pub taken_at: String,
    /// The version that the deployment says it has.
    pub server_version: String,
    /// How it was made consistent.
    pub mode: SnapshotMode,
    /// The collections.
    pub collections: Vec<CollectionManifest>,
    /// Oplog entries that belong to the snapshot, in order; empty unless the mode needs them.
    pub oplog: Vec<ChunkRef>,
}

/// Why a document is not a manifest that this release reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A newer release wrote it.
    #[error(
        "it has version {0}; this release reads version {MANIFEST_VERSION}, so a newer release is needed"
    )]
    Version(i32),
    /// A field is missing or has another type.
    #[error("its field {0:?} is unusable")]
    Field(&'static str),
    /// It is not BSON.
    #[error("it is not BSON")]
    Format,
}

impl Manifest {
    /// All chunks that the snapshot needs.
    pub fn chunks(&self) -> impl Iterator<Item = &ChunkRef> {
        self.collections.iter().flat_map(|collection| &collection.chunks).chain(&self.oplog)
    }

    /// Bytes of documents.
    pub fn size_bytes(&self) -> u64 {
        self.collections.iter().map(|collection| collection.content.bytes).sum()
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        let mode = bson::serialize_to_bson(&self.mode).map_err(|_| ManifestError::Field("mode"))?;
        let collections: Vec<Bson> = self.collections.iter().map(encode_collection).collect();
        bson::doc! {
            "version": MANIFEST_VERSION,
            "snapshot": &self.snapshot,
            "instance": &self.instance,
            "takenAt": &self.taken_at,
            "serverVersion": &self.server_version,
            "mode": mode,
            "collections": collections,
            "oplog": encode_chunks(&self.oplog),
        }
        .to_vec()
        .map_err(|_| ManifestError::Format)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let document = Document::from_reader(bytes).map_err(|_| ManifestError::Format)?;
        let version = document.get_i32("version").map_err(|_| ManifestError::Field("version"))?;
        if version != MANIFEST_VERSION {
            return Err(ManifestError::Version(version));
        }
        let mode = document.get("mode").cloned().ok_or(ManifestError::Field("mode"))?;
        let collections = array(&document, "collections")?
            .iter()
            .map(|collection| {
                decode_collection(collection).ok_or(ManifestError::Field("collections"))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            snapshot: text(&document, "snapshot")?,
            instance: text(&document, "instance")?,
            taken_at: text(&document, "takenAt")?,
            server_version: text(&document, "serverVersion")?,
            mode: bson::deserialize_from_bson(mode).map_err(|_| ManifestError::Field("mode"))?,
            collections,
            oplog: decode_chunks(array(&document, "oplog")?)
                .ok_or(ManifestError::Field("oplog"))?,
        })
    }
}

fn text(document: &Document, field: &'static str) -> Result<String, ManifestError> {
    document.get_str(field).map(str::to_owned).map_err(|_| ManifestError::Field(field))
}

fn array<'a>(document: &'a Document, field: &'static str) -> Result<&'a Vec<Bson>, ManifestError> {
    document.get_array(field).map_err(|_| ManifestError::Field(field))
}

fn binary(bytes: &[u8]) -> Binary {
    Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: bytes.to_vec() }
}

fn encode_chunks(chunks: &[ChunkRef]) -> Vec<Bson> {
    let encode = |chunk: &ChunkRef| {
        Bson::Document(bson::doc! {
            "id": binary(&chunk.id.0),
            "n": i64::from(chunk.documents),
            "b": i64::from(chunk.bytes),
            "first": chunk.first_id.clone(),
            "last": chunk.last_id.clone(),
        })
    };
    chunks.iter().map(encode).collect()
}

fn decode_chunks(chunks: &[Bson]) -> Option<Vec<ChunkRef>> {
    let decode = |chunk: &Bson| {
        let chunk = chunk.as_document()?;
        Some(ChunkRef {
            id: ChunkId(chunk.get_binary_generic("id").ok()?.as_slice().try_into().ok()?),
            documents: u32::try_from(chunk.get_i64("n").ok()?).ok()?,
            bytes: u32::try_from(chunk.get_i64("b").ok()?).ok()?,
            first_id: chunk.get("first")?.clone(),
            last_id: chunk.get("last")?.clone(),
        })
    };
    chunks.iter().map(decode).collect()
}

fn encode_collection(collection: &CollectionManifest) -> Bson {
    let content = &collection.content;
    let hash: Vec<u8> = content.hash.iter().flat_map(|lane| lane.to_le_bytes()).collect();
    let mut document = bson::doc! {
        "db": &collection.database,
        "name": &collection.name,
        "type": &collection.kind,
        "options": &collection.options,
        "indexes": collection.indexes.clone(),
        "documents": content.documents.cast_signed(),
        "bytes": content.bytes.cast_signed(),
        "hash": binary(&hash),
        "chunks": encode_chunks(&collection.chunks),
    };
    if let Some(uuid) = &collection.uuid {
        document.insert("uuid", uuid.clone());
    }
    document.into()
}

fn decode_collection(collection: &Bson) -> Option<CollectionManifest> {
    let collection = collection.as_document()?;
    let hash = collection.get_binary_generic("hash").ok()?;
    let (lanes, []) = hash.as_chunks::<8>() else {
        return None;
    };
    let mut sum = [0; 4];
    if lanes.len() != sum.len() {
        return None;
    }
    sum.iter_mut().zip(lanes).for_each(|(lane, bytes)| *lane = u64::from_le_bytes(*bytes));
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
        content: DocumentSet {
            documents: collection.get_i64("documents").ok()?.cast_unsigned(),
            bytes: collection.get_i64("bytes").ok()?.cast_unsigned(),
            hash: sum,
        },
        chunks: decode_chunks(collection.get_array("chunks").ok()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        };
        let manifest = Manifest {
            snapshot: "s".into(),
            instance: "i".into(),
            taken_at: "2026-01-01T00:00:00Z".into(),
            server_version: "7.0.12".into(),
            mode: SnapshotMode::FuzzyWithOplog {
                start: OplogTime::new(1, 2),
                end: OplogTime::new(3, 4),
            },
            collections: vec![CollectionManifest {
                database: "d".into(),
                name: "c\n$/".into(),
                kind: "collection".into(),
                uuid: Some(Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![1; 16] }),
                options: bson::doc! { "validator": { "b": 1, "a": 2 } },
                indexes: vec![bson::doc! { "v": 2, "key": { "z": 1, "a": -1 }, "name": "z_a" }],
                content,
                chunks: vec![chunk.clone()],
            }],
            oplog: vec![chunk],
        };
        assert_eq!(Manifest::decode(&manifest.encode().unwrap()).unwrap(), manifest);
    }

    #[test]
    fn a_newer_version_is_refused_with_its_number() {
        let bytes = bson::doc! { "version": 99 }.to_vec().unwrap();
        assert_eq!(Manifest::decode(&bytes), Err(ManifestError::Version(99)));
        assert!(Manifest::decode(b"nonsense").is_err());
    }
}
