//! The archive of `mongodump --archive --gzip`, made from a snapshot.
//!
//! Source: `common/archive` of mongo-tools. The stream is cut into many gzip members, which
//! readers take as one; namespaces follow one another, so a reader needs one of them open at a
//! time. The CRC of a namespace is CRC-64/XZ over its documents.

use std::borrow::Cow;
use std::io::Write;

use bson::{Bson, Document};
use crc64fast::Digest;
use flate2::Compression;
use flate2::write::GzEncoder;
use tidemark_deployment::{TIME_SERIES, buckets_of, has_buckets_apart};
use tidemark_vault::{ChunkList, CollectionManifest, Manifest, Vault};
use tidemark_wire::encode_document;

use crate::error::MoverError;
use crate::stop::Stop;

pub(crate) const MAGIC: u32 = 0x8199_e26d;
pub(crate) const TERMINATOR: [u8; 4] = [0xff; 4];
/// Uncompressed bytes of one gzip member.
const MEMBER_BYTES: usize = 1024 * 1024;

/// What an archive holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArchiveSummary {
    /// Documents in it, oplog entries not counted.
    pub documents: u64,
    /// Bytes of the compressed file.
    pub bytes: u64,
}

/// Writes the archive of a snapshot.
pub fn write_archive(
    vault: &Vault,
    manifest: &Manifest,
    out: &mut impl Write,
    stop: &Stop,
) -> Result<ArchiveSummary, MoverError> {
    let mut archive = Archive { out, member: Vec::new(), summary: ArchiveSummary::default() };
    archive.prelude(manifest)?;
    for collection in &manifest.collections {
        stop.check()?;
        let name = if has_buckets_apart(&manifest.server_version) {
            name_of_data(collection)
        } else {
            Cow::Borrowed(collection.name.as_str())
        };
        let documents =
            archive.namespace(vault, (&collection.database, &name), &collection.chunks, stop)?;
        archive.summary.documents += documents;
    }
    if !manifest.oplog.is_empty() {
        archive.namespace(vault, ("", "oplog"), &manifest.oplog, stop)?;
    }
    archive.finish_member()?;
    Ok(archive.summary)
}

struct Archive<'w, W> {
    out: &'w mut W,
    member: Vec<u8>,
    summary: ArchiveSummary,
}

impl<W: Write> Archive<'_, W> {
    fn prelude(&mut self, manifest: &Manifest) -> Result<(), MoverError> {
        self.put(&MAGIC.to_le_bytes())?;
        self.put(&encode_document(&bson::doc! {
            "concurrent_collections": 1,
            "version": "0.1",
            "server_version": &manifest.server_version,
            "tool_version": concat!("tidemark-", env!("CARGO_PKG_VERSION")),
        }))?;
        for collection in &manifest.collections {
            self.put(&encode_document(&bson::doc! {
                "db": &collection.database,
                "collection": &collection.name,
                "metadata": metadata(collection),
                "size": 0,
                "type": &collection.kind,
            }))?;
        }
        if !manifest.oplog.is_empty() {
            let oplog = bson::doc! { "db": "", "collection": "oplog", "metadata": "", "size": 0, "type": "" };
            self.put(&encode_document(&oplog))?;
        }
        self.put(&TERMINATOR)
    }

    /// Writes the documents of one namespace and its end; returns how many there were.
    fn namespace(
        &mut self,
        vault: &Vault,
        (database, collection): (&str, &str),
        chunks: &ChunkList,
        stop: &Stop,
    ) -> Result<u64, MoverError> {
        let header = |is_end: bool, crc: i64| {
            encode_document(
                &bson::doc! { "db": database, "collection": collection, "EOF": is_end, "CRC": crc },
            )
        };
        let mut crc = Digest::new();
        let mut documents = 0;
        if !chunks.is_empty() {
            self.put(&header(false, 0))?;
            for item in &chunks.items {
                for chunk in vault.load_item(item)? {
                    stop.check()?;
                    let raw = vault.read_chunk(chunk.id)?;
                    crc.write(&raw);
                    documents += u64::from(chunk.documents);
                    self.put(&raw)?;
                }
            }
            self.put(&TERMINATOR)?;
        }
        let crc = if documents == 0 { 0 } else { crc.sum64().cast_signed() };
        self.put(&header(true, crc))?;
        self.put(&TERMINATOR)?;
        Ok(documents)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), MoverError> {
        self.member.extend_from_slice(bytes);
        if self.member.len() >= MEMBER_BYTES { self.finish_member() } else { Ok(()) }
    }

    fn finish_member(&mut self) -> Result<(), MoverError> {
        let failed = |source| MoverError::File { path: "the archive".to_owned(), source };
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&self.member).map_err(failed)?;
        let compressed = encoder.finish().map_err(failed)?;
        self.member.clear();
        self.summary.bytes += compressed.len() as u64;
        self.out.write_all(&compressed).map_err(failed)
    }
}

/// Under which name a dump has the documents of a collection.
pub(crate) fn name_of_data(collection: &CollectionManifest) -> Cow<'_, str> {
    if collection.kind == TIME_SERIES {
        // As dumps of servers before 8.3 have them.
        return Cow::Owned(buckets_of(&collection.name));
    }
    Cow::Borrowed(&collection.name)
}

/// The text of a collection's metadata: canonical Extended JSON in one line.
pub(crate) fn metadata(collection: &CollectionManifest) -> String {
    let uuid = collection.uuid.as_ref().map(|uuid| {
        uuid.bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    });
    let mut metadata = Document::new();
    metadata.insert("options", &collection.options);
    metadata.insert("indexes", collection.indexes.clone());
    if let Some(uuid) = uuid {
        metadata.insert("uuid", uuid);
    }
    metadata.insert("collectionName", &collection.name);
    metadata.insert("type", &collection.kind);
    Bson::Document(metadata).into_canonical_extjson().to_string()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::MultiGzDecoder;
    use tidemark_vault::{
        ChunkRef, Chunker, DocumentSet, ListItem, SnapshotMode, SnapshotOwner, VaultKey,
    };

    use super::*;

    #[test]
    fn the_archive_has_the_layout_of_mongodump() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path(), VaultKey::from_bytes([1; 32])).unwrap();
        let writer = vault.writer().unwrap();
        let document = encode_document(&bson::doc! { "_id": 1, "x": "v0" });
        let mut chunker = Chunker::new();
        chunker.push(&document);
        let chunk = chunker.finish().unwrap();
        let id = writer.put_chunk(&chunk).unwrap();
        let collection = CollectionManifest {
            is_sorted: false,
            database: "d".into(),
            name: "a".into(),
            kind: "collection".into(),
            uuid: None,
            options: Document::new(),
            indexes: vec![bson::doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }],
            content: DocumentSet::default(),
            chunks: ChunkList {
                items: vec![ListItem::Chunk(ChunkRef {
                    id,
                    documents: 1,
                    bytes: 24,
                    first_id: Bson::Int32(1),
                    last_id: Bson::Int32(1),
                    extent: tidemark_vault::Extent::Ends,
                })],
            },
        };
        let manifest = Manifest {
            snapshot: "s".into(),
            owner: SnapshotOwner {
                instance: "i".into(),
                instance_name: "one".into(),
                kind: "onDemand".into(),
                created_at: String::new(),
                expires_at: String::new(),
            },
            taken_at: String::new(),
            server_version: "7.0.12".into(),
            mode: SnapshotMode::AsIs,
            mode_reason: None,
            collections: vec![collection],
            oplog: ChunkList::default(),
        };
        writer.finish(&manifest).unwrap();
        let mut file = Vec::new();
        let summary = write_archive(&vault, &manifest, &mut file, &Stop::new()).unwrap();
        assert_eq!((summary.documents, summary.bytes), (1, file.len() as u64));
        let mut raw = Vec::new();
        MultiGzDecoder::new(file.as_slice()).read_to_end(&mut raw).unwrap();
        assert_eq!(raw[..4], [0x6d, 0xe2, 0x99, 0x81]);
        let mut crc = Digest::new();
        crc.write(&document);
        let end = encode_document(
            &bson::doc! { "db": "d", "collection": "a", "EOF": true, "CRC": crc.sum64().cast_signed() },
        );
        let tail = [document.as_slice(), &TERMINATOR, &end, &TERMINATOR].concat();
        assert!(raw.ends_with(&tail));
    }

    #[test]
    fn the_checksum_is_crc_64_xz() {
        let mut crc = Digest::new();
        crc.write(b"123456789");
        assert_eq!(crc.sum64(), 0x995d_c9bb_df19_39fa);
    }
}
