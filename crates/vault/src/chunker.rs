//! Cuts a run of documents into chunks, at document boundaries, by content.
//!
//! After each document a hash of its first bytes decides whether the chunk ends. The chance grows
//! with the document's size, so that chunks have the same average whatever the documents; and
//! because only content decides, an inserted document changes one chunk and not all that follow.

/// A chunk is not cut before it has this size.
const SMALLEST_BYTES: usize = 16 * 1024;
/// The average size beyond the smallest.
const AVERAGE_BYTES: u64 = 80 * 1024;
/// A chunk is cut when it would grow beyond this size; one larger document is a chunk of its own.
const LARGEST_BYTES: usize = 1024 * 1024;
/// Which part of a document is looked at: its `_id`, which comes first, after its length. What comes last
/// is often the same in all documents, and what changes is seldom the `_id`.
const ID_BYTES: std::ops::Range<usize> = 4..44;

/// A chunk before it is stored: whole documents, concatenated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawChunk {
    /// The documents.
    pub bytes: Vec<u8>,
    /// How many.
    pub documents: u32,
}

/// Collects documents and cuts chunks.
#[derive(Debug, Default)]
pub struct Chunker {
    bytes: Vec<u8>,
    documents: u32,
}

impl Chunker {
    /// A chunker that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a document; returns the chunk that it completes.
    ///
    /// A document that would make the chunk too large goes into the next one.
    pub fn push(&mut self, document: &[u8]) -> Option<RawChunk> {
        let overflows = !self.bytes.is_empty() && self.bytes.len() + document.len() > LARGEST_BYTES;
        let complete = if overflows { self.finish() } else { None };
        self.bytes.extend_from_slice(document);
        self.documents += 1;
        if complete.is_some() {
            return complete;
        }
        let ends = self.bytes.len() >= SMALLEST_BYTES && is_boundary(document);
        if ends || self.bytes.len() >= LARGEST_BYTES { self.finish() } else { None }
    }

    /// Bytes of documents that are in no chunk yet.
    pub fn rest_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The chunk of what is left.
    pub fn finish(&mut self) -> Option<RawChunk> {
        if self.documents == 0 {
            return None;
        }
        let documents = std::mem::take(&mut self.documents);
        Some(RawChunk { bytes: std::mem::take(&mut self.bytes), documents })
    }
}

/// Whether a chunk ends after this document: with probability size / average.
fn is_boundary(document: &[u8]) -> bool {
    let id = document.get(ID_BYTES).unwrap_or(document);
    // FNV-1a over eight bytes at a time, then mixed so that the high bits depend on all.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for word in id.chunks(8) {
        let mut bytes = [0; 8];
        bytes.iter_mut().zip(word).for_each(|(byte, value)| *byte = *value);
        hash = (hash ^ u64::from_le_bytes(bytes)).wrapping_mul(0x0000_0100_0000_01b3);
        hash ^= hash >> 29;
    }
    hash = hash.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^= hash >> 32;
    let limit = (u64::MAX / AVERAGE_BYTES).saturating_mul(document.len() as u64);
    hash < limit
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunks(documents: &[Vec<u8>]) -> Vec<RawChunk> {
        let mut chunker = Chunker::new();
        let mut chunks: Vec<_> = documents.iter().filter_map(|d| chunker.push(d)).collect();
        chunks.extend(chunker.finish());
        chunks
    }

    fn documents(seed: u64, count: u64, size: usize) -> Vec<Vec<u8>> {
        (0..count)
            .map(|n| {
                let mut document = vec![0x20; size];
                let stamp = blake3::hash(&(seed + n).to_le_bytes());
                document[8..40].copy_from_slice(stamp.as_bytes());
                document
            })
            .collect()
    }

    #[test]
    fn chunks_have_the_promised_size_whatever_the_documents() {
        for size in [200, 1_000, 20_000] {
            let documents = documents(1, 20_000_000 / size as u64, size);
            let chunks = chunks(&documents);
            let average = documents.len() * size / chunks.len();
            assert!((64 * 1024..160 * 1024).contains(&average), "{size}: {average}");
        }
    }

    #[test]
    fn one_inserted_document_changes_one_chunk() {
        let mut documents = documents(7, 20_000, 500);
        let before = chunks(&documents);
        documents.insert(10_000, vec![1; 321]);
        let after = chunks(&documents);
        let kept = after.iter().filter(|chunk| before.contains(chunk)).count();
        assert!(kept + 2 >= before.len(), "{kept} of {}", before.len());
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_reordered(sizes in proptest::collection::vec(5usize..300_000, 0..40)) {
            let documents: Vec<Vec<u8>> = (0u8..).zip(&sizes).map(|(n, size)| vec![n; *size]).collect();
            let chunks = chunks(&documents);
            let joined: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.bytes.clone()).collect();
            prop_assert_eq!(joined, documents.concat());
            prop_assert_eq!(chunks.iter().map(|c| c.documents as usize).sum::<usize>(), documents.len());
        }
    }
}
