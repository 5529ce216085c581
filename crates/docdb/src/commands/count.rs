//! `count`.

use super::find::{namespace_of, read_view};
use crate::context::Context;
use crate::error::Result;
use crate::filter::parse_filter;
use crate::query::{Hint, Query, Stream};
use crate::reply::Reply;
use crate::request::Request;

pub(super) fn run(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&["query", "limit", "skip", "hint", "fields"])?;
    let (view, read_at) = read_view(context, request)?;
    let namespace = namespace_of(request, &view)?;
    let engine = &context.shared.engine;
    let filter = request.document("query")?.filter(|query| !query.is_empty());
    let skip = request.size("skip")?.unwrap_or(0);
    let limit = request.integer("limit")?.map(i64::unsigned_abs).filter(|limit| *limit > 0);
    let collection = view.catalog.find(&namespace).cloned();
    let total = match (collection, filter) {
        (None, _) if !namespace.is_oplog() => 0,
        (Some(collection), None) if request.field("hint").is_none() => {
            let statistics = view.statistics(collection.id)?;
            u64::try_from(statistics.count).unwrap_or(0)
        }
        (collection, filter) => {
            let parsed = filter.map(parse_filter).transpose()?;
            let mut query = Query::all(parsed.unwrap_or(crate::filter::Filter::All(Vec::new())));
            query.hint = request
                .field("hint")
                .map(|hint| Hint::parse(hint, collection.as_deref()))
                .transpose()?;
            let mut stream = match collection {
                Some(collection) => Stream::open(engine, (&view, read_at), &collection, query)?,
                None => Stream::open_oplog(engine, (&view, read_at), query, false)?,
            };
            let mut total = 0;
            // More than what is asked for need not be counted.
            let enough = limit.map(|limit| limit.saturating_add(skip));
            stream.visit_view(&view, |_| {
                total += 1;
                Ok(enough.is_none_or(|enough| total < enough))
            })?;
            total
        }
    };
    let counted = total.saturating_sub(skip).min(limit.unwrap_or(u64::MAX));
    Ok(bson::doc! { "n": i32::try_from(counted).unwrap_or(i32::MAX) }.into())
}
