//! `createIndexes`, `dropIndexes`, `listIndexes`.

use bson::{Document, RawBsonRef};

use super::write::writable_namespace;
use crate::collections::Collection;
use crate::context::Context;
use crate::error::{Code, CommandError, Result};
use crate::reply::Reply;
use crate::request::Request;

/// Fields that a specification may carry although they are no part of the index.
const DROPPED_FIELDS: &[&str] = &["ns", "background", "textIndexVersion"];

pub(super) fn create(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&["indexes", "ignoreUnknownIndexOptions", "commitQuorum"])?;
    let namespace = writable_namespace(request)?;
    let mut specs = Vec::new();
    for spec in request.documents("indexes")? {
        let mut spec = Document::try_from(spec)?;
        for field in DROPPED_FIELDS {
            spec.remove(field);
        }
        specs.push(spec);
    }
    if specs.is_empty() {
        return Err(CommandError::new(Code::BadValue, "Must specify at least one index to create"));
    }
    let mut transaction = context.shared.engine.begin_settled()?;
    let is_new = transaction.catalog().find(&namespace).is_none();
    let before = transaction.existing_or_created(&namespace)?.indexes.len();
    let made = transaction.create_indexes(&namespace, specs)?;
    // What is staged has no entry to wait for.
    transaction.commit_to_disk()?;
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let mut reply = bson::doc! {
        "numIndexesBefore": number(before),
        "numIndexesAfter": number(before + made),
        "createdCollectionAutomatically": is_new,
    };
    if made == 0 {
        reply.insert("note", "all indexes already exist");
    }
    Ok(reply.into())
}

pub(super) fn drop(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&["index"])?;
    let namespace = writable_namespace(request)?;
    let mut transaction = context.shared.engine.begin()?;
    let collection = transaction.existing(&namespace)?;
    let before = collection.indexes.len();
    for name in names_to_drop(request, &collection)? {
        transaction.drop_index(&namespace, &name)?;
    }
    let at = transaction.commit()?;
    context.shared.engine.wait_durable(at)?;
    Ok(bson::doc! { "nIndexesWas": i32::try_from(before).unwrap_or(i32::MAX) }.into())
}

fn names_to_drop(request: &Request<'_>, collection: &Collection) -> Result<Vec<String>> {
    let not_found =
        |what: String| CommandError::new(Code::IndexNotFound, format!("can't find index {what}"));
    match request.field("index") {
        Some(RawBsonRef::String("*")) => {
            let all = collection.indexes.iter().map(|index| index.name.clone());
            Ok(all.filter(|name| name != "_id_").collect())
        }
        Some(RawBsonRef::String(name)) => Ok(vec![name.to_owned()]),
        Some(RawBsonRef::Array(names)) => {
            let names = names.into_iter().map(|name| Some(name.ok()?.as_str()?.to_owned()));
            names.collect::<Option<_>>().ok_or_else(|| not_found("names must be strings".into()))
        }
        Some(RawBsonRef::Document(key)) => {
            let key = Document::try_from(key)?.to_string();
            let mut found = collection.indexes.iter().filter(|index| {
                index.spec.get_document("key").is_ok_and(|spec| spec.to_string() == key)
            });
            match (found.next(), found.next()) {
                (Some(index), None) => Ok(vec![index.name.clone()]),
                (None, _) => Err(not_found(key)),
                (Some(_), Some(_)) => {
                    let text = format!(
                        "{} indexes found for key: {key}; name the one to drop",
                        2 + found.count()
                    );
                    Err(CommandError::new(Code::AmbiguousIndexKeyPattern, text))
                }
            }
        }
        _ => Err(CommandError::new(
            Code::TypeMismatch,
            "dropIndexes needs 'index': a name, a key or \"*\"",
        )),
    }
}

pub(super) fn list(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&["cursor"])?;
    let view = context.shared.engine.view()?;
    let namespace = super::find::namespace_of(request, &view)?;
    let specs: Vec<Document> = match view.catalog.find(&namespace) {
        Some(collection) => collection.indexes.iter().map(|index| index.spec.clone()).collect(),
        None if namespace.is_oplog() => Vec::new(),
        None => {
            let text = format!("ns does not exist: {namespace}");
            return Err(CommandError::new(Code::NamespaceNotFound, text));
        }
    };
    std::mem::drop(view);
    super::list::answer(context, request, &namespace.to_string(), specs)
}
