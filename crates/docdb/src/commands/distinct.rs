//! `distinct`.

use std::collections::BTreeMap;

use bson::Bson;
use tidemark_wire::LARGEST_DOCUMENT_BYTES;

use super::find::{namespace_of, read_view};
use crate::context::Context;
use crate::error::{Code, CommandError, Result};
use crate::filter::{Filter, parse_filter};
use crate::key::encoded;
use crate::path::Path;
use crate::query::{Query, ReadAt, Stream};
use crate::reply::Reply;
use crate::request::Request;

pub(super) fn run(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&["key", "query"])?;
    let (view, read_at) = read_view(context, request)?;
    let namespace = namespace_of(request, &view)?;
    let key = request.text("key").ok_or_else(|| {
        CommandError::new(
            Code::Location40414,
            "BSON field 'distinct.key' is missing but a required field",
        )
    })?;
    crate::depth::check_path(key)?;
    let path = Path::parse(key);
    let filter = match request.document("query")? {
        Some(filter) => parse_filter(filter)?,
        None => Filter::All(Vec::new()),
    };
    let mut seen = BTreeMap::new();
    let mut bytes = 0;
    // Values come in order where an index has them in order.
    let mut is_ordered = false;
    if let Some(collection) = view.catalog.find(&namespace).cloned() {
        let engine = &context.shared.engine;
        is_ordered = collection.indexes.iter().any(|index| {
            index.holds_everything()
                && index.paths().next().is_some_and(|(first, _)| *first == path)
        });
        let mut stream = Stream::open(engine, (&view, read_at), &collection, Query::all(filter))?;
        stream.visit_view(&view, |document| {
            let (found, _) = path.index_values(document);
            for value in found.into_iter().flatten() {
                if matches!(value, bson::RawBsonRef::Undefined) {
                    continue;
                }
                let key = encoded(value)?;
                if !seen.contains_key(&key) {
                    bytes += key.len();
                    check_size(bytes)?;
                    let value: Bson = value.try_into()?;
                    seen.insert(key, (seen.len(), value));
                }
            }
            Ok(true)
        })?;
    }
    let mut found: Vec<(usize, Bson)> = seen.into_values().collect();
    if !is_ordered {
        found.sort_by_key(|(position, _)| *position);
    }
    let values: Vec<Bson> = found.into_iter().map(|(_, value)| value).collect();
    let mut reply = bson::doc! { "values": values };
    if let ReadAt::Moment(at) = read_at {
        reply.insert("atClusterTime", crate::reply::timestamp(at));
    }
    Ok(reply.into())
}

/// Refuses values that no answer can hold.
fn check_size(bytes: usize) -> Result<()> {
    if bytes <= LARGEST_DOCUMENT_BYTES {
        return Ok(());
    }
    let text = "distinct too big, 16mb cap";
    Err(CommandError::new(Code::Location17217, text))
}
