//! One entry of an oplog, as readers need it.
//!
//! Source: `oplog_entry.idl` of the MongoDB server. Only the fields that decide what happens
//! are taken out; the bytes themselves are kept by whoever read them.

use bson::{Binary, Document, RawDocument, Timestamp};

use crate::depth::{DepthError, LARGEST_DEPTH, check_depth};

/// An entry that was read from an oplog.
#[derive(Debug, Clone, PartialEq)]
pub struct OplogEntry {
    /// Its position.
    pub ts: Timestamp,
    /// The namespace, `db.collection`; `db.$cmd` for commands.
    pub namespace: String,
    /// The UUID of the collection, where the entry has one.
    pub collection_uuid: Option<Binary>,
    /// What happened.
    pub operation: OplogOperation,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq)]
pub enum OplogOperation {
    /// `i`: this document exists now.
    Insert(Document),
    /// `u`: the document with this `_id` was changed by a difference or is replaced.
    Update {
        /// Holds the `_id`.
        selector: Document,
        /// `{$v: 2, diff: …}` or the whole new document.
        change: Document,
    },
    /// `d`: the document with this `_id` is gone.
    Delete(Document),
    /// `c`: a command.
    Command(Document),
    /// `n`: nothing; it only moves time.
    Noop,
}

/// Why a document is not an oplog entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OplogEntryError {
    /// A field is missing or has another type.
    #[error("an oplog entry has no usable field {0:?}")]
    Field(&'static str),
    /// It nests too deep to be worked on.
    #[error("an oplog entry nests deeper than {0} levels")]
    TooDeep(usize),
    /// An operation of a newer server.
    #[error("an oplog entry has the unknown operation {0:?}; this release cannot replay it")]
    UnknownOperation(String),
}

impl OplogEntry {
    /// Reads an entry.
    pub fn parse(entry: &RawDocument) -> Result<Self, OplogEntryError> {
        // Everything that is done with an entry recurses into it. An entry of a transaction holds
        // documents in a list in a command.
        let most = LARGEST_DEPTH + 20;
        match check_depth(entry, most) {
            Ok(()) => {}
            Err(DepthError::TooDeep { most }) => return Err(OplogEntryError::TooDeep(most)),
            Err(DepthError::Malformed(_)) => return Err(OplogEntryError::Field("o")),
        }
        let ts = entry.get_timestamp("ts").map_err(|_| OplogEntryError::Field("ts"))?;
        let namespace = entry.get_str("ns").map_err(|_| OplogEntryError::Field("ns"))?.to_owned();
        let op = entry.get_str("op").map_err(|_| OplogEntryError::Field("op"))?;
        let collection_uuid = entry.get_binary("ui").ok().map(|binary| binary.to_binary());
        let operation = match op {
            "i" => OplogOperation::Insert(document(entry, "o")?),
            "u" => OplogOperation::Update {
                selector: document(entry, "o2")?,
                change: document(entry, "o")?,
            },
            "d" => OplogOperation::Delete(document(entry, "o")?),
            "c" => OplogOperation::Command(document(entry, "o")?),
            "n" => OplogOperation::Noop,
            other => return Err(OplogEntryError::UnknownOperation(other.to_owned())),
        };
        Ok(Self { ts, namespace, collection_uuid, operation })
    }

    /// The database part of the namespace.
    pub fn database(&self) -> &str {
        self.namespace.split_once('.').map_or(self.namespace.as_str(), |(database, _)| database)
    }
}

fn document(entry: &RawDocument, field: &'static str) -> Result<Document, OplogEntryError> {
    let raw = entry.get_document(field).map_err(|_| OplogEntryError::Field(field))?;
    Document::try_from(raw).map_err(|_| OplogEntryError::Field(field))
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;
    use crate::encode_document;

    fn parse(entry: &Document) -> Result<OplogEntry, OplogEntryError> {
        OplogEntry::parse(RawDocument::from_bytes(&encode_document(entry)).unwrap())
    }

    #[test]
    fn an_update_keeps_its_selector_and_its_change() {
        let ts = Timestamp { time: 5, increment: 1 };
        let entry = doc! { "op": "u", "ns": "db.c", "o": { "$v": 2, "diff": {} }, "o2": { "_id": 1 }, "ts": ts };
        let parsed = parse(&entry).unwrap();
        assert_eq!(parsed.database(), "db");
        assert!(
            matches!(parsed.operation, OplogOperation::Update { selector, .. } if selector == doc! { "_id": 1 })
        );
    }

    #[test]
    fn an_unknown_operation_is_named() {
        let ts = Timestamp { time: 5, increment: 1 };
        let error = parse(&doc! { "op": "km", "ns": "", "o": {}, "ts": ts }).unwrap_err();
        assert_eq!(error, OplogEntryError::UnknownOperation("km".into()));
    }
}
