//! `find`.

use bson::raw::RawDocument;

use crate::collections::{Collection, Namespace};
use crate::context::Context;
use crate::cursor::{Cursor, Tail};
use crate::engine::View;
use crate::error::{Code, CommandError, Result};
use crate::filter::{Filter, parse_filter};
use crate::number::as_integer;
use crate::projection::Projection;
use crate::query::{Hint, Query, ReadAt, Records, Stream};
use crate::reply::Batch;
use crate::reply::Reply;
use crate::request::{ReadConcern, Request};
use crate::sort::SortOrder;
use crate::spool::Spool;

/// Documents in the first answer, unless the client says otherwise.
const FIRST_BATCH: u64 = 101;

const FIELDS: &[&str] = &[
    "filter",
    "sort",
    "projection",
    "hint",
    "skip",
    "limit",
    "batchSize",
    "singleBatch",
    "tailable",
    "awaitData",
    "noCursorTimeout",
    RECORDS,
    "oplogReplay",
    "allowDiskUse",
    "allowPartialResults",
];

/// Not a MongoDB field: `{after, through}` reads a part of a collection, by the numbers that
/// documents get when they are inserted, in that order. `collStats` answers the last one so far.
const RECORDS: &str = "tidemarkRecords";

pub(super) fn run(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(FIELDS)?;
    let (view, read_at) = read_view(context, request)?;
    let namespace = namespace_of(request, &view)?;
    let collection = view.catalog.find(&namespace).cloned();
    let query = parse_query(request, collection.as_deref())?;
    let tail = match (request.flag("tailable"), request.flag("awaitData")) {
        (false, false) => Tail::Closed,
        (true, false) => Tail::Open,
        (true, true) => Tail::Waiting,
        (false, true) => {
            let text = "Cannot set 'awaitData' without also setting 'tailable'";
            return Err(CommandError::new(Code::FailedToParse, text));
        }
    };
    if tail != Tail::Closed && !namespace.is_oplog() {
        let text = format!(
            "error processing query: tailable cursor requested on non capped collection {namespace}"
        );
        return Err(CommandError::new(Code::BadValue, text));
    }
    let engine = &context.shared.engine;
    let stream = if namespace.is_oplog() {
        Stream::open_oplog(engine, (&view, read_at), query, tail != Tail::Closed)?
    } else {
        match &collection {
            Some(collection) => Stream::open(engine, (&view, read_at), collection, query)?,
            None => Stream::of_spool(Spool::empty()),
        }
    };
    drop(view);
    let size = request.size("batchSize")?.unwrap_or(FIRST_BATCH);
    let is_single = request.flag("singleBatch") || request.integer("limit")?.is_some_and(|l| l < 0);
    let cursor = Cursor {
        namespace: namespace.to_string(),
        stream,
        tail,
        user: context.login.user_name().map(str::to_owned),
    };
    first_batch(context, cursor, (size, is_single), read_at)
}

/// Answers with the first batch and keeps the rest.
pub(super) fn first_batch(
    context: &Context<'_>,
    mut cursor: Cursor,
    (size, is_single): (u64, bool),
    read_at: ReadAt,
) -> Result<Reply> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let mut batch = Batch::new("firstBatch", Some(size));
    let is_at_end = cursor.stream.fill(&context.shared.engine, &mut batch)?;
    let namespace = cursor.namespace.clone();
    let stays_open = !is_single && (!is_at_end || cursor.tail != Tail::Closed);
    if stays_open {
        cursor.stream.put_aside(&context.shared.engine)?;
    }
    let id = if stays_open { context.shared.cursors.keep(cursor)? } else { 0 };
    let at = match read_at {
        ReadAt::Present => None,
        ReadAt::Moment(at) => Some(at),
    };
    Ok(Reply::Cursor { batch, id, namespace, at })
}

/// The moment that a read shows. Everything that anybody sees is on disk.
pub(super) fn read_view(context: &Context<'_>, request: &Request<'_>) -> Result<(View, ReadAt)> {
    let engine = &context.shared.engine;
    match request.read_concern()? {
        ReadConcern::Local | ReadConcern::Durable => Ok((engine.view()?, ReadAt::Present)),
        ReadConcern::Snapshot(None) => {
            let view = engine.pin_view()?;
            let at = ReadAt::Moment(view.at);
            Ok((view, at))
        }
        ReadConcern::Snapshot(Some(at)) => {
            let read_at = ReadAt::Moment(at);
            Ok((read_at.view(engine)?, read_at))
        }
    }
}

/// The collection that is read, by name or by UUID.
pub(super) fn namespace_of(request: &Request<'_>, view: &View) -> Result<Namespace> {
    match request.field(request.name) {
        Some(bson::RawBsonRef::Binary(uuid)) => match view.catalog.find_by_uuid(uuid.bytes) {
            Some(found) if found.namespace.database == request.database => {
                Ok(found.namespace.clone())
            }
            _ => Err(CommandError::new(
                Code::NamespaceNotFound,
                "Unable to resolve the UUID of a collection",
            )),
        },
        _ if request.text(request.name) == Some("oplog.rs") && request.database == "local" => {
            Ok(Namespace::oplog())
        }
        _ => request.namespace(),
    }
}

fn parse_query(request: &Request<'_>, collection: Option<&Collection>) -> Result<Query> {
    let filter = match request.document("filter")? {
        Some(filter) => parse_filter(filter)?,
        None => Filter::All(Vec::new()),
    };
    let limit = request.integer("limit")?.map(i64::unsigned_abs).filter(|limit| *limit > 0);
    let sort = request.document("sort")?.map(SortOrder::parse).transpose()?;
    let records = request.document(RECORDS)?.map(parse_records).transpose()?;
    if records.is_some() && sort.as_ref().is_some_and(|sort| !sort.is_empty()) {
        let text = format!("{RECORDS} cannot be combined with a sort");
        return Err(CommandError::new(Code::FailedToParse, text));
    }
    Ok(Query {
        filter,
        sort,
        projection: request.document("projection")?.map(Projection::parse).transpose()?.flatten(),
        skip: request.size("skip")?.unwrap_or(0),
        limit,
        hint: request
            .field("hint")
            .filter(|hint| !matches!(hint, bson::RawBsonRef::Document(d) if d.is_empty()))
            .map(|hint| Hint::parse(hint, collection))
            .transpose()?,
        records,
    })
}

fn parse_records(records: &RawDocument) -> Result<Records> {
    let number = |name: &str| {
        let number = records.get(name).ok().flatten().and_then(as_integer);
        number.and_then(|number| u64::try_from(number).ok()).ok_or_else(|| {
            let text = format!("{RECORDS} needs the numbers 'after' and 'through'");
            CommandError::new(Code::FailedToParse, text)
        })
    };
    Ok(Records { after: number("after")?, through: number("through")? })
}
