//! `collStats`, `dbStats` and the stage `$collStats`.

use bson::{Bson, Document, RawBsonRef};
use tidemark_store::{Direction, Tree};

use crate::collections::Namespace;
use crate::context::Context;
use crate::engine::{Engine, OPLOG_BYTES, Statistics, documents_of, record_of};
use crate::error::{Code, CommandError, Result};
use crate::number::as_integer;
use crate::reply::Reply;
use crate::request::Request;

/// The numbers of the first and of the last document; no later one is smaller.
fn records(engine: &Engine, namespace: &Namespace) -> Result<Document> {
    let view = engine.view()?;
    let (mut first, mut last) = (None, None);
    if let Some(collection) = view.catalog.find(namespace) {
        let all = documents_of(collection.id);
        view.visit(Tree::Documents, &all, Direction::Ascending, |key, _| {
            first = record_of(key);
            Ok::<_, CommandError>(false)
        })?;
        last = view.last_key(Tree::Documents, &all)?.as_deref().and_then(record_of);
    }
    let number = |record: Option<u64>| i64::try_from(record.unwrap_or(0)).unwrap_or(i64::MAX);
    Ok(bson::doc! { "firstRecord": number(first), "lastRecord": number(last) })
}

fn of(engine: &Engine, namespace: &Namespace) -> Result<(Statistics, usize)> {
    let view = engine.view()?;
    match view.catalog.find(namespace) {
        Some(collection) => Ok((view.statistics(collection.id)?, collection.indexes.len())),
        None => Ok((Statistics::default(), 0)),
    }
}

/// What the indexes take, about: an entry has a key of a few bytes and a record number.
fn index_bytes(statistics: Statistics, indexes: usize) -> i64 {
    const ENTRY_BYTES: i64 = 40;
    let entries = statistics.count.saturating_mul(i64::try_from(indexes).unwrap_or(i64::MAX));
    entries.saturating_mul(ENTRY_BYTES)
}

fn describe(namespace: &Namespace, (statistics, indexes): (Statistics, usize)) -> Document {
    let average = if statistics.count > 0 { statistics.bytes / statistics.count } else { 0 };
    let mut document = bson::doc! {
        "ns": namespace.to_string(),
        "size": statistics.bytes,
        "count": statistics.count,
        "avgObjSize": average,
        "storageSize": statistics.bytes,
        "nindexes": i32::try_from(indexes).unwrap_or(i32::MAX),
        "totalIndexSize": index_bytes(statistics, indexes),
        "totalSize": statistics.bytes + index_bytes(statistics, indexes),
        "freeStorageSize": 0i64,
        "scaleFactor": 1i64,
        "indexSizes": {},
        "capped": namespace.is_oplog(),
    };
    if namespace.is_oplog() {
        document.insert("maxSize", OPLOG_BYTES);
    }
    document
}

pub(super) fn collection(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&["scale"])?;
    let namespace =
        if request.database == "local" { Namespace::oplog() } else { request.namespace()? };
    let engine = &context.shared.engine;
    let mut document = describe(&namespace, of(engine, &namespace)?);
    // Not a MongoDB field; see `tidemarkRecords` of find.
    document.insert("tidemark", records(engine, &namespace)?);
    Ok(document.into())
}

/// The one document of `$collStats`: the parts that its options ask for.
pub(super) fn stage(
    context: &Context<'_>,
    namespace: &Namespace,
    options: RawBsonRef<'_>,
) -> Result<Document> {
    let invalid = |text: String| CommandError::new(Code::FailedToParse, text);
    let options = options.as_document().ok_or_else(|| {
        invalid("$collStats must take a nested object but found another type".to_owned())
    })?;
    let statistics = of(&context.shared.engine, namespace)?;
    let now = context.shared.engine.clock.now().as_millisecond();
    let mut found = bson::doc! {
        "ns": namespace.to_string(),
        "host": &context.shared.advertised,
        "localTime": bson::DateTime::from_millis(now),
    };
    for option in options {
        let (name, argument) = option?;
        let argument = argument
            .as_document()
            .ok_or_else(|| invalid(format!("{} argument must be an object", name.as_str())))?;
        match name.as_str() {
            "count" => drop(found.insert("count", statistics.0.count)),
            "storageStats" => {
                let scale = match argument.get("scale")? {
                    None => 1,
                    Some(scale) => {
                        as_integer(scale).filter(|scale| *scale >= 1).ok_or_else(|| {
                            invalid("scale has to be a number of at least 1".to_owned())
                        })?
                    }
                };
                let mut described = describe(namespace, statistics);
                for field in
                    ["size", "storageSize", "totalIndexSize", "totalSize", "freeStorageSize"]
                {
                    if let Ok(bytes) = described.get_i64(field) {
                        described.insert(field, bytes / scale);
                    }
                }
                described.insert("scaleFactor", scale);
                found.insert("storageStats", described);
            }
            "latencyStats" | "queryExecStats" => {
                return Err(CommandError::unsupported(format!("{} of $collStats", name.as_str())));
            }
            other => return Err(invalid(format!("unrecognized option to $collStats: {other}"))),
        }
    }
    Ok(found)
}

pub(super) fn database(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&["scale", "freeStorage"])?;
    let engine = &context.shared.engine;
    let view = engine.view()?;
    let (mut collections, mut indexes) = (0i64, 0i64);
    let mut total = Statistics::default();
    let mut index_size = 0i64;
    for collection in view.catalog.visible_in(request.database, context.login.is_server()) {
        let statistics = view.statistics(collection.id)?;
        collections += 1;
        index_size += index_bytes(statistics, collection.indexes.len());
        indexes += i64::try_from(collection.indexes.len()).unwrap_or(0);
        total.count += statistics.count;
        total.bytes += statistics.bytes;
    }
    Ok(bson::doc! {
        "db": request.database,
        "collections": collections,
        "views": 0i64,
        "objects": total.count,
        "avgObjSize": if total.count > 0 { Bson::Int64(total.bytes / total.count) } else { Bson::Int64(0) },
        "dataSize": total.bytes,
        "storageSize": total.bytes,
        "indexes": indexes,
        "indexSize": index_size,
        "totalSize": total.bytes + index_size,
    }
    .into())
}
