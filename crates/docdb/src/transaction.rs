//! One commit: changes of documents and collections, with their oplog entries.
//!
//! While a transaction lives it is the only writer. Nothing it did is seen by anyone before
//! `commit`, and dropping it undoes everything.

mod definition;
mod prepared;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, MutexGuard};

use bson::raw::{RawDocument, RawDocumentBuf};
use bson::{Bson, Document, RawBsonRef};
use tidemark_model::OplogTime;
use tidemark_store::{Batch, Found, Savepoint, Tree};
use tidemark_wire::compute_diff;

use crate::collections::{Catalog, Collection};
use crate::engine::{
    Building, Engine, Statistics, View, Writer, document_key, meta_key, record_of,
};
use crate::error::Result;
use crate::index::Index;
pub(crate) use prepared::{Prepared, WriteOptions, check_size};

/// What makes a write repeatable: the session, the transaction number, the statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StatementId {
    /// The document `lsid` in bytes.
    pub(crate) session: Arc<[u8]>,
    pub(crate) number: i64,
    pub(crate) statement: i32,
}

/// One commit in the making.
///
/// Its changes stand at the end of the writer's group; the group is taken by nobody while the
/// transaction lives.
pub(crate) struct Transaction<'e> {
    pub(crate) engine: &'e Engine,
    writer: MutexGuard<'e, Writer>,
    /// What readers saw when the transaction began.
    view: View,
    /// What was on its way to them.
    committing: Option<Arc<Batch>>,
    savepoint: Savepoint,
    changed_statistics: BTreeSet<u32>,
    undo_statistics: HashMap<u32, Statistics>,
    undo_records: HashMap<u32, u64>,
    catalog: Arc<Catalog>,
    last: OplogTime,
    next_id: u32,
    term: i64,
    statement: Option<StatementId>,
    options: WriteOptions,
    building: Vec<Building<'e>>,
    /// How often the state had been read again when this began.
    reloads: u64,
}

impl Engine {
    /// Begins a commit; waits for the one before. It finds single keys as all transactions before
    /// it left them; its view may lag behind.
    pub(crate) fn begin(&self) -> Result<Transaction<'_>> {
        let writer = self.lock_writer_with_room()?;
        self.transaction(writer)
    }

    /// Begins a commit whose view shows all that was done before, so that ranges may be read.
    pub(crate) fn begin_settled(&self) -> Result<Transaction<'_>> {
        let mut writer = self.lock_writer()?;
        // What was undone is told to those who wait for it; here the state is fresh either way.
        self.settle_all(&mut writer)?;
        self.transaction(writer)
    }

    fn transaction<'e>(&'e self, writer: MutexGuard<'e, Writer>) -> Result<Transaction<'e>> {
        // First what is on its way, then the view: the other way round a group could arrive
        // between the two and be in neither.
        let committing = self.committing();
        let view = self.view()?;
        Ok(Transaction {
            engine: self,
            view,
            committing,
            savepoint: writer.group.savepoint(),
            changed_statistics: BTreeSet::new(),
            undo_statistics: HashMap::new(),
            undo_records: HashMap::new(),
            catalog: Arc::clone(&writer.catalog),
            last: writer.last,
            next_id: writer.next_id,
            term: writer.term,
            statement: None,
            options: WriteOptions::default(),
            building: Vec::new(),
            reloads: writer.reloads,
            writer,
        })
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.writer.reloads != self.reloads {
            // There is nothing left to undo.
            return;
        }
        let savepoint = self.savepoint;
        self.writer.group.undo(savepoint);
        let undo = std::mem::take(&mut self.undo_statistics);
        self.writer.statistics.extend(undo);
        let undo = std::mem::take(&mut self.undo_records);
        self.writer.next_record.extend(undo);
    }
}

impl Transaction<'_> {
    /// Everything as readers saw it when the transaction began.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// The value of a key, with all changes up to now.
    pub(crate) fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>> {
        let groups = [Some(&self.writer.group), self.committing.as_deref()];
        for group in groups.into_iter().flatten() {
            match group.find(tree, key) {
                Found::Unknown => {}
                Found::Removed => return Ok(None),
                Found::Value(value) => return Ok(Some(Cow::Borrowed(value))),
            }
        }
        Ok(self.view.get(tree, key)?)
    }

    /// The collections, with the changes of this transaction.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The position of the last entry so far.
    pub(crate) fn last(&self) -> OplogTime {
        self.last
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
        self.writer.group.put(Tree::Meta, key, value);
    }

    /// Removes a value beside the data, in the same commit.
    pub(crate) fn remove_meta(&mut self, key: &[u8]) {
        self.writer.group.remove(Tree::Meta, key);
    }

    pub(crate) fn next_term(&mut self) -> i64 {
        self.term += 1;
        let term = self.term.to_be_bytes();
        self.put_meta(b"term", &term);
        self.term
    }

    /// Whether the group has become so large that it is to be committed.
    pub(crate) fn is_large(&self) -> bool {
        self.writer.is_large()
    }

    /// Adds everything to the group that is committed next; returns the position to wait for.
    pub(crate) fn commit(mut self) -> Result<OplogTime> {
        self.finish()?;
        if !self.building.is_empty() {
            // The mark of an index that was built must go before anybody may purge it.
            self.engine.settle(&mut self.writer)?;
            self.savepoint = self.writer.group.savepoint();
            return Ok(self.last);
        }
        let (engine, last, is_large) = (self.engine, self.last, self.writer.is_large());
        // Others fill the next group while this one is written.
        drop(self);
        if is_large {
            engine.commit_large()?;
        }
        Ok(last)
    }

    /// Commits to the disk at once, for changes that no oplog entry stands for.
    pub(crate) fn commit_to_disk(mut self) -> Result<()> {
        self.finish()?;
        self.engine.settle(&mut self.writer)?;
        self.savepoint = self.writer.group.savepoint();
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        // What a failed commit undid may be what this transaction saw.
        self.engine.check_fresh()?;
        let changed = std::mem::take(&mut self.changed_statistics);
        for collection in changed {
            let statistics = self.writer.statistics.get(&collection).copied().unwrap_or_default();
            let key = meta_key(b'n', collection);
            self.writer.group.put(Tree::Meta, &key, &statistics.encode());
        }
        self.undo_statistics.clear();
        self.undo_records.clear();
        self.writer.last = self.last;
        self.writer.next_id = self.next_id;
        self.writer.term = self.term;
        self.writer.catalog = Arc::clone(&self.catalog);
        self.savepoint = self.writer.group.savepoint();
        Ok(())
    }

    /// Inserts a document and returns its `_id`.
    ///
    /// `_id` is made if it is missing and comes first.
    pub(crate) fn insert(
        &mut self,
        collection: &Collection,
        document: &RawDocument,
    ) -> Result<Bson> {
        let prepared = Prepared::new(self.engine, collection, document, self.options)?;
        self.insert_prepared(collection, &prepared)?;
        prepared.id()
    }

    /// Inserts a document that was prepared for this collection.
    pub(crate) fn insert_prepared(
        &mut self,
        collection: &Collection,
        prepared: &Prepared<'_>,
    ) -> Result<()> {
        let document = prepared.document();
        let record = *self.writer.next_record.entry(collection.id).or_insert(1);
        let mut entries = Vec::new();
        for (index, keys) in collection.indexes.iter().zip(prepared.keys()) {
            for key in keys {
                entries.push(self.check_key(collection, index, key, (record, document))?);
            }
        }
        for entry in entries {
            self.put_key(&entry, record);
        }
        self.put_document(collection, record, document);
        if collection.is_staging() {
            return Ok(());
        }
        let id = document.get("_id")?.unwrap_or(RawBsonRef::Null);
        let mut o2 = RawDocumentBuf::new();
        o2.append(bson::raw::cstr!("_id"), id);
        self.log_document("i", collection, &LoggedChange { o: document, o2: Some(&o2) });
        Ok(())
    }

    fn put_document(&mut self, collection: &Collection, record: u64, document: &RawDocument) {
        self.undo_records.entry(collection.id).or_insert(record);
        self.writer.next_record.insert(collection.id, record + 1);
        let bytes = document.as_bytes();
        let key = document_key(collection.id, record);
        if collection.is_loading() {
            // Nobody reads it before it is complete.
            self.writer.group.append(Tree::Documents, &key, &[bytes]);
        } else {
            self.writer.group.insert(Tree::Documents, &key, bytes);
        }
        self.count(collection.id, 1, i64::try_from(bytes.len()).unwrap_or(0));
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
        crate::depth::check_document(raw)?;
        prepared::check_validator(collection, raw, self.options)?;
        for index in &collection.indexes {
            let old = index.keys_of(before)?;
            let new = index.keys_of(raw)?;
            for key in old.difference(&new) {
                let entry = index.entry(key, record);
                self.writer.group.remove(Tree::Indexes, &entry);
            }
            for key in new.difference(&old) {
                let entry = self.check_key(collection, index, key, (record, raw))?;
                self.put_key(&entry, record);
            }
        }
        let grown = i64::try_from(bytes.len()).unwrap_or(0)
            - i64::try_from(before.as_bytes().len()).unwrap_or(0);
        self.count(collection.id, 0, grown);
        self.writer.group.put(Tree::Documents, &document_key(collection.id, record), &bytes);
        if collection.is_staging() {
            return Ok(());
        }
        let before = Document::try_from(before)?;
        let mut o2 = RawDocumentBuf::new();
        o2.append(bson::raw::cstr!("_id"), raw.get("_id")?.unwrap_or(RawBsonRef::Null));
        let diff = if is_replacement { None } else { compute_diff(&before, after) };
        let change = diff.map(|diff| bson::doc! { "$v": 2, "diff": diff }.to_vec()).transpose()?;
        let o = change.as_deref().map(RawDocument::from_bytes).transpose()?.unwrap_or(raw);
        self.log_document("u", collection, &LoggedChange { o, o2: Some(&o2) });
        Ok(())
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
                let entry = index.entry(&key, record);
                self.writer.group.remove(Tree::Indexes, &entry);
            }
        }
        self.writer.group.remove(Tree::Documents, &document_key(collection.id, record));
        self.count(collection.id, -1, -i64::try_from(document.as_bytes().len()).unwrap_or(0));
        if collection.is_staging() {
            return Ok(());
        }
        let mut selector = RawDocumentBuf::new();
        selector.append(bson::raw::cstr!("_id"), document.get("_id")?.unwrap_or(RawBsonRef::Null));
        self.log_document("d", collection, &LoggedChange { o: &selector, o2: None });
        Ok(())
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

    fn log_document(&mut self, op: &str, collection: &Collection, change: &LoggedChange<'_>) {
        let namespace = collection.namespace.to_string();
        let mut head = Vec::with_capacity(64 + namespace.len());
        push_text(&mut head, "op", op);
        push_text(&mut head, "ns", &namespace);
        push_uuid(&mut head, collection.uuid);
        head.extend_from_slice(b"\x03o\0");
        // The document goes in as it is, byte for byte.
        let o = change.o.as_bytes();
        match change.o2 {
            None => self.append_entry(&[&head, o]),
            Some(o2) => self.append_entry(&[&head, o, b"\x03o2\0", o2.as_bytes()]),
        }
    }

    fn log(&mut self, entry: Document) {
        let fields = tidemark_wire::encode_document(&entry);
        self.append_entry(&[fields.get(4..fields.len() - 1).unwrap_or_default()]);
    }

    /// Appends an entry with these fields, and those that every entry ends with.
    fn append_entry(&mut self, fields: &[&[u8]]) {
        let mut tail = Vec::with_capacity(128);
        self.push_stamp(&mut tail);
        tail.push(0);
        let length = 4 + fields.iter().map(|field| field.len()).sum::<usize>() + tail.len();
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        let parts = [&[length.as_slice()], fields, &[tail.as_slice()]].concat();
        let position = self.last.to_u64().to_be_bytes();
        self.writer.group.append(Tree::Oplog, &position, &parts);
    }

    /// Takes the next position; writes the fields that every entry ends with.
    fn push_stamp(&mut self, out: &mut Vec<u8>) {
        let now = self.engine.clock.now();
        let seconds = u32::try_from(now.as_second()).unwrap_or(0).max(self.last.seconds);
        let increment = if seconds == self.last.seconds { self.last.increment + 1 } else { 1 };
        self.last = OplogTime::new(seconds, increment);
        let mut push = |head: &[u8], value: &[u8]| {
            out.extend_from_slice(head);
            out.extend_from_slice(value);
        };
        if let Some(StatementId { session, number, statement }) = &self.statement {
            push(b"\x03lsid\0", session);
            push(b"\x12txnNumber\0", &number.to_le_bytes());
            push(b"\x10stmtId\0", &statement.to_le_bytes());
        }
        push(b"\x11ts\0", &self.last.to_u64().to_le_bytes());
        push(b"\x12t\0", &self.term.to_le_bytes());
        push(b"\x12v\0", &2i64.to_le_bytes());
        push(b"\x09wall\0", &now.as_millisecond().to_le_bytes());
    }

    fn check_key(
        &self,
        collection: &Collection,
        index: &Index,
        key: &[u8],
        (record, document): (u64, &RawDocument),
    ) -> Result<Vec<u8>> {
        let entry = index.entry(key, record);
        if index.is_unique {
            let holder = self.get(Tree::Indexes, &entry)?;
            if holder.as_deref().and_then(record_of).is_some_and(|holder| holder != record) {
                return Err(index.duplicate_key(&collection.namespace.to_string(), document));
            }
        }
        Ok(entry)
    }

    fn put_key(&mut self, entry: &[u8], record: u64) {
        self.writer.group.put(Tree::Indexes, entry, &record.to_be_bytes());
    }

    /// Finds a document by its `_id`.
    pub(crate) fn find_by_id(
        &self,
        collection: &Collection,
        id: RawBsonRef<'_>,
    ) -> Result<Option<(u64, Vec<u8>)>> {
        let Some(entry) = crate::query::id_entry(collection, id)? else { return Ok(None) };
        let found = self.get(Tree::Indexes, &entry)?;
        let Some(record) = found.as_deref().and_then(record_of) else { return Ok(None) };
        let document = self.get(Tree::Documents, &document_key(collection.id, record))?;
        Ok(document.map(|document| (record, document.into_owned())))
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
    o2: Option<&'a RawDocument>,
}

fn push_text(out: &mut Vec<u8>, name: &str, text: &str) {
    out.push(2);
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    out.extend_from_slice(&u32::try_from(text.len() + 1).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn push_uuid(out: &mut Vec<u8>, uuid: [u8; 16]) {
    out.extend_from_slice(b"\x05ui\0\x10\0\0\0\x04");
    out.extend_from_slice(&uuid);
}
