//! `applyOps`: oplog entries, applied.
//!
//! Entries are idempotent: an insert replaces, a delete of nothing is fine, a difference for a
//! missing document is skipped. A list with commands is one commit, so that a restore is put in place
//! as a whole or not at all, its record included, unless a change is to a collection that a command
//! names. In all other lists every entry is a commit of its own and sees what the ones before it
//! wrote.

use std::collections::BTreeSet;

use bson::raw::RawDocument;
use bson::{Bson, Document};
use tidemark_model::OplogTime;
use tidemark_wire::{OplogEntry, OplogOperation, apply_diff};

use super::write::{check_writable, write_options};
use crate::collections::{Collection, Namespace, Staging};
use crate::context::Context;
use crate::error::{Code, CommandError, Result};
use crate::reply::Reply;
use crate::request::Request;
use crate::transaction::{Transaction, WriteOptions};

const FIELDS: &[&str] = &[
    "bypassDocumentValidation",
    "alwaysUpsert",
    "oplogApplicationMode",
    "allowAtomic",
    "preCondition",
];

pub(super) fn run(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(FIELDS)?;
    if request.field("preCondition").is_some() {
        return Err(CommandError::unsupported("the option 'preCondition' of applyOps"));
    }
    let engine = &context.shared.engine;
    let entries: Vec<OplogEntry> =
        request.documents("applyOps")?.into_iter().map(parse).collect::<Result<_>>()?;
    let is_command = |entry: &OplogEntry| matches!(entry.operation, OplogOperation::Command(_));
    let is_definition = entries.iter().any(is_command);
    let commits = if is_one_commit(&entries) { entries.len().max(1) } else { 1 };
    let reloads = engine.reloads();
    let mut at = OplogTime::default();
    for entries in entries.chunks(commits) {
        // A command may have to read what is there, a change finds its document by its key.
        let mut transaction =
            if is_definition { engine.begin_settled()? } else { engine.begin()? };
        // What is in an oplog was written as it is.
        transaction
            .set_options(WriteOptions { keeps_empty_timestamps: true, ..write_options(request) });
        for entry in entries {
            apply(&mut transaction, entry)?;
        }
        at = transaction.commit()?;
    }
    engine.wait_durable(at)?;
    engine.check_kept(reloads)?;
    let applied = i32::try_from(entries.len()).unwrap_or(i32::MAX);
    let results = vec![Bson::Boolean(true); entries.len()];
    Ok(bson::doc! { "applied": applied, "results": results }.into())
}

/// Whether all entries happen together: those with commands do, as long as no change is to a
/// collection that a command of the same list names.
fn is_one_commit(entries: &[OplogEntry]) -> bool {
    let mut named = BTreeSet::new();
    let mut dropped = BTreeSet::new();
    for entry in entries {
        let OplogOperation::Command(command) = &entry.operation else { continue };
        let Some((name, value)) = command.iter().next() else { continue };
        let value = value.as_str().unwrap_or_default();
        match name.as_str() {
            "renameCollection" => {
                named.insert(value.to_owned());
                named.insert(command.get_str("to").unwrap_or_default().to_owned());
            }
            "dropDatabase" => {
                dropped.insert(entry.database());
            }
            _ => {
                named.insert(format!("{}.{value}", entry.database()));
            }
        }
    }
    let is_apart = |entry: &OplogEntry| {
        matches!(entry.operation, OplogOperation::Command(_))
            || !(named.contains(&entry.namespace) || dropped.contains(entry.database()))
    };
    let has_commands = !named.is_empty() || !dropped.is_empty();
    has_commands && entries.iter().all(is_apart)
}

/// Reads an entry; clients may leave the position out.
fn parse(entry: &RawDocument) -> Result<OplogEntry> {
    let mut complete = Document::try_from(entry)?;
    if !complete.contains_key("ts") {
        complete.insert("ts", bson::Timestamp { time: 0, increment: 0 });
    }
    let bytes = complete.to_vec()?;
    OplogEntry::parse(RawDocument::from_bytes(&bytes)?)
        .map_err(|error| CommandError::new(Code::FailedToParse, error.to_string()))
}

fn apply(transaction: &mut Transaction<'_>, entry: &OplogEntry) -> Result<()> {
    match &entry.operation {
        OplogOperation::Noop => Ok(()),
        OplogOperation::Command(command) => apply_command(transaction, entry, command),
        OplogOperation::Insert(document) => {
            check_id("insert", document)?;
            let collection = target(transaction, entry)?;
            put(transaction, &collection, document)
        }
        OplogOperation::Delete(selector) => {
            check_id("delete", selector)?;
            let collection = target(transaction, entry)?;
            match load(transaction, &collection, selector)? {
                Some((record, bytes)) => {
                    transaction.delete(&collection, record, RawDocument::from_bytes(&bytes)?)
                }
                None => Ok(()),
            }
        }
        OplogOperation::Update { selector, change } => {
            check_id("update", selector)?;
            let collection = target(transaction, entry)?;
            update(transaction, &collection, (selector, change))
        }
    }
}

fn check_id(operation: &str, document: &Document) -> Result<()> {
    if document.contains_key("_id") {
        return Ok(());
    }
    let text = format!("Failed to apply {operation} due to missing _id: {document}");
    Err(CommandError::new(Code::NoSuchKey, text))
}

fn target(transaction: &Transaction<'_>, entry: &OplogEntry) -> Result<std::sync::Arc<Collection>> {
    let namespace = Namespace::parse(&entry.namespace)?;
    check_writable(&namespace)?;
    let collection = transaction.existing(&namespace)?;
    super::update::check_not_loading(&collection)?;
    Ok(collection)
}

fn load(
    transaction: &Transaction<'_>,
    collection: &Collection,
    selector: &Document,
) -> Result<Option<(u64, Vec<u8>)>> {
    let id = bson::RawBson::try_from(selector.get("_id").cloned().unwrap_or(Bson::Null))?;
    transaction.find_by_id(collection, id.as_raw_bson_ref())
}

fn put(
    transaction: &mut Transaction<'_>,
    collection: &Collection,
    document: &Document,
) -> Result<()> {
    match load(transaction, collection, document)? {
        Some((_, bytes)) if bytes == document.to_vec()? => Ok(()),
        Some((record, bytes)) => transaction.update(
            collection,
            (record, RawDocument::from_bytes(&bytes)?),
            document,
            true,
        ),
        None => {
            let bytes = document.to_vec()?;
            transaction.insert(collection, RawDocument::from_bytes(&bytes)?).map(drop)
        }
    }
}

fn update(
    transaction: &mut Transaction<'_>,
    collection: &Collection,
    (selector, change): (&Document, &Document),
) -> Result<()> {
    let Ok(diff) = change.get_document("diff") else {
        if change.keys().any(|name| name.starts_with('$')) {
            return Err(CommandError::unsupported("an oplog entry with update operators ($v: 1)"));
        }
        return put(transaction, collection, change);
    };
    let Some((record, bytes)) = load(transaction, collection, selector)? else {
        return Ok(());
    };
    let raw = RawDocument::from_bytes(&bytes)?;
    let mut after = Document::try_from(raw)?;
    apply_diff(&mut after, diff)
        .map_err(|error| CommandError::new(Code::BadValue, error.to_string()))?;
    if after.to_vec()? == bytes {
        return Ok(());
    }
    transaction.update(collection, (record, raw), &after, false)
}

fn apply_command(
    transaction: &mut Transaction<'_>,
    entry: &OplogEntry,
    command: &Document,
) -> Result<()> {
    let (name, value) = command
        .iter()
        .next()
        .ok_or_else(|| CommandError::new(Code::FailedToParse, "an oplog command is empty"))?;
    let namespace = || {
        let namespace = Namespace::new(entry.database(), value.as_str().unwrap_or_default())?;
        check_writable(&namespace)?;
        Ok::<_, CommandError>(namespace)
    };
    match name.as_str() {
        "create" => {
            let namespace = namespace()?;
            if transaction.catalog().find(&namespace).is_some() {
                return Ok(());
            }
            let mut options = command.clone();
            for field in ["create", "idIndex"] {
                options.remove(field);
            }
            if let Some(option) = options.keys().find(|o| !o.starts_with("validat")) {
                return Err(CommandError::unsupported(format!("the collection option '{option}'")));
            }
            transaction.create(&namespace, options, Staging::None).map(drop)
        }
        "drop" => {
            let namespace = namespace()?;
            if transaction.catalog().find(&namespace).is_some() {
                transaction.drop_collection(&namespace)?;
            }
            Ok(())
        }
        "renameCollection" => {
            let from = Namespace::parse(value.as_str().unwrap_or_default())?;
            let to = Namespace::parse(command.get_str("to").unwrap_or_default())?;
            check_writable(&from)?;
            check_writable(&to)?;
            let drops = !matches!(command.get("dropTarget"), None | Some(Bson::Boolean(false)));
            transaction.rename(&from, &to, drops)
        }
        "dropDatabase" => {
            transaction.drop_database(entry.database(), false);
            Ok(())
        }
        "createIndexes" => {
            let namespace = namespace()?;
            let mut spec = command.clone();
            spec.remove("createIndexes");
            transaction.create_indexes(&namespace, vec![spec]).map(drop)
        }
        "dropIndexes" | "deleteIndexes" => {
            transaction.drop_index(&namespace()?, command.get_str("index").unwrap_or_default())
        }
        other => Err(CommandError::unsupported(format!("the oplog command '{other}'"))),
    }
}
