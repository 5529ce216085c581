//! Drafts: what has been read of a snapshot that is not complete, so that reading it can go on after a
//! crash.
//!
//! A draft is no snapshot: nothing is restored from it, and `prune` does not know it. It is replaced as
//! reading goes on, and gone with its snapshot.

use bson::Document;
use tidemark_model::OplogTime;

use crate::digest::DocumentSet;
use crate::error::VaultError;
use crate::layout::draft_name;
use crate::list::ChunkList;
use crate::manifest::{
    CollectionManifest, decode_collection, decode_content, decode_list, encode_collection,
    encode_content,
};
use crate::sealed::{self, Kind};
use crate::store::Put;
use crate::vault::Vault;

/// What has been read of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// The snapshot's id.
    pub snapshot: String,
    /// The position from which the oplog makes consistent what was read at no one moment.
    pub start: Option<OplogTime>,
    /// The moment at which everything is read, if it is one.
    pub at: Option<OplogTime>,
    /// The collections as they were listed, without documents.
    pub collections: Vec<CollectionManifest>,
    /// The parts in which they are read.
    pub parts: Vec<DraftPart>,
}

/// A part of a collection.
#[derive(Debug, Clone, PartialEq)]
pub struct DraftPart {
    /// Which of the collections.
    pub collection: usize,
    /// Which documents of it, as whoever reads it says that.
    pub slice: Document,
    /// What it holds, once it is read and its chunks are in the vault for good.
    pub read: Option<(DocumentSet, ChunkList)>,
}

/// The version of the format.
const VERSION: i32 = 1;

impl Draft {
    fn encode(&self) -> Option<Vec<u8>> {
        let position = |at: &Option<OplogTime>| at.map(|at| at.to_u64().cast_signed());
        let mut raw = Vec::new();
        let head = bson::doc! {
            "version": VERSION,
            "snapshot": &self.snapshot,
            "start": position(&self.start),
            "at": position(&self.at),
            "collections": i64::try_from(self.collections.len()).ok()?,
        };
        let parts = self.parts.iter().map(|part| {
            let mut document = bson::doc! {
                "collection": i64::try_from(part.collection).unwrap_or(i64::MAX),
                "slice": &part.slice,
            };
            if let Some((content, chunks)) = &part.read {
                encode_content(&mut document, content);
                document.insert("chunks", chunks.encode());
            }
            document
        });
        let collections = self.collections.iter().map(encode_collection);
        for document in [head].into_iter().chain(collections).chain(parts) {
            document.to_writer(&mut raw).ok()?;
        }
        Some(raw)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut next =
            || (!rest.is_empty()).then(|| Document::from_reader(&mut rest).ok()).flatten();
        let head = next()?;
        if head.get_i32("version").ok()? != VERSION {
            return None;
        }
        let position =
            |name: &str| head.get_i64(name).ok().map(|at| OplogTime::from_u64(at.cast_unsigned()));
        let collections = (0..head.get_i64("collections").ok()?)
            .map(|_| decode_collection(&next()?))
            .collect::<Option<Vec<_>>>()?;
        let mut parts = Vec::new();
        while let Some(part) = next() {
            let read = if part.contains_key("chunks") {
                Some((decode_content(&part)?, decode_list(&part)?))
            } else {
                None
            };
            parts.push(DraftPart {
                collection: usize::try_from(part.get_i64("collection").ok()?).ok()?,
                slice: part.get_document("slice").ok()?.clone(),
                read,
            });
        }
        let snapshot = head.get_str("snapshot").ok()?.to_owned();
        Some(Self { snapshot, start: position("start"), at: position("at"), collections, parts })
    }
}

impl Vault {
    /// Keeps what has been read of a snapshot, instead of what was kept before.
    pub fn store_draft(&self, draft: &Draft) -> Result<(), VaultError> {
        let name = draft_name(&draft.snapshot);
        let bytes = draft.encode().ok_or_else(|| VaultError::Unwritable(name.clone()))?;
        let sealed = sealed::seal(&self.key, (Kind::Draft, &name), &bytes);
        let stored = self.store.put(&name, &sealed, Put::Replace);
        stored.map(drop).map_err(self.file_error(&name))
    }

    /// What has been read of a snapshot. One that is damaged is none: then it is read again.
    pub fn find_draft(&self, snapshot: &str) -> Result<Option<Draft>, VaultError> {
        let name = draft_name(snapshot);
        match self.load_object((Kind::Draft, &name), "draft") {
            Ok(bytes) => Ok(Draft::decode(&bytes).filter(|draft| draft.snapshot == snapshot)),
            Err(VaultError::Missing { .. } | VaultError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Forgets what has been read of a snapshot; forgetting twice is fine.
    pub fn remove_draft(&self, snapshot: &str) -> Result<(), VaultError> {
        let name = draft_name(snapshot);
        self.store.remove(&name).map_err(self.file_error(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VaultKey;

    #[test]
    fn a_draft_is_replaced_and_one_that_is_damaged_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path(), VaultKey::from_bytes([1; 32])).unwrap();
        let mut draft = Draft {
            snapshot: "s".into(),
            start: Some(OplogTime::new(1, 2)),
            at: None,
            collections: Vec::new(),
            parts: vec![DraftPart { collection: 0, slice: bson::doc! { "from": 1 }, read: None }],
        };
        assert_eq!(vault.find_draft("s").unwrap(), None);
        vault.store_draft(&draft).unwrap();
        draft.parts[0].read = Some((DocumentSet::default(), ChunkList::default()));
        vault.store_draft(&draft).unwrap();
        assert_eq!(vault.find_draft("s").unwrap(), Some(draft));
        assert_eq!(vault.snapshots().unwrap(), Vec::<String>::new(), "it is no snapshot");
        let path = folder.path().join("drafts/s");
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(vault.find_draft("s").unwrap(), None);
        vault.remove_manifest("s").unwrap();
        assert!(!path.exists(), "it goes with its snapshot");
    }
}
