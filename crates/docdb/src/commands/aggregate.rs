//! `aggregate`.

use bson::{Bson, Document, RawBsonRef};

use super::find::{first_batch, namespace_of, read_view};
use super::{Context, Reply, statistics};
use crate::aggregate::Pipeline;
use crate::cursor::{Cursor, Tail};
use crate::error::{Code, CommandError, Result};
use crate::filter::Filter;
use crate::query::{Hint, Query, Stream};
use crate::request::Request;

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
    let (view, at) = read_view(context, request)?;
    let namespace = namespace_of(request, &view)?;
    let collection = view.catalog.find(&namespace).cloned();
    let engine = &context.shared.engine;
    let first = stages.into_iter().next().transpose()?;
    let starts_with_statistics =
        matches!(first, Some(RawBsonRef::Document(stage)) if stage.get("$collStats")?.is_some());
    let results = if starts_with_statistics {
        vec![statistics::stage(context, &namespace)?]
    } else {
        let (filter, pipeline) = Pipeline::parse(stages)?.split_match();
        let mut query = Query::all(filter.unwrap_or(Filter::All(Vec::new())));
        query.hint = request
            .field("hint")
            .map(|hint| Hint::parse(hint, collection.as_deref()))
            .transpose()?;
        let mut stream = match &collection {
            Some(collection) => Stream::open(engine, &view, collection, query)?,
            None if namespace.is_oplog() => Stream::open_oplog(engine, Some(view), query)?,
            None => Stream::of_documents([]),
        };
        pipeline.run_over(|visit| {
            let visited = stream.for_each(engine, |document| visit(document).map(|()| true));
            visited.map(drop)
        })?
    };
    let documents: Vec<Vec<u8>> =
        results.iter().map(Document::to_vec).collect::<std::result::Result<_, _>>()?;
    let cursor = Cursor {
        namespace: namespace.to_string(),
        stream: Stream::of_documents(documents),
        tail: Tail::Closed,
        user: context.login.user_name().map(str::to_owned),
    };
    let options =
        request.document("cursor")?.map(Document::try_from).transpose()?.unwrap_or_default();
    let size = match options.get("batchSize") {
        Some(Bson::Int32(size)) => u64::try_from(*size).ok(),
        Some(Bson::Int64(size)) => u64::try_from(*size).ok(),
        _ => None,
    };
    first_batch(context, cursor, (size.unwrap_or(FIRST_BATCH), false), at)
}
