//! Answers to commands, and batches of documents that go into them as they are.

use bson::raw::RawDocument;
use bson::{Document, Timestamp};
use tidemark_model::OplogTime;

use crate::error::{CommandError, Result};

/// What one answer carries at most, in bytes of documents.
const LARGEST_BATCH_BYTES: usize = 16 * 1024 * 1024;

/// Documents for one answer.
pub(crate) struct Batch {
    /// A BSON array, without its length and end.
    elements: Vec<u8>,
    count: usize,
    limit: usize,
}

impl Batch {
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self { elements: Vec::new(), count: 0, limit: limit.unwrap_or(usize::MAX) }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Takes a document; `false` when the batch is full. The first always fits.
    pub(crate) fn push(&mut self, document: &RawDocument) -> bool {
        let bytes = document.as_bytes();
        let is_full = self.count >= self.limit
            || (self.count > 0 && self.elements.len() + bytes.len() > LARGEST_BATCH_BYTES);
        if is_full {
            return false;
        }
        self.elements.push(3);
        self.elements.extend_from_slice(self.count.to_string().as_bytes());
        self.elements.push(0);
        self.elements.extend_from_slice(bytes);
        self.count += 1;
        true
    }
}

/// Appends an element of type `kind` that holds `bytes` with a length and an end around them.
fn push_container(out: &mut Vec<u8>, kind: u8, name: &str, bytes: &[u8]) {
    out.push(kind);
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    out.extend_from_slice(&wrap(bytes));
}

fn wrap(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 5);
    out.extend_from_slice(&u32::try_from(bytes.len() + 5).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
    out.push(0);
    out
}

/// The elements of a document, without its length and end.
fn elements_of(document: &Document) -> Result<Vec<u8>> {
    let bytes = document.to_vec()?;
    Ok(bytes.get(4..bytes.len() - 1).unwrap_or_default().to_vec())
}

/// An answer to a command.
pub(crate) enum Reply {
    Document(Document),
    Cursor { field: &'static str, batch: Batch, id: i64, namespace: String, at: Option<OplogTime> },
}

impl From<Document> for Reply {
    fn from(document: Document) -> Self {
        Self::Document(document)
    }
}

impl Reply {
    /// The same answer, with what could not be waited for.
    pub(crate) fn with_write_concern_error(self, error: &CommandError) -> Self {
        match self {
            Self::Document(mut document) => {
                document.insert(
                    "writeConcernError",
                    bson::doc! {
                        "code": error.code.number(),
                        "codeName": error.code.name(),
                        "errmsg": &error.message,
                        "errInfo": {},
                    },
                );
                Self::Document(document)
            }
            cursor @ Self::Cursor { .. } => cursor,
        }
    }

    /// An answer that only says that all went well.
    pub(crate) fn ok() -> Self {
        Self::Document(Document::new())
    }

    /// The bytes of the answer, with the fields that every answer of a replica set ends with.
    pub(crate) fn encode(self, now: OplogTime) -> Result<Vec<u8>> {
        let is_failure = matches!(&self, Self::Document(document) if document.contains_key("ok"));
        let mut out = match self {
            Self::Document(document) => elements_of(&document)?,
            Self::Cursor { field, batch, id, namespace, at } => {
                let mut cursor = Vec::with_capacity(batch.elements.len() + 128);
                push_container(&mut cursor, 4, field, &batch.elements);
                let mut rest = bson::doc! { "id": id, "ns": namespace };
                if let Some(at) = at {
                    rest.insert("atClusterTime", timestamp(at));
                }
                cursor.extend(elements_of(&rest)?);
                let mut out = Vec::with_capacity(cursor.len() + 256);
                push_container(&mut out, 3, "cursor", &cursor);
                out
            }
        };
        if !is_failure {
            out.extend(elements_of(&bson::doc! { "ok": 1.0 })?);
        }
        let signature =
            bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![0; 20] };
        out.extend(elements_of(&bson::doc! {
            "$clusterTime": {
                "clusterTime": timestamp(now),
                "signature": { "hash": signature, "keyId": 0i64 },
            },
            "operationTime": timestamp(now),
        })?);
        Ok(wrap(&out))
    }
}

/// An oplog position as a BSON value.
pub(crate) fn timestamp(at: OplogTime) -> Timestamp {
    Timestamp { time: at.seconds, increment: at.increment }
}
