//! Replaying an oplog: onto staging collections, or onto a snapshot in the vault.
//!
//! Nobody else changes what is replayed onto, so entries are applied by reading the present
//! documents, changing them here, and writing the results back: many entries on one document become
//! one write, a `$v: 2` difference is applied exactly, and the content of every collection is known
//! without reading it again. Commands are barriers. Entries are idempotent, so replay may begin
//! before the staged data's moment.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use bson::raw::RawDocument;
use bson::{Bson, Document};
use tidemark_model::OplogTime;
use tidemark_vault::DocumentSet;
use tidemark_wire::{
    OplogEntry, OplogOperation, apply_diff, apply_operators, check_operators, encode_document,
};

use crate::error::MoverError;
use crate::server_collections::{self, is_functions, is_time_series, known_as};
use crate::stop::Stop;
use crate::transactions::{Role, Transactions};
use crate::visit::Visit;
use crate::wanted::Wanted;
use tidemark_deployment::Connection;
use tidemark_deployment::{STORED_FUNCTIONS, is_stage, lasting, time_series_of};

/// Entries that are applied together to staging collections.
const STAGE_WINDOW: Window = Window { entries: 2_000, bytes: 8 * 1024 * 1024 };

/// How much is applied together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) entries: usize,
    /// Bytes of entries.
    pub(crate) bytes: usize,
}

/// What entries are replayed onto.
pub(crate) trait Target {
    /// How much is applied together.
    fn window(&self) -> Window;
    /// Whether there is a collection of this name.
    fn has(&self, namespace: &str) -> bool;
    /// The names of all collections.
    fn namespaces(&self) -> Vec<String>;
    /// Views with their options.
    fn views(&mut self) -> &mut BTreeMap<String, Document>;
    /// Notes a view, if it is wanted.
    fn add_view(&mut self, namespace: &str, options: Document);
    /// Makes an empty collection as an entry says, if it is wanted.
    fn create(&mut self, namespace: &str, created: Created<'_>) -> Result<(), MoverError>;
    /// Removes a collection, if it is there.
    fn drop_collection(&mut self, namespace: &str) -> Result<(), MoverError>;
    /// Gives a collection that is there another name; nothing has that name.
    fn rename(&mut self, from: &str, to: &str);
    /// Applies entries on documents of one collection, in their order.
    fn apply(&mut self, namespace: &str, entries: &[OplogEntry]) -> Result<(), MoverError>;
    /// The indexes of a collection that is there.
    fn indexes(&mut self, namespace: &str) -> Option<&mut Vec<Document>>;
    /// Changes the options of a collection, if it is there.
    fn modify(&mut self, namespace: &str, changes: Document) -> Result<(), MoverError>;
    /// The options of a collection that is a time series.
    fn time_series(&self, namespace: &str) -> Option<&Document>;
}

/// A collection as its `create` entry has it.
pub(crate) struct Created<'a> {
    pub(crate) options: Document,
    /// Its index on `_id`, where the entry says it.
    pub(crate) id_index: Option<Document>,
    pub(crate) entry: &'a OplogEntry,
}

/// A collection that is being restored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Staged {
    /// The database in which it is staged.
    pub(crate) database: String,
    /// Its name while it is staged.
    pub(crate) name: String,
    /// What it must hold.
    pub(crate) content: DocumentSet,
    /// Its options.
    pub(crate) options: Document,
    /// Its indexes, `_id` included; built after the replay.
    pub(crate) indexes: Vec<Document>,
}

/// All collections of a restore, by the names they will have.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    pub(crate) collections: BTreeMap<String, Staged>,
    /// Views with their options. Nothing is staged for them: they are made with the swap.
    pub(crate) views: BTreeMap<String, Document>,
    /// What is staged; everything else is passed over.
    pub(crate) wanted: Wanted,
    prefix: String,
    next: usize,
    /// Whether the deployment loads collections without their oplog entries and indexes.
    is_bulk: bool,
    /// Whether it can be told to leave empty timestamps as they are.
    pub(crate) keeps_empty_timestamps: bool,
}

impl Stage {
    pub(crate) fn new(prefix: String, wanted: Wanted, is_bulk: bool) -> Self {
        let (collections, views) = (BTreeMap::new(), BTreeMap::new());
        let keeps_empty_timestamps = false;
        Self { collections, views, wanted, prefix, next: 0, is_bulk, keeps_empty_timestamps }
    }

    /// Creates the staging collection for a namespace that begins empty during the replay.
    fn create_complete(
        &mut self,
        connection: &mut Connection,
        namespace: &str,
        options: Document,
    ) -> Result<(), MoverError> {
        self.create(connection, namespace, options)?;
        self.complete(connection, namespace)
    }

    /// Says that a collection is loaded: its index on `_id` is built, and it can be changed.
    pub(crate) fn complete(
        &self,
        connection: &mut Connection,
        namespace: &str,
    ) -> Result<(), MoverError> {
        let Some(staged) = self.collections.get(namespace).filter(|_| self.is_bulk) else {
            return Ok(());
        };
        let index = bson::doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" };
        let command = bson::doc! { "createIndexes": &staged.name, "indexes": [index] };
        Ok(connection.command(&staged.database, command).map(drop)?)
    }

    /// Creates the staging collection for a namespace, if it is wanted.
    pub(crate) fn create(
        &mut self,
        connection: &mut Connection,
        namespace: &str,
        options: Document,
    ) -> Result<(), MoverError> {
        let Some(database) = self.wanted.database_for(namespace) else { return Ok(()) };
        let name = format!("{}{}", self.prefix, self.next);
        self.next += 1;
        let mut command = bson::doc! { "create": &name };
        if is_time_series(&options) {
            // Its buckets are staged as what they are. What of the options the deployment does not take,
            // it says now and not in the swap.
            try_out(connection, (&database, &format!("{name}t")), &options)?;
        } else {
            command.extend(options.clone());
        }
        if self.wanted.target_of(namespace).is_some_and(|target| is_functions(&target)) {
            try_functions(connection, &database)?;
        }
        if self.is_bulk {
            command.insert("tidemarkStaging", true);
        }
        connection.command(&database, command)?;
        let indexes = vec![bson::doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }];
        let content = DocumentSet::default();
        let staged = Staged { database, name, content, options, indexes };
        self.collections.insert(namespace.to_owned(), staged);
        Ok(())
    }

    /// Notes a view, if it is wanted.
    pub(crate) fn add_view(&mut self, namespace: &str, options: Document) {
        if self.wanted.target_of(namespace).is_some() {
            self.views.insert(namespace.to_owned(), options);
        }
    }
}

/// The stage of a restore, with the connection by which it is changed.
pub(crate) struct StageTarget<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) stage: &'a mut Stage,
}

impl Target for StageTarget<'_> {
    fn window(&self) -> Window {
        STAGE_WINDOW
    }

    fn has(&self, namespace: &str) -> bool {
        self.stage.collections.contains_key(namespace)
    }

    fn namespaces(&self) -> Vec<String> {
        self.stage.collections.keys().cloned().collect()
    }

    fn views(&mut self) -> &mut BTreeMap<String, Document> {
        &mut self.stage.views
    }

    fn add_view(&mut self, namespace: &str, options: Document) {
        self.stage.add_view(namespace, options);
    }

    fn create(&mut self, namespace: &str, created: Created<'_>) -> Result<(), MoverError> {
        self.stage.create_complete(self.connection, namespace, created.options)
    }

    fn drop_collection(&mut self, namespace: &str) -> Result<(), MoverError> {
        match self.stage.collections.remove(namespace) {
            Some(staged) => {
                let command = bson::doc! { "drop": staged.name };
                Ok(self.connection.command(&staged.database, command).map(drop)?)
            }
            None => Ok(()),
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        if let Some(staged) = self.stage.collections.remove(from) {
            self.stage.collections.insert(to.to_owned(), staged);
        }
    }

    fn apply(&mut self, namespace: &str, entries: &[OplogEntry]) -> Result<(), MoverError> {
        // One that is not there was dropped or renamed later, before its documents were read.
        let Some(staged) = self.stage.collections.get_mut(namespace) else { return Ok(()) };
        let ids: Vec<Bson> =
            entries.iter().filter_map(|entry| id_of(&entry.operation)).cloned().collect();
        let before = load(self.connection, staged, ids)?;
        let mut after: HashMap<Vec<u8>, (Bson, Option<Document>)> = HashMap::new();
        for entry in entries {
            let Some(id) = id_of(&entry.operation) else {
                continue;
            };
            let key = key_of(id);
            let present = match after.remove(&key) {
                Some((_, present)) => present,
                None => before.get(&key).map(|bytes| decode(bytes, entry)).transpose()?,
            };
            after.insert(key, (id.clone(), apply(entry, present)?));
        }
        let keeps = self.stage.keeps_empty_timestamps;
        let Some(staged) = self.stage.collections.get_mut(namespace) else { return Ok(()) };
        write((self.connection, keeps), staged, &before, after)
    }

    fn indexes(&mut self, namespace: &str) -> Option<&mut Vec<Document>> {
        self.stage.collections.get_mut(namespace).map(|staged| &mut staged.indexes)
    }

    fn modify(&mut self, namespace: &str, changes: Document) -> Result<(), MoverError> {
        let Some(staged) = self.stage.collections.get_mut(namespace) else { return Ok(()) };
        if is_time_series(&staged.options) {
            server_collections::modify(&mut staged.options, &changes);
            server_collections::modify_index(&mut staged.indexes, &changes);
            return Ok(());
        }
        let mut modify = bson::doc! { "collMod": &staged.name };
        modify.extend(changes.clone());
        self.connection.command(&staged.database, modify)?;
        staged.options.extend(changes);
        Ok(())
    }

    fn time_series(&self, namespace: &str) -> Option<&Document> {
        let staged = self.stage.collections.get(namespace)?;
        is_time_series(&staged.options).then_some(&staged.options)
    }
}

/// Finds out whether a database takes stored functions: removes one that is not there.
fn try_functions(connection: &mut Connection, database: &str) -> Result<(), MoverError> {
    let nothing = vec![bson::doc! { "q": { "_id": "tidemark" , "value": 0 }, "limit": 1 }];
    let command = bson::doc! { "delete": STORED_FUNCTIONS, "deletes": nothing };
    Ok(connection.command(database, command).map(drop)?)
}

/// Makes a collection with these options and removes it again.
fn try_out(
    connection: &mut Connection,
    (database, name): (&str, &str),
    options: &Document,
) -> Result<(), MoverError> {
    let mut create = bson::doc! { "create": name };
    create.extend(options.clone());
    connection.command(database, create)?;
    Ok(connection.command(database, bson::doc! { "drop": name }).map(drop)?)
}

/// The database part of a namespace.
pub(crate) fn database_of(namespace: &str) -> &str {
    namespace.split_once('.').map_or(namespace, |(database, _)| database)
}

/// Applies entries to a target.
pub(crate) struct Replayer<'a, T> {
    target: T,
    /// Entries that wait, by namespace, in their order.
    window: BTreeMap<String, Vec<OplogEntry>>,
    entries: usize,
    bytes: usize,
    transactions: Transactions,
    stop: &'a Stop,
}

impl<'a, T: Target> Replayer<'a, T> {
    pub(crate) fn new(target: T, stop: &'a Stop) -> Self {
        let (window, transactions) = (BTreeMap::new(), Transactions::default());
        Self { target, window, entries: 0, bytes: 0, transactions, stop }
    }

    /// Applies what waits; answers what it was applied to.
    pub(crate) fn finish(mut self) -> Result<T, MoverError> {
        self.flush()?;
        Ok(self.target)
    }

    /// Takes the next entry.
    pub(crate) fn push(&mut self, visit: &Visit<'_>) -> Result<(), MoverError> {
        let (raw, mut transactions) = (visit.entry, std::mem::take(&mut self.transactions));
        let outcome = match Role::of(raw) {
            // It is in the snapshot.
            Role::Alone if visit.is_before => Ok(()),
            Role::Alone => self.push_whole(raw),
            Role::Part(chain) if visit.is_before => {
                // One that began earlier is over when what is replayed begins, or will be missed.
                transactions.keep_if_whole(&chain, raw.as_bytes())
            }
            Role::Part(chain) => transactions.keep(&chain, raw.as_bytes()),
            Role::Last(chain) | Role::Commit(chain) | Role::Abort(chain) if visit.is_before => {
                transactions.abort(&chain);
                Ok(())
            }
            Role::Last(chain) => {
                let parts = transactions.finish(&chain, |part| self.push_whole(part));
                parts.and_then(|()| self.push_whole(raw))
            }
            Role::Commit(chain) => transactions.finish(&chain, |part| self.push_whole(part)),
            Role::Abort(chain) => {
                transactions.abort(&chain);
                Ok(())
            }
        };
        self.transactions = transactions;
        outcome
    }

    /// Takes an entry whose changes are visible now.
    fn push_whole(&mut self, raw: &RawDocument) -> Result<(), MoverError> {
        let entry = parse(raw)?;
        self.bytes += raw.as_bytes().len();
        self.take(entry)?;
        let most = self.target.window();
        if self.entries >= most.entries || self.bytes >= most.bytes { self.flush() } else { Ok(()) }
    }

    fn take(&mut self, mut entry: OplogEntry) -> Result<(), MoverError> {
        if is_internal(&entry) {
            return Ok(());
        }
        if let Cow::Owned(known) = known_as(&entry.namespace) {
            entry.namespace = known;
        }
        let database = entry.database().to_owned();
        match &entry.operation {
            OplogOperation::Noop => Ok(()),
            _ if is_definition_of_view(&entry) => self.define_view(&entry),
            OplogOperation::Command(command) => {
                self.flush()?;
                self.apply_command(&entry, &database, command)
            }
            _ => {
                self.entries += 1;
                self.window.entry(entry.namespace.clone()).or_default().push(entry);
                Ok(())
            }
        }
    }

    /// Applies what waits.
    fn flush(&mut self) -> Result<(), MoverError> {
        self.stop.check()?;
        for (namespace, entries) in std::mem::take(&mut self.window) {
            self.target.apply(&namespace, &entries)?;
        }
        (self.entries, self.bytes) = (0, 0);
        Ok(())
    }

    /// Takes a change of a view: views are documents of a collection of their database.
    fn define_view(&mut self, entry: &OplogEntry) -> Result<(), MoverError> {
        let Some(Bson::String(view)) = id_of(&entry.operation) else { return Ok(()) };
        let present = self.target.views().remove(view);
        if let Some(mut options) = apply(entry, present)? {
            options.remove("_id");
            // That of a time series comes with it.
            if options.get_str("viewOn").is_ok_and(|on| time_series_of(on).is_some()) {
                return Ok(());
            }
            self.target.add_view(view, options);
        }
        Ok(())
    }

    fn apply_command(
        &mut self,
        entry: &OplogEntry,
        database: &str,
        command: &Document,
    ) -> Result<(), MoverError> {
        let unknown = |reason: String| MoverError::Replay { position: position(entry.ts), reason };
        let (name, value) = command.iter().next().ok_or_else(|| unknown("it is empty".into()))?;
        let namespace = format!("{database}.{}", value.as_str().unwrap_or_default());
        let namespace = known_as(&namespace).into_owned();
        match name.as_str() {
            "create" if self.target.has(&namespace) => Ok(()),
            // It is there when there is a view.
            "create" if value.as_str() == Some(VIEWS) => Ok(()),
            "create" => self.create(entry, &namespace, command.clone()),
            "drop" => {
                self.target.views().remove(&namespace);
                self.target.drop_collection(&namespace)
            }
            "dropDatabase" => {
                self.target.views().retain(|view, _| database_of(view) != database);
                for namespace in self.target.namespaces() {
                    if database_of(&namespace) == database {
                        self.target.drop_collection(&namespace)?;
                    }
                }
                Ok(())
            }
            "renameCollection" => self.rename(command),
            "createIndexes" | "commitIndexBuild" => {
                self.note_indexes(&namespace, command);
                Ok(())
            }
            "dropIndexes" | "deleteIndexes" => {
                self.forget_indexes(&namespace, &[command.get_str("index").unwrap_or_default()]);
                Ok(())
            }
            "collMod" => {
                let mut changes = command.clone();
                changes.remove("collMod");
                self.target.modify(&namespace, changes)
            }
            "applyOps" => self.apply_all(entry, command),
            // Who lists indexes sees one that is being built.
            "abortIndexBuild" => {
                let aborted = command.get_array("indexes").into_iter().flatten();
                let aborted: Vec<&str> =
                    aborted.filter_map(|spec| spec.as_document()?.get_str("name").ok()).collect();
                self.forget_indexes(&namespace, &aborted);
                Ok(())
            }
            "startIndexBuild" | "dbCheck" => Ok(()),
            other => Err(unknown(format!("the command {other} is not known to this release"))),
        }
    }

    fn create(
        &mut self,
        entry: &OplogEntry,
        namespace: &str,
        command: Document,
    ) -> Result<(), MoverError> {
        let mut options = lasting(server_collections::given(command));
        options.remove("create");
        if options.contains_key("viewOn") {
            self.target.add_view(namespace, options);
            return Ok(());
        }
        let id_index = match options.remove("idIndex") {
            Some(Bson::Document(index)) => Some(index),
            _ => None,
        };
        self.target.create(namespace, Created { options, id_index, entry })
    }

    fn forget_indexes(&mut self, namespace: &str, names: &[&str]) {
        if let Some(indexes) = self.target.indexes(namespace) {
            indexes.retain(|index| index.get_str("name").is_ok_and(|name| !names.contains(&name)));
        }
    }

    fn rename(&mut self, command: &Document) -> Result<(), MoverError> {
        let from = command.get_str("renameCollection").unwrap_or_default();
        let to = command.get_str("to").unwrap_or_default();
        if !self.target.has(from) {
            check_rename(command)?;
            // It happened before the data was read.
            return Ok(());
        }
        self.target.drop_collection(to)?;
        self.target.rename(from, to);
        Ok(())
    }

    /// Notes indexes.
    fn note_indexes(&mut self, namespace: &str, command: &Document) {
        let series = self.target.time_series(namespace).cloned();
        let Some(indexes) = self.target.indexes(namespace) else { return };
        let specs: Vec<Document> = if let Ok(specs) = command.get_array("indexes") {
            specs.iter().filter_map(|spec| spec.as_document().cloned()).collect()
        } else {
            let mut spec = command.clone();
            spec.remove("createIndexes");
            vec![spec]
        };
        for spec in specs {
            let spec = match &series {
                Some(options) => server_collections::users_index(options, spec),
                None => spec,
            };
            let name = spec.get_str("name").unwrap_or_default().to_owned();
            indexes.retain(|index| index.get_str("name").is_ok_and(|present| present != name));
            indexes.push(spec);
        }
    }

    fn apply_all(&mut self, entry: &OplogEntry, command: &Document) -> Result<(), MoverError> {
        for_each_operation(entry, command, |operation| self.take(operation))
    }
}

/// Visits what a list of operations does, as entries of their own.
fn for_each_operation(
    entry: &OplogEntry,
    command: &Document,
    mut visit: impl FnMut(OplogEntry) -> Result<(), MoverError>,
) -> Result<(), MoverError> {
    let refuse = |reason: String| MoverError::Replay { position: position(entry.ts), reason };
    let operations =
        command.get_array("applyOps").map_err(|_| refuse("it has no list of operations".into()))?;
    for operation in operations {
        let operation = operation.as_document();
        let mut operation =
            operation.cloned().ok_or_else(|| refuse("an operation is no document".into()))?;
        operation.insert("ts", entry.ts);
        let bytes = encode_document(&operation);
        let parsed = RawDocument::from_bytes(&bytes)
            .map_err(|error| error.to_string())
            .and_then(|raw| OplogEntry::parse(raw).map_err(|error| error.to_string()))
            .map_err(refuse)?;
        visit(parsed)?;
    }
    Ok(())
}

/// Commands in an oplog that are replayed, or that need no replay.
const KNOWN_COMMANDS: &[&str] = &[
    "create",
    "drop",
    "dropDatabase",
    "renameCollection",
    "createIndexes",
    "commitIndexBuild",
    "dropIndexes",
    "deleteIndexes",
    "collMod",
    "applyOps",
    "startIndexBuild",
    "abortIndexBuild",
    "dbCheck",
];

/// Refuses a part of a transaction that does not say of which one.
fn refuse_stray_part(entry: &RawDocument) -> Result<(), MoverError> {
    let command = entry.get_document("o").ok();
    let is = |field: &str| command.is_some_and(|command| command.get_bool(field).unwrap_or(false));
    if !is("partialTxn") && !is("prepare") {
        return Ok(());
    }
    Err(MoverError::Replay {
        position: entry.get_timestamp("ts").map_or_else(|_| "unknown".into(), position),
        reason: "it is a part of one of several transactions and does not say of which".to_owned(),
    })
}

/// Refuses entries that this release cannot replay: what it cannot read is one of them, and so is a
/// transaction whose beginning is missing.
#[derive(Default)]
pub(crate) struct Checker {
    transactions: Transactions,
    renames: Vec<(String, String)>,
}

impl Checker {
    /// Looks at the next entry.
    pub(crate) fn push(&mut self, visit: &Visit<'_>) -> Result<(), MoverError> {
        match Role::of(visit.entry) {
            Role::Alone if visit.is_before => return Ok(()),
            Role::Part(chain) if visit.is_before => {
                return self.transactions.keep_if_whole(&chain, &[]);
            }
            Role::Last(chain) | Role::Commit(chain) | Role::Abort(chain) if visit.is_before => {
                self.transactions.abort(&chain);
                return Ok(());
            }
            Role::Alone => refuse_stray_part(visit.entry)?,
            Role::Part(chain) => self.transactions.keep(&chain, &[])?,
            Role::Last(chain) => self.transactions.finish(&chain, |_| Ok(()))?,
            Role::Commit(chain) => return self.transactions.finish(&chain, |_| Ok(())),
            Role::Abort(chain) => {
                self.transactions.abort(&chain);
                return Ok(());
            }
        }
        let entry = parse(visit.entry)?;
        check_parsed(&entry)?;
        self.note_renames(&entry)
    }

    fn note_renames(&mut self, entry: &OplogEntry) -> Result<(), MoverError> {
        let OplogOperation::Command(command) = &entry.operation else { return Ok(()) };
        if let (Ok(from), Ok(to)) = (command.get_str("renameCollection"), command.get_str("to")) {
            self.renames.push((from.to_owned(), to.to_owned()));
        }
        if command.contains_key("applyOps") {
            return for_each_operation(entry, command, |operation| self.note_renames(&operation));
        }
        Ok(())
    }

    /// From what to what collections were renamed, in their order.
    pub(crate) fn renames(&self) -> &[(String, String)] {
        &self.renames
    }
}

fn check_parsed(entry: &OplogEntry) -> Result<(), MoverError> {
    let refuse = |reason: String| MoverError::Replay { position: position(entry.ts), reason };
    if is_internal(entry) {
        return Ok(());
    }
    match &entry.operation {
        OplogOperation::Noop => Ok(()),
        OplogOperation::Insert(_) | OplogOperation::Delete(_) | OplogOperation::Update { .. }
            if id_of(&entry.operation).is_none() =>
        {
            Err(refuse("it does not say which document it changes".to_owned()))
        }
        OplogOperation::Update { change, .. } => check_change(entry, change),
        OplogOperation::Insert(_) | OplogOperation::Delete(_) => Ok(()),
        OplogOperation::Command(command) => {
            let name = command.keys().next().map(String::as_str).unwrap_or_default();
            if !KNOWN_COMMANDS.contains(&name) {
                return Err(refuse(format!("the command {name:?} is not known to this release")));
            }
            if !is_complete(name, command) {
                return Err(refuse(format!("the command {name} lacks a part of what it needs")));
            }
            match name {
                "applyOps" => {
                    for_each_operation(entry, command, |operation| check_parsed(&operation))
                }
                "renameCollection" => check_rename(command),
                _ => Ok(()),
            }
        }
    }
}

/// Whether a command has what its replay reads: nothing of it is guessed.
fn is_complete(name: &str, command: &Document) -> bool {
    let has_text =
        |command: &Document, field: &str| command.get_str(field).is_ok_and(|text| !text.is_empty());
    match name {
        "create" | "drop" | "collMod" => has_text(command, name),
        "createIndexes" => has_text(command, name) && has_text(command, "name"),
        "commitIndexBuild" => {
            let names_all = |specs: &Vec<Bson>| {
                let named = |spec: &Bson| spec.as_document().is_some_and(|s| has_text(s, "name"));
                specs.iter().all(named)
            };
            has_text(command, name) && command.get_array("indexes").is_ok_and(names_all)
        }
        "dropIndexes" | "deleteIndexes" => has_text(command, name) && has_text(command, "index"),
        "renameCollection" => has_text(command, name) && has_text(command, "to"),
        _ => true,
    }
}

/// Refuses changes that are neither a difference, nor operators as servers before 5.0 write them, nor a
/// whole document.
fn check_change(entry: &OplogEntry, change: &Document) -> Result<(), MoverError> {
    let refuse = |reason: String| MoverError::Replay { position: position(entry.ts), reason };
    if change.get_document("diff").is_ok() {
        return Ok(());
    }
    if has_operators(change) {
        return check_operators(change).map_err(|error| refuse(error.to_string()));
    }
    if change.contains_key("$v") {
        return Err(refuse("it says neither what changed nor what it became".to_owned()));
    }
    Ok(())
}

fn has_operators(change: &Document) -> bool {
    change.keys().any(|name| name.starts_with('$') && name != "$v")
}

/// Refuses to go over the place where a restore put something in that the oplog does not hold.
fn check_rename(command: &Document) -> Result<(), MoverError> {
    let from = command.get_str("renameCollection").unwrap_or_default();
    let name = from.split_once('.').map_or("", |(_, name)| name);
    if is_stage(name) {
        let to = command.get_str("to").unwrap_or_default();
        let what = format!("what a restore put into {to}: it is not in the oplog");
        return Err(MoverError::OplogGap { what });
    }
    Ok(())
}

fn parse(raw: &RawDocument) -> Result<OplogEntry, MoverError> {
    OplogEntry::parse(raw).map_err(|error| MoverError::Replay {
        position: raw.get_timestamp("ts").map_or_else(|_| "unknown".into(), position),
        reason: error.to_string(),
    })
}

/// The collection of a database that holds its views.
const VIEWS: &str = "system.views";

/// Whether an entry makes, changes or removes a view.
fn is_definition_of_view(entry: &OplogEntry) -> bool {
    entry.namespace.split_once('.').is_some_and(|(_, name)| name == VIEWS)
}

/// Whether an entry concerns what belongs to the deployment and not to its users.
fn is_internal(entry: &OplogEntry) -> bool {
    matches!(entry.database(), "config" | "local") || entry.namespace.starts_with("admin.system.")
}

pub(crate) fn position(ts: bson::Timestamp) -> String {
    OplogTime::new(ts.time, ts.increment).to_string()
}

/// The `_id` of the document that an entry changes.
pub(crate) fn id_of(operation: &OplogOperation) -> Option<&Bson> {
    match operation {
        OplogOperation::Insert(document) | OplogOperation::Delete(document) => document.get("_id"),
        OplogOperation::Update { selector, .. } => selector.get("_id"),
        OplogOperation::Command(_) | OplogOperation::Noop => None,
    }
}

/// The identity of an `_id`: its bytes.
pub(crate) fn key_of(id: &Bson) -> Vec<u8> {
    encode_document(&bson::doc! { "": id })
}

fn decode(bytes: &[u8], entry: &OplogEntry) -> Result<Document, MoverError> {
    Document::from_reader(bytes).map_err(|error| MoverError::Replay {
        position: position(entry.ts),
        reason: error.to_string(),
    })
}

/// The document after an entry.
pub(crate) fn apply(
    entry: &OplogEntry,
    present: Option<Document>,
) -> Result<Option<Document>, MoverError> {
    match (&entry.operation, present) {
        (OplogOperation::Insert(document), _) => Ok(Some(document.clone())),
        (OplogOperation::Update { change, .. }, present) => {
            match (change.get_document("diff"), present) {
                (Ok(diff), Some(mut document)) => {
                    apply_diff(&mut document, diff).map_err(|error| MoverError::Replay {
                        position: position(entry.ts),
                        reason: error.to_string(),
                    })?;
                    Ok(Some(document))
                }
                // The document was deleted later, before it was read.
                (Ok(_), None) => Ok(None),
                (Err(_), Some(mut document)) if has_operators(change) => {
                    apply_operators(&mut document, change).map_err(|error| MoverError::Replay {
                        position: position(entry.ts),
                        reason: error.to_string(),
                    })?;
                    Ok(Some(document))
                }
                (Err(_), None) if has_operators(change) => Ok(None),
                (Err(_), _) => Ok(Some(change.clone())),
            }
        }
        (OplogOperation::Delete(_), _) => Ok(None),
        (OplogOperation::Command(_) | OplogOperation::Noop, present) => Ok(present),
    }
}

/// Loads the present documents with these ids.
fn load(
    connection: &mut Connection,
    staged: &Staged,
    mut ids: Vec<Bson>,
) -> Result<HashMap<Vec<u8>, Vec<u8>>, MoverError> {
    let mut seen = std::collections::HashSet::new();
    ids.retain(|id| seen.insert(key_of(id)));
    let mut found = HashMap::new();
    let command = bson::doc! { "find": &staged.name, "filter": { "_id": { "$in": ids } } };
    connection.for_each(&staged.database, command, |document| {
        let id = document.get("_id").ok().flatten().and_then(|id| Bson::try_from(id).ok());
        if let Some(id) = id {
            found.insert(key_of(&id), document.as_bytes().to_vec());
        }
        Ok::<_, MoverError>(())
    })?;
    Ok(found)
}

/// Writes the new documents and keeps account of the collection's content.
fn write(
    (connection, keeps_empty_timestamps): (&mut Connection, bool),
    staged: &mut Staged,
    before: &HashMap<Vec<u8>, Vec<u8>>,
    after: HashMap<Vec<u8>, (Bson, Option<Document>)>,
) -> Result<(), MoverError> {
    let mut content = staged.content;
    let mut send = |staged: &Staged, kind: &str, statements: &[u8]| {
        send((&mut *connection, keeps_empty_timestamps), staged, (kind, statements))
    };
    let (mut updates, mut deletes) = (Vec::new(), Vec::new());
    for (key, (id, document)) in after {
        let old = before.get(&key);
        let new = document.as_ref().map(encode_document);
        if old == new.as_ref() {
            continue;
        }
        if let Some(old) = old {
            content.remove(old);
        }
        match (document, new) {
            (Some(document), Some(bytes)) => {
                content.add(&bytes);
                let statement = bson::doc! { "q": { "_id": id }, "u": document, "upsert": true };
                updates.extend(encode_document(&statement));
                // Small changes may be to large documents.
                if updates.len() >= STAGE_WINDOW.bytes {
                    send(staged, "update", &std::mem::take(&mut updates))?;
                }
            }
            _ => deletes.extend(encode_document(&bson::doc! { "q": { "_id": id }, "limit": 1 })),
        }
    }
    send(staged, "update", &updates)?;
    send(staged, "delete", &deletes)?;
    staged.content = content;
    Ok(())
}

/// Sends statements of one kind.
fn send(
    (connection, keeps_empty_timestamps): (&mut Connection, bool),
    staged: &Staged,
    (kind, statements): (&str, &[u8]),
) -> Result<(), MoverError> {
    if statements.is_empty() {
        return Ok(());
    }
    let mut command = bson::doc! {
        kind: &staged.name,
        "ordered": true,
        "writeConcern": { "w": 1, "j": false },
    };
    if kind == "update" {
        command.insert("bypassDocumentValidation", true);
        if keeps_empty_timestamps {
            command.insert("bypassEmptyTsReplacement", true);
        }
    }
    Ok(connection.write_run(&staged.database, command, (&format!("{kind}s"), statements))?)
}
