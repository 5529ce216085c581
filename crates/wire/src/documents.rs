//! Runs of BSON documents: concatenated, each beginning with its own length.

use bson::{Document, RawDocument};

/// A document cannot be smaller: its length and its terminator.
const SMALLEST_DOCUMENT_BYTES: usize = 5;

/// Why bytes are not a run of documents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentRunError {
    /// A length that does not fit into the bytes that follow.
    #[error("a document at byte {offset} claims {length} bytes, {available} are there")]
    Length {
        /// Where the document starts.
        offset: usize,
        /// What its first four bytes say.
        length: i64,
        /// How many bytes remain.
        available: usize,
    },
    /// The last byte of a document is not zero.
    #[error("the document at byte {offset} is not terminated")]
    Unterminated {
        /// Where the document starts.
        offset: usize,
    },
}

/// Walks over concatenated documents without decoding them.
#[derive(Debug, Clone)]
pub struct DocumentRun<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> DocumentRun<'a> {
    /// A walk over `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// The offset of the next document.
    pub fn offset(&self) -> usize {
        self.offset
    }

    fn next_document(&mut self, rest: &'a [u8]) -> Result<&'a RawDocument, DocumentRunError> {
        let offset = self.offset;
        self.offset = self.bytes.len();
        let length = rest.first_chunk::<4>().map_or(-1, |bytes| i32::from_le_bytes(*bytes));
        let document = usize::try_from(length)
            .ok()
            .filter(|length| *length >= SMALLEST_DOCUMENT_BYTES)
            .and_then(|length| rest.get(..length))
            .ok_or(DocumentRunError::Length {
                offset,
                length: i64::from(length),
                available: rest.len(),
            })?;
        let raw = RawDocument::from_bytes(document)
            .map_err(|_| DocumentRunError::Unterminated { offset })?;
        self.offset = offset + document.len();
        Ok(raw)
    }
}

impl<'a> Iterator for DocumentRun<'a> {
    type Item = Result<&'a RawDocument, DocumentRunError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.offset..).filter(|rest| !rest.is_empty())?;
        Some(self.next_document(rest))
    }
}

/// The bytes of a document made by this program.
///
/// Encoding fails for texts with a NUL where BSON allows none (a key); such a document is
/// replaced by an empty one, because nothing of ours writes such keys.
pub fn encode_document(document: &Document) -> Vec<u8> {
    document.to_vec().unwrap_or_else(|_| vec![5, 0, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn documents_are_found_one_after_another() {
        let mut bytes = encode_document(&doc! { "a": 1 });
        bytes.extend(encode_document(&doc! {}));
        let found: Vec<_> = DocumentRun::new(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(found.len(), 2);
        assert!(found[1].is_empty());
    }

    #[test]
    fn lengths_that_lie_are_refused_and_end_the_walk() {
        for bytes in [&[1, 0, 0][..], &[4, 0, 0, 0], &[255, 255, 255, 255, 0], &[9, 0, 0, 0, 0]] {
            let mut run = DocumentRun::new(bytes);
            assert!(run.next().unwrap().is_err());
            assert!(run.next().is_none());
        }
    }
}
