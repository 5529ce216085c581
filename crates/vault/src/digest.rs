//! Names of chunks, and the proof that two collections hold the same documents.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a chunk: the BLAKE3 hash of its bytes, keyed with the vault's key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId(pub [u8; 32]);

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkId({self})")
    }
}

/// Count, bytes and hash of a set of documents, whatever their order.
///
/// The hash is the sum of the documents' BLAKE3 hashes, as four 64-bit numbers, each modulo
/// 2⁶⁴: documents can be added and removed in any order and on many threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DocumentSet {
    /// How many documents.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The sum of their hashes.
    pub hash: [u64; 4],
}

impl DocumentSet {
    fn lanes(document: &[u8]) -> [u64; 4] {
        let hash = blake3::hash(document);
        let mut lanes = [0; 4];
        for (lane, bytes) in lanes.iter_mut().zip(hash.as_bytes().as_chunks::<8>().0) {
            *lane = u64::from_le_bytes(*bytes);
        }
        lanes
    }

    /// Adds a document.
    pub fn add(&mut self, document: &[u8]) {
        self.documents += 1;
        self.bytes += document.len() as u64;
        for (sum, lane) in self.hash.iter_mut().zip(Self::lanes(document)) {
            *sum = sum.wrapping_add(lane);
        }
    }

    /// Takes a document out.
    pub fn remove(&mut self, document: &[u8]) {
        self.documents = self.documents.wrapping_sub(1);
        self.bytes = self.bytes.wrapping_sub(document.len() as u64);
        for (sum, lane) in self.hash.iter_mut().zip(Self::lanes(document)) {
            *sum = sum.wrapping_sub(lane);
        }
    }

    /// Adds another set.
    pub fn merge(&mut self, other: &Self) {
        self.documents += other.documents;
        self.bytes += other.bytes;
        for (sum, lane) in self.hash.iter_mut().zip(other.hash) {
            *sum = sum.wrapping_add(lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_documents_does_not_matter_and_their_content_does() {
        let set = |documents: &[&[u8]]| {
            let mut set = DocumentSet::default();
            documents.iter().for_each(|document| set.add(document));
            set
        };
        assert_eq!(set(&[b"a", b"b"]), set(&[b"b", b"a"]));
        assert_ne!(set(&[b"a", b"b"]), set(&[b"a", b"c"]));
        assert_ne!(set(&[b"a", b"a"]), set(&[b"b", b"b"]));
        let mut removed = set(&[b"a", b"b"]);
        removed.remove(b"b");
        assert_eq!(removed, set(&[b"a"]));
    }
}
