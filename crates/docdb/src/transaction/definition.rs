//! Changes of what exists: collections and indexes.

use std::sync::Arc;

use bson::raw::RawDocument;
use bson::{Bson, Document};
use tidemark_model::random_bytes;
use tidemark_store::{Direction, Tree};

use super::Transaction;
use crate::collections::{Collection, Namespace, Staging};
use crate::engine::{documents_of, meta_key, record_of};
use crate::error::{Code, CommandError, Result};
use crate::index::Index;
use crate::sorter::Sorter;

/// Entries of an index that one commit of its build writes.
const BUILT_ENTRIES: usize = 65_536;

impl Transaction<'_> {
    /// The collection with this name.
    pub(crate) fn existing(&self, namespace: &Namespace) -> Result<Arc<Collection>> {
        self.catalog.find(namespace).cloned().ok_or_else(|| {
            CommandError::new(Code::NamespaceNotFound, format!("ns not found: {namespace}"))
        })
    }

    /// The collection with this name, made if it does not exist.
    pub(crate) fn existing_or_created(&mut self, namespace: &Namespace) -> Result<Arc<Collection>> {
        match self.catalog.find(namespace) {
            Some(collection) => Ok(Arc::clone(collection)),
            None => self.create(namespace, Document::new(), Staging::None),
        }
    }

    /// Makes a collection with its index on `_id`. One that is staged is not in the oplog before it
    /// is renamed.
    pub(crate) fn create(
        &mut self,
        namespace: &Namespace,
        options: Document,
        staging: Staging,
    ) -> Result<Arc<Collection>> {
        if self.catalog.find(namespace).is_some() {
            let text = format!("Collection {namespace} already exists.");
            return Err(CommandError::new(Code::NamespaceExists, text));
        }
        let id_index = Index::on_id(self.take_id())?;
        let mut o = bson::doc! { "create": &namespace.collection };
        o.extend(options.clone());
        o.insert("idIndex", &id_index.spec);
        let collection = Arc::new(Collection {
            id: self.take_id(),
            namespace: namespace.clone(),
            uuid: new_uuid(),
            options,
            indexes: vec![Arc::new(id_index)],
            staging,
        });
        self.put_collection(&collection)?;
        self.log_definition(&collection, o);
        if staging == Staging::Loading {
            self.engine.note_loading(collection.id);
        }
        Ok(collection)
    }

    /// Drops a collection.
    pub(crate) fn drop_collection(&mut self, namespace: &Namespace) -> Result<Arc<Collection>> {
        let collection = self.existing(namespace)?;
        self.forget(&collection);
        let o = bson::doc! { "drop": &namespace.collection };
        self.log_definition(&collection, o);
        Ok(collection)
    }

    /// Drops every collection of a database.
    pub(crate) fn drop_database(&mut self, database: &str, drops_staged: bool) {
        let collections: Vec<_> =
            self.catalog.visible_in(database, drops_staged).cloned().collect();
        if collections.is_empty() {
            return;
        }
        for collection in collections {
            self.forget(&collection);
            let o = bson::doc! { "drop": &collection.namespace.collection };
            self.log_definition(&collection, o);
        }
        self.log_command(database, None, bson::doc! { "dropDatabase": 1 });
    }

    /// Renames a collection, over another one if `drops_target`.
    pub(crate) fn rename(
        &mut self,
        from: &Namespace,
        to: &Namespace,
        drops_target: bool,
    ) -> Result<()> {
        let source = self.existing(from)?;
        if from == to {
            let text = "Can't rename a collection to itself";
            return Err(CommandError::new(Code::IllegalOperation, text));
        }
        if source.staging == Staging::Loading {
            let text = format!("{from} is being loaded; build its index on _id first");
            return Err(CommandError::new(Code::IllegalOperation, text));
        }
        let mut o = bson::doc! { "renameCollection": from.to_string(), "to": to.to_string(), "stayTemp": false };
        if let Some(target) = self.catalog.find(to).cloned() {
            if !drops_target {
                return Err(CommandError::new(Code::NamespaceExists, "target namespace exists"));
            }
            o.insert("dropTarget", target.uuid_bson());
            self.forget(&target);
        }
        Arc::make_mut(&mut self.catalog).remove(from);
        let renamed =
            Collection { namespace: to.clone(), staging: Staging::None, ..(*source).clone() };
        let renamed = Arc::new(renamed);
        self.put_collection(&renamed)?;
        self.log_command(&from.database, Some(source.uuid_bson()), o);
        Ok(())
    }

    /// Builds indexes that do not exist yet; returns how many were made.
    ///
    /// They appear together or not at all.
    pub(crate) fn create_indexes(
        &mut self,
        namespace: &Namespace,
        specs: Vec<Document>,
    ) -> Result<usize> {
        let mut collection = (*self.existing(namespace)?).clone();
        let mut built = Vec::new();
        if collection.staging == Staging::Loading {
            self.engine.check_loaded(collection.id)?;
            for index in &collection.indexes {
                self.build_index(&collection, index)?;
                built.push(index.id);
            }
            collection.staging = Staging::Complete;
        }
        let mut made = Vec::new();
        for mut spec in specs {
            complete_spec(&mut spec)?;
            let index = Index::from_spec(self.take_id(), spec)?;
            if is_present(&collection, &index)? {
                continue;
            }
            self.build_index(&collection, &index)?;
            let index = Arc::new(index);
            built.push(index.id);
            collection.indexes.push(Arc::clone(&index));
            made.push(index);
        }
        self.put_collection(&Arc::new(collection.clone()))?;
        self.engine.note_loaded(collection.id);
        for index in &made {
            let mut o = bson::doc! { "createIndexes": &namespace.collection };
            o.extend(index.spec.clone());
            self.log_definition(&collection, o);
        }
        for id in built {
            self.writer.group.remove(Tree::Meta, &purge_key(b'i', id));
        }
        Ok(made.len())
    }

    /// Writes the entries of an index from a sorted run, in commits of bounded size.
    ///
    /// Nobody sees them before the collection names the index. A mark on the disk says that they
    /// are to be purged if that never happens.
    fn build_index(&mut self, collection: &Collection, index: &Index) -> Result<()> {
        let mut sorter = Sorter::new(self.engine.folder());
        let documents = documents_of(collection.id);
        self.view().visit(Tree::Documents, &documents, Direction::Ascending, |key, value| {
            let record = record_of(key).unwrap_or(0);
            for key in index.keys_of(RawDocument::from_bytes(value)?)? {
                sorter.push(&index.entry(&key, record), &record.to_be_bytes())?;
            }
            Ok::<_, CommandError>(true)
        })?;
        // Kept until the transaction is over, so that nobody purges what is about to be named.
        self.building.push(self.engine.keep_unpurged(index.id));
        // What this transaction has logged may not be committed before the rest of it.
        let in_parts = self.last == self.writer.last && sorter.has_spilled();
        if in_parts {
            self.put_meta(&purge_key(b'i', index.id), &[]);
        }
        let mut before: Option<Vec<u8>> = None;
        sorter.finish()?.for_each(|entry, record| {
            if index.is_unique {
                let before = before.get_or_insert_default();
                if before == entry {
                    return Err(self.duplicate(collection, index, record)?);
                }
                before.clear();
                before.extend_from_slice(entry);
            }
            // Nobody looks for it before the collection names the index.
            self.writer.group.append(Tree::Indexes, entry, &[record]);
            // They stand in their order, so that many share a page.
            let is_full = self.writer.group.changes() >= BUILT_ENTRIES || self.writer.is_heavy();
            if in_parts && is_full {
                self.put_next_id();
                self.engine.settle(&mut self.writer)?;
                self.savepoint = self.writer.group.savepoint();
            }
            Ok(())
        })
    }

    fn duplicate(
        &self,
        collection: &Collection,
        index: &Index,
        record: &[u8],
    ) -> Result<CommandError> {
        let record = record_of(record).unwrap_or(0);
        let document = self.view().document(collection.id, record)?.unwrap_or_default();
        let document = RawDocument::from_bytes(&document)?;
        Ok(index.duplicate_key(&collection.namespace.to_string(), document))
    }

    /// Drops an index by name.
    pub(crate) fn drop_index(&mut self, namespace: &Namespace, name: &str) -> Result<()> {
        let collection = self.existing(namespace)?;
        if name == "_id_" {
            return Err(CommandError::new(Code::InvalidOptions, "cannot drop _id index"));
        }
        let index = collection.find_index(name).cloned().ok_or_else(|| {
            CommandError::new(Code::IndexNotFound, format!("index not found with name [{name}]"))
        })?;
        let mut changed = (*collection).clone();
        changed.indexes.retain(|candidate| candidate.id != index.id);
        self.put_collection(&Arc::new(changed))?;
        self.put_meta(&purge_key(b'i', index.id), &[]);
        let o = bson::doc! { "dropIndexes": &namespace.collection, "index": name };
        self.log_definition(&collection, o);
        Ok(())
    }

    /// Changes options of a collection.
    pub(crate) fn change_options(
        &mut self,
        namespace: &Namespace,
        changes: Document,
    ) -> Result<()> {
        let collection = self.existing(namespace)?;
        let mut changed = (*collection).clone();
        changed.options.extend(changes.clone());
        self.put_collection(&Arc::new(changed))?;
        let mut o = bson::doc! { "collMod": &namespace.collection };
        o.extend(changes);
        self.log_definition(&collection, o);
        Ok(())
    }

    /// Logs a change of a collection, unless it is staged.
    fn log_definition(&mut self, collection: &Collection, o: Document) {
        if !collection.is_staging() {
            let uuid = Some(collection.uuid_bson());
            self.log_command(&collection.namespace.database, uuid, o);
        }
    }

    fn take_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        self.put_next_id();
        id
    }

    fn put_next_id(&mut self) {
        let next = u64::from(self.next_id).to_be_bytes();
        self.put_meta(b"id", &next);
        // An id on the disk is not given away again, even if this transaction is undone.
        self.writer.next_id = self.next_id;
    }

    fn put_collection(&mut self, collection: &Arc<Collection>) -> Result<()> {
        let record = collection.encode()?;
        self.put_meta(&meta_key(b'c', collection.id), &record);
        Arc::make_mut(&mut self.catalog).put(Arc::clone(collection));
        Ok(())
    }

    /// Takes a collection out of the catalog and marks what it leaves behind.
    fn forget(&mut self, collection: &Collection) {
        Arc::make_mut(&mut self.catalog).remove(&collection.namespace);
        self.writer.group.remove(Tree::Meta, &meta_key(b'c', collection.id));
        self.writer.group.remove(Tree::Meta, &meta_key(b'n', collection.id));
        self.changed_statistics.remove(&collection.id);
        let statistics = self.writer.statistics.remove(&collection.id).unwrap_or_default();
        self.undo_statistics.entry(collection.id).or_insert(statistics);
        self.put_meta(&purge_key(b'd', collection.id), &[]);
        for index in &collection.indexes {
            self.put_meta(&purge_key(b'i', index.id), &[]);
        }
    }
}

/// The mark of documents (`d`) or index entries (`i`) that wait to be removed.
fn purge_key(kind: u8, id: u32) -> Vec<u8> {
    let mut key = vec![b'x', kind];
    key.extend_from_slice(&id.to_be_bytes());
    key
}

fn new_uuid() -> [u8; 16] {
    let mut uuid = random_bytes::<16>();
    // Version 4, variant 1, by RFC 9562.
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut uuid;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    uuid
}

/// Puts `v` and a name where they are missing, `v` first as the server shows them.
fn complete_spec(spec: &mut Document) -> Result<()> {
    spec.remove("ns");
    spec.remove("background");
    let version = spec.remove("v").filter(|v| !matches!(v, Bson::Null)).unwrap_or(Bson::Int32(2));
    let given = std::mem::take(spec);
    spec.insert("v", version);
    spec.extend(given);
    if !spec.contains_key("name") {
        let key = spec.get_document("key").map_err(|_| {
            CommandError::new(
                Code::FailedToParse,
                "The 'key' field is a required property of an index specification",
            )
        })?;
        let parts: Vec<String> = key
            .iter()
            .map(|(path, kind)| match kind {
                Bson::String(kind) => format!("{path}_{kind}"),
                Bson::Double(number) => format!("{path}_{number}"),
                kind => format!("{path}_{kind}"),
            })
            .collect();
        let name = parts.join("_");
        spec.insert("name", name);
    }
    Ok(())
}

/// Whether the same index exists; a different one under the same name or key is an error.
fn is_present(collection: &Collection, index: &Index) -> Result<bool> {
    let key = |index: &Index| {
        (
            index.spec.get_document("key").map(Document::to_string).unwrap_or_default(),
            index.spec.get("partialFilterExpression").cloned(),
        )
    };
    let options = |index: &Index| {
        let mut options = index.spec.clone();
        for field in ["v", "key", "name", "background", "ns"] {
            options.remove(field);
        }
        // What is off may as well not be there.
        options
            .into_iter()
            .filter(|(_, value)| *value != Bson::Boolean(false))
            .collect::<Document>()
    };
    if let Some(present) = collection.find_index(&index.name) {
        let is_id = present.name == "_id_";
        if key(present) == key(index) && (is_id || options(present) == options(index)) {
            return Ok(true);
        }
        let text = format!(
            "An existing index has the same name as the requested index. When index names are not specified, they are auto generated and can cause conflicts. Please refer to our documentation. Requested index: {}, existing index: {}",
            index.spec, present.spec
        );
        return Err(CommandError::new(Code::IndexKeySpecsConflict, text));
    }
    match collection.indexes.iter().find(|present| key(present) == key(index)) {
        Some(present) if present.name == "_id_" => Ok(true),
        Some(present) => {
            let text = format!("Index already exists with a different name: {}", present.name);
            Err(CommandError::new(Code::IndexOptionsConflict, text))
        }
        None => Ok(false),
    }
}
