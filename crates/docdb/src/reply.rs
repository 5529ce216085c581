//! Answers to commands, and batches of documents that go into them as they are.

use bson::raw::RawDocument;
use bson::{Document, Timestamp};
use tidemark_model::OplogTime;
use tidemark_wire::MSG_HEAD_BYTES;

use crate::error::{CommandError, Result};

/// What an answer carries at most when nobody said how many documents it shall have: enough that asking costs little, and
/// little enough that many clients can read at the same time.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// What an answer carries at most, in bytes of documents.
const LARGEST_BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Bytes that follow the documents of a batch.
const TAIL_BYTES: usize = 512;
/// A batch of this size is likely to become as large as it may.
const LARGE_BYTES: usize = 1024 * 1024;

/// Documents for one answer, written where they stay: behind the head of the message.
pub(crate) struct Batch {
    answer: Answer,
    count: usize,
    limit: usize,
    bytes: usize,
}

impl Batch {
    /// Nothing yet, for the field `firstBatch` or `nextBatch`; at most `limit` documents.
    pub(crate) fn new(field: &str, limit: Option<usize>) -> Self {
        let mut answer = Answer::new();
        answer.open(3, "cursor");
        answer.open(4, field);
        let bytes = if limit.is_some() { LARGEST_BATCH_BYTES } else { BATCH_BYTES };
        Self { answer, count: 0, limit: limit.unwrap_or(usize::MAX), bytes }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Takes a document; `false` when the batch is full. The first always fits.
    pub(crate) fn push(&mut self, document: &RawDocument) -> bool {
        let bytes = document.as_bytes();
        let out = &mut self.answer.out;
        let is_full =
            self.count >= self.limit || (self.count > 0 && out.len() + bytes.len() > self.bytes);
        if is_full {
            return false;
        }
        if out.len() > LARGE_BYTES && out.capacity() < self.bytes {
            out.reserve_exact(self.bytes + TAIL_BYTES - out.len());
        }
        out.push(3);
        push_number(out, self.count);
        out.push(0);
        out.extend_from_slice(bytes);
        self.count += 1;
        true
    }
}

/// Writes a number in decimal digits.
fn push_number(out: &mut Vec<u8>, number: usize) {
    if number >= 10 {
        push_number(out, number / 10);
    }
    out.push(b'0' + u8::try_from(number % 10).unwrap_or(0));
}

/// A message in the making: the head is left free, the lengths of open documents too.
struct Answer {
    out: Vec<u8>,
    open: Vec<usize>,
}

impl Answer {
    fn new() -> Self {
        Self { out: vec![0; MSG_HEAD_BYTES + 4], open: vec![MSG_HEAD_BYTES] }
    }

    /// Begins a document (3) or an array (4).
    fn open(&mut self, kind: u8, name: &str) {
        self.out.push(kind);
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(0);
        self.open.push(self.out.len());
        self.out.extend_from_slice(&[0; 4]);
    }

    /// Ends what was begun last.
    fn close(&mut self) {
        self.out.push(0);
        let Some(start) = self.open.pop() else { return };
        let length = u32::try_from(self.out.len() - start).unwrap_or(u32::MAX);
        if let Some(place) = self.out.get_mut(start..).and_then(<[u8]>::first_chunk_mut::<4>) {
            *place = length.to_le_bytes();
        }
    }

    /// Adds the fields of a document.
    fn extend(&mut self, document: &Document) -> Result<()> {
        let bytes = document.to_vec()?;
        self.out.extend_from_slice(bytes.get(4..bytes.len() - 1).unwrap_or_default());
        Ok(())
    }
}

/// An answer to a command.
pub(crate) enum Reply {
    Document(Document),
    Cursor { batch: Batch, id: i64, namespace: String, at: Option<OplogTime> },
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

    /// The answer behind `MSG_HEAD_BYTES` free bytes, with the fields that every answer of a replica
    /// set ends with.
    pub(crate) fn encode(self, now: OplogTime) -> Result<Vec<u8>> {
        let is_failure = matches!(&self, Self::Document(document) if document.contains_key("ok"));
        let mut answer = match self {
            Self::Document(document) => {
                let mut answer = Answer::new();
                answer.extend(&document)?;
                answer
            }
            Self::Cursor { batch: Batch { mut answer, .. }, id, namespace, at } => {
                answer.close();
                let mut rest = bson::doc! { "id": id, "ns": namespace };
                if let Some(at) = at {
                    rest.insert("atClusterTime", timestamp(at));
                }
                answer.extend(&rest)?;
                answer.close();
                answer
            }
        };
        if !is_failure {
            answer.extend(&bson::doc! { "ok": 1.0 })?;
        }
        let signature =
            bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![0; 20] };
        answer.extend(&bson::doc! {
            "$clusterTime": {
                "clusterTime": timestamp(now),
                "signature": { "hash": signature, "keyId": 0i64 },
            },
            "operationTime": timestamp(now),
        })?;
        answer.close();
        Ok(answer.out)
    }
}

/// An oplog position as a BSON value.
pub(crate) fn timestamp(at: OplogTime) -> Timestamp {
    Timestamp { time: at.seconds, increment: at.increment }
}
