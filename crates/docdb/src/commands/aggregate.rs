//! `aggregate`.

use bson::{Document, RawBsonRef};

use super::find::{first_batch, namespace_of, read_view};
use super::statistics;
use crate::aggregate::Pipeline;
use crate::context::Context;
use crate::cursor::{Cursor, Tail};
use crate::error::{Code, CommandError, Result};
use crate::filter::Filter;
use crate::query::{Hint, Query, Stream};
use crate::reply::Reply;
use crate::request::Request;
use crate::spool::{Spool, SpoolWriter};

const FIRST_BATCH: u64 = 101;
const FIELDS: &[&str] = &["pipeline", "cursor", "allowDiskUse", "hint", "bypassDocumentValidation"];

pub(super) fn run(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(FIELDS)?;
    let stages = request.field("pipeline").and_then(RawBsonRef::as_array).ok_or_else(|| {
        CommandError::new(Code::TypeMismatch, "'pipeline' option must be specified as an array")
    })?;
    if request.text("aggregate").is_none()
        && !matches!(request.field("aggregate"), Some(RawBsonRef::Binary(_)))
    {
        return Err(CommandError::unsupported("a pipeline without a collection"));
    }
    let (view, read_at) = read_view(context, request)?;
    let namespace = namespace_of(request, &view)?;
    let collection = view.catalog.find(&namespace).cloned();
    let engine = &context.shared.engine;
    let first = stages.into_iter().next().transpose()?;
    let statistics = match first {
        Some(RawBsonRef::Document(stage)) => stage.get("$collStats")?,
        _ => None,
    };
    let mut results = SpoolWriter::new(engine.folder());
    let mut sink = |document: Document| results.push(document.to_vec()?);
    if let Some(options) = statistics {
        let found = statistics::stage(context, &namespace, options)?;
        let pipeline = Pipeline::parse_after_first(stages)?;
        pipeline.run(engine.folder(), &mut sink, |push| push(found).map(drop))?;
    } else {
        let (filter, pipeline) = Pipeline::parse(stages)?.split_match();
        let mut query = Query::all(filter.unwrap_or(Filter::All(Vec::new())));
        query.hint = request
            .field("hint")
            .map(|hint| Hint::parse(hint, collection.as_deref()))
            .transpose()?;
        let mut stream = match &collection {
            Some(collection) => Stream::open(engine, (&view, read_at), collection, query)?,
            None if namespace.is_oplog() => {
                Stream::open_oplog(engine, (&view, read_at), query, false)?
            }
            None => Stream::of_spool(Spool::empty()),
        };
        pipeline.run(engine.folder(), &mut sink, |push| {
            stream.visit_view(&view, |document| push(Document::try_from(document)?)).map(drop)
        })?;
    }
    drop(view);
    let cursor = Cursor {
        namespace: namespace.to_string(),
        stream: Stream::of_spool(results.finish()?),
        tail: Tail::Closed,
        user: context.login.user_name().map(str::to_owned),
    };
    let size = request.cursor_size()?.unwrap_or(FIRST_BATCH);
    first_batch(context, cursor, (size, false), read_at)
}
