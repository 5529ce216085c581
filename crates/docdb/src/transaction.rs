//! One commit: changes of documents and collections, with their oplog entries.
//!
//! While a transaction lives it is the only writer. Nothing it did is seen by anyone before
//! `commit`, and dropping it undoes everything.

mod definition;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, MutexGuard};

use bson::raw::{RawDocument, RawDocumentBuf};
use bson::{Bson, Document, RawBsonRef, Timestamp};
use fjall::OwnedWriteBatch;
use tidemark_model::OplogTime;
use tidemark_wire::{LARGEST_DOCUMENT_BYTES, compute_diff};

use crate::collections::{Catalog, Collection};
use crate::engine::{Engine, Statistics, View, Writer, document_key, meta_key, record_of};
use crate::error::{Code, CommandError, Result};
use crate::index::Index;

/// What makes a write repeatable: the session, the transaction number, the statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StatementId {
    pub(crate) session: Document,
    pub(crate) number: i64,
    pub(crate) statement: i32,
}

/// What a write may skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct WriteOptions {
    /// A top-level `Timestamp(0, 0)` stays; on every MongoDB server it becomes the present time.
    pub(crate) keeps_empty_timestamps: bool,
    /// Documents need not fulfil the collection's validator.
    pub(crate) bypasses_validation: bool,
}

/// One commit in the making.
pub(crate) struct Transaction<'e> {
    pub(crate) engine: &'e Engine,
    writer: MutexGuard<'e, Writer>,
    view: Arc<View>,
    batch: OwnedWriteBatch,
    /// Index entries of this commit; `None` where one was removed.
    pending_keys: HashMap<Vec<u8>, Option<u64>>,
    changed_statistics: BTreeSet<u32>,
    undo_statistics: HashMap<u32, Statistics>,
    catalog: Arc<Catalog>,
    last: OplogTime,
    next_id: u32,
    term: i64,
    statement: Option<StatementId>,
    options: WriteOptions,
}

impl Engine {
    /// Begins a commit; waits for the one before.
    pub(crate) fn begin(&self) -> Transaction<'_> {
        let writer = self.lock_writer();
        Transaction {
            engine: self,
            view: self.view(),
            batch: self.batch(),
            pending_keys: HashMap::new(),
            changed_statistics: BTreeSet::new(),
            undo_statistics: HashMap::new(),
            catalog: Arc::clone(&writer.catalog),
            last: writer.last,
            next_id: writer.next_id,
            term: writer.term,
            statement: None,
            options: WriteOptions::default(),
            writer,
        }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        let undo = std::mem::take(&mut self.undo_statistics);
        self.writer.statistics.extend(undo);
    }
}

impl Transaction<'_> {
    /// Everything as it was when the transaction began.
    pub(crate) fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The collections, with the changes of this transaction.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Names the statement that the next entries belong to.
    pub(crate) fn set_statement(&mut self, statement: Option<StatementId>) {
        self.statement = statement;
    }

    /// Says what the next writes may skip.
    pub(crate) fn set_options(&mut self, options: WriteOptions) {
        self.options = options;
    }

    /// Stores a value beside the data, in the same commit.
    pub(crate) fn put_meta(&mut self, key: &[u8], value: &[u8]) {
        self.batch.insert(&self.engine.keyspaces.meta, key, value);
    }

    pub(crate) fn next_term(&mut self) -> i64 {
        self.term += 1;
        self.put_meta(b"term", &self.term.to_be_bytes());
        self.term
    }

    /// Makes everything visible; returns the position to wait for.
    pub(crate) fn commit(mut self) -> Result<OplogTime> {
        let changed = std::mem::take(&mut self.changed_statistics);
        for collection in changed {
            let statistics = self.writer.statistics.get(&collection).copied().unwrap_or_default();
            self.batch.insert(
                &self.engine.keyspaces.meta,
                meta_key(b'n', collection),
                statistics.encode(),
            );
        }
        let batch = std::mem::replace(&mut self.batch, self.engine.batch());
        batch.commit()?;
        self.undo_statistics.clear();
        self.writer.last = self.last;
        self.writer.next_id = self.next_id;
        self.writer.term = self.term;
        self.writer.catalog = Arc::clone(&self.catalog);
        self.engine.publish(Arc::clone(&self.catalog), self.last);
        Ok(self.last)
    }

    /// Inserts a document and returns its `_id`.
    ///
    /// `_id` is made if it is missing and comes first.
    pub(crate) fn insert(
        &mut self,
        collection: &Collection,
        document: &RawDocument,
    ) -> Result<Bson> {
        let normalized = self.normalize(document)?;
        let document = normalized.as_deref().unwrap_or(document);
        check_size(document)?;
        let id =
            document.get("_id")?.ok_or_else(|| CommandError::new(Code::InternalError, "no _id"))?;
        if matches!(
            id,
            RawBsonRef::Array(_) | RawBsonRef::RegularExpression(_) | RawBsonRef::Undefined
        ) {
            return Err(CommandError::new(
                Code::BadValue,
                "The '_id' value cannot be an array, a regex or undefined",
            ));
        }
        let id = Bson::try_from(id)?;
        self.check_validator(collection, document)?;
        let record = *self.writer.next_record.entry(collection.id).or_insert(1);
        let mut entries = Vec::new();
        for index in &collection.indexes {
            for key in index.keys_of(document)? {
                entries.push(self.check_key(collection, index, key, (record, document))?);
            }
        }
        for entry in entries {
            self.put_key(entry, record);
        }
        self.writer.next_record.insert(collection.id, record + 1);
        let bytes = document.as_bytes();
        self.batch.insert(
            &self.engine.keyspaces.documents,
            document_key(collection.id, record),
            bytes,
        );
        self.count(collection.id, 1, i64::try_from(bytes.len()).unwrap_or(0));
        self.log_document(
            "i",
            collection,
            &LoggedChange { o: document, o2: Some(&bson::doc! { "_id": &id }) },
        )?;
        Ok(id)
    }

    /// Replaces a stored document; the oplog gets the difference where that is smaller.
    pub(crate) fn update(
        &mut self,
        collection: &Collection,
        (record, before): (u64, &RawDocument),
        after: &Document,
        is_replacement: bool,
    ) -> Result<()> {
        let bytes = after.to_vec()?;
        let raw = RawDocument::from_bytes(&bytes)?;
        check_size(raw)?;
        self.check_validator(collection, raw)?;
        for index in &collection.indexes {
            let old = index.keys_of(before)?;
            let new = index.keys_of(raw)?;
            for key in old.difference(&new) {
                let entry = entry_key(index, key, record);
                self.batch.remove(&self.engine.keyspaces.indexes, entry.as_slice());
                self.pending_keys.insert(entry, None);
            }
            for key in new.difference(&old) {
                let entry = self.check_key(collection, index, key.clone(), (record, raw))?;
                self.put_key(entry, record);
            }
        }
        let grown = i64::try_from(bytes.len()).unwrap_or(0)
            - i64::try_from(before.as_bytes().len()).unwrap_or(0);
        self.count(collection.id, 0, grown);
        self.batch.insert(
            &self.engine.keyspaces.documents,
            document_key(collection.id, record),
            bytes.as_slice(),
        );
        let before = Document::try_from(before)?;
        let id = before.get("_id").cloned().unwrap_or(Bson::Null);
        let diff = if is_replacement { None } else { compute_diff(&before, after) };
        let change = diff.map(|diff| bson::doc! { "$v": 2, "diff": diff }.to_vec()).transpose()?;
        let o = change.as_deref().map(RawDocument::from_bytes).transpose()?.unwrap_or(raw);
        self.log_document("u", collection, &LoggedChange { o, o2: Some(&bson::doc! { "_id": id }) })
    }

    /// Removes a stored document.
    pub(crate) fn delete(
        &mut self,
        collection: &Collection,
        record: u64,
        document: &RawDocument,
    ) -> Result<()> {
        for index in &collection.indexes {
            for key in index.keys_of(document)? {
                let entry = entry_key(index, &key, record);
                self.batch.remove(&self.engine.keyspaces.indexes, entry.as_slice());
                self.pending_keys.insert(entry, None);
            }
        }
        self.batch.remove(&self.engine.keyspaces.documents, document_key(collection.id, record));
        self.count(collection.id, -1, -i64::try_from(document.as_bytes().len()).unwrap_or(0));
        let id = document.get("_id")?.map(Bson::try_from).transpose()?.unwrap_or(Bson::Null);
        let selector = bson::doc! { "_id": id }.to_vec()?;
        let o = RawDocument::from_bytes(&selector)?;
        self.log_document("d", collection, &LoggedChange { o, o2: None })
    }

    /// Logs that time passed.
    pub(crate) fn log_noop(&mut self, message: &str) {
        let entry = bson::doc! { "op": "n", "ns": "", "o": { "msg": message } };
        self.log(entry);
    }

    /// Logs a command on `database`.
    pub(crate) fn log_command(&mut self, database: &str, uuid: Option<Bson>, o: Document) {
        let mut entry = bson::doc! { "op": "c", "ns": format!("{database}.$cmd") };
        if let Some(uuid) = uuid {
            entry.insert("ui", uuid);
        }
        entry.insert("o", o);
        self.log(entry);
    }

    fn log_document(
        &mut self,
        op: &str,
        collection: &Collection,
        change: &LoggedChange<'_>,
    ) -> Result<()> {
        let mut head = bson::doc! { "op": op, "ns": collection.namespace.to_string(), "ui": collection.uuid_bson() };
        let tail = self.stamp(change.o2);
        let head_bytes = {
            head.insert("o", bson::doc! {});
            head.to_vec()?
        };
        let tail_bytes = tail.to_vec()?;
        // The document goes in as it is, byte for byte: `head` ends with an empty one and its own end.
        let head_bytes = head_bytes.get(4..head_bytes.len() - 6).unwrap_or_default();
        let tail_bytes = tail_bytes.get(4..).unwrap_or_default();
        let length = 4 + head_bytes.len() + change.o.as_bytes().len() + tail_bytes.len();
        let mut entry = Vec::with_capacity(length);
        entry.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        entry.extend_from_slice(head_bytes);
        entry.extend_from_slice(change.o.as_bytes());
        entry.extend_from_slice(tail_bytes);
        self.batch.insert(&self.engine.keyspaces.oplog, self.last.to_u64().to_be_bytes(), entry);
        Ok(())
    }

    fn log(&mut self, mut entry: Document) {
        entry.extend(self.stamp(None));
        let bytes = tidemark_wire::encode_document(&entry);
        self.batch.insert(&self.engine.keyspaces.oplog, self.last.to_u64().to_be_bytes(), bytes);
    }

    /// Takes the next position; the fields that every entry ends with.
    fn stamp(&mut self, o2: Option<&Document>) -> Document {
        let now = self.engine.clock.now();
        let seconds = u32::try_from(now.as_second()).unwrap_or(0).max(self.last.seconds);
        let increment = if seconds == self.last.seconds { self.last.increment + 1 } else { 1 };
        self.last = OplogTime::new(seconds, increment);
        let mut stamp = Document::new();
        if let Some(o2) = o2 {
            stamp.insert("o2", o2);
        }
        if let Some(StatementId { session, number, statement }) = &self.statement {
            stamp.insert("lsid", session);
            stamp.insert("txnNumber", number);
            stamp.insert("stmtId", statement);
        }
        stamp.insert("ts", Timestamp { time: seconds, increment });
        stamp.insert("t", self.term);
        stamp.insert("v", 2i64);
        stamp.insert("wall", bson::DateTime::from_millis(now.as_millisecond()));
        stamp
    }

    fn normalize(&self, document: &RawDocument) -> Result<Option<RawDocumentBuf>> {
        let is_empty = |value: RawBsonRef<'_>| {
            matches!(value, RawBsonRef::Timestamp(Timestamp { time: 0, increment: 0 }))
        };
        let mut has_empty_timestamp = false;
        let mut id_position = None;
        for (position, element) in document.iter_elements().enumerate() {
            let element = element?;
            if element.key().as_str() == "_id" {
                id_position.get_or_insert(position);
            } else if !self.options.keeps_empty_timestamps
                && element.element_type() == bson::spec::ElementType::Timestamp
                && element.value().is_ok_and(is_empty)
            {
                has_empty_timestamp = true;
            }
        }
        if id_position == Some(0) && !has_empty_timestamp {
            return Ok(None);
        }
        let mut out = RawDocumentBuf::new();
        match document.get("_id")? {
            Some(id) => out.append(bson::raw::cstr!("_id"), id),
            None => out.append(bson::raw::cstr!("_id"), bson::oid::ObjectId::new()),
        }
        let now = Timestamp {
            time: u32::try_from(self.engine.clock.now().as_second()).unwrap_or(0),
            increment: 1,
        };
        for element in document.iter_elements() {
            let element = element?;
            if element.key().as_str() == "_id" {
                continue;
            }
            match element.value()? {
                value if has_empty_timestamp && is_empty(value) => out.append(element.key(), now),
                value => out.append(element.key(), value),
            }
        }
        Ok(Some(out))
    }

    fn check_validator(&self, collection: &Collection, document: &RawDocument) -> Result<()> {
        if self.options.bypasses_validation {
            return Ok(());
        }
        let Ok(validator) = collection.options.get_document("validator") else {
            return Ok(());
        };
        let is_off = collection
            .options
            .get_str("validationLevel")
            .is_ok_and(|level| level == "off")
            || collection.options.get_str("validationAction").is_ok_and(|action| action == "warn");
        if is_off {
            return Ok(());
        }
        let bytes = validator.to_vec()?;
        if crate::filter::parse_filter(RawDocument::from_bytes(&bytes)?)?.matches(document) {
            return Ok(());
        }
        Err(CommandError::new(Code::DocumentValidationFailure, "Document failed validation"))
    }

    fn check_key(
        &self,
        collection: &Collection,
        index: &Index,
        key: Vec<u8>,
        (record, document): (u64, &RawDocument),
    ) -> Result<Vec<u8>> {
        let entry = entry_key(index, &key, record);
        if index.is_unique {
            let holder = match self.pending_keys.get(&entry) {
                Some(pending) => *pending,
                None => self.engine.keyspaces.indexes.get(&entry)?.as_deref().and_then(record_of),
            };
            if holder.is_some_and(|holder| holder != record) {
                return Err(index.duplicate_key(&collection.namespace.to_string(), document));
            }
        }
        Ok(entry)
    }

    fn put_key(&mut self, entry: Vec<u8>, record: u64) {
        self.batch.insert(&self.engine.keyspaces.indexes, entry.as_slice(), record.to_be_bytes());
        self.pending_keys.insert(entry, Some(record));
    }

    fn count(&mut self, collection: u32, documents: i64, bytes: i64) {
        let statistics = self.writer.statistics.entry(collection).or_default();
        self.undo_statistics.entry(collection).or_insert(*statistics);
        statistics.count += documents;
        statistics.bytes += bytes;
        self.changed_statistics.insert(collection);
    }
}

/// What an entry says of a document.
struct LoggedChange<'a> {
    o: &'a RawDocument,
    o2: Option<&'a Document>,
}

/// The key of an index entry: the record number makes it different where the index does not.
pub(crate) fn entry_key(index: &Index, key: &[u8], record: u64) -> Vec<u8> {
    let mut entry = Vec::with_capacity(12 + key.len());
    entry.extend_from_slice(&index.id.to_be_bytes());
    entry.extend_from_slice(key);
    if !index.is_unique {
        entry.extend_from_slice(&record.to_be_bytes());
    }
    entry
}

fn check_size(document: &RawDocument) -> Result<()> {
    let size = document.as_bytes().len();
    if size <= LARGEST_DOCUMENT_BYTES {
        return Ok(());
    }
    let text = format!(
        "object to insert too large. size in bytes: {size}, max size: {LARGEST_DOCUMENT_BYTES}"
    );
    Err(CommandError::new(Code::BSONObjectTooLarge, text))
}
