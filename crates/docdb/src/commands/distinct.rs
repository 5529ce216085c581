//! `distinct`.

use std::collections::BTreeSet;

use bson::Bson;

use super::find::{namespace_of, read_view};
use super::{Context, Reply};
use crate::error::{Code, CommandError, Result};
use crate::filter::{Filter, parse_filter};
use crate::key::encoded;
use crate::path::Path;
use crate::query::{Query, Stream};
use crate::request::Request;

pub(super) fn run(context: &mut Context<'_>, request: &Request<'_>) -> Result<Reply> {
    request.allow(&["key", "query"])?;
    let (view, at) = read_view(context, request)?;
    let namespace = namespace_of(request, &view)?;
    let key = request.text("key").ok_or_else(|| {
        CommandError::new(
            Code::Location40414,
            "BSON field 'distinct.key' is missing but a required field",
        )
    })?;
    let path = Path::parse(key);
    let filter = match request.document("query")? {
        Some(filter) => parse_filter(filter)?,
        None => Filter::All(Vec::new()),
    };
    let mut seen = BTreeSet::new();
    let mut values: Vec<Bson> = Vec::new();
    if let Some(collection) = view.catalog.find(&namespace).cloned() {
        let engine = &context.shared.engine;
        let mut stream = Stream::open(engine, &view, &collection, Query::all(filter))?;
        stream.for_each(engine, |document| {
            let (found, _) = path.index_values(document);
            for value in found.into_iter().flatten() {
                if !matches!(value, bson::RawBsonRef::Undefined) && seen.insert(encoded(value)?) {
                    values.push(value.try_into()?);
                }
            }
            Ok(true)
        })?;
    }
    let mut reply = bson::doc! { "values": values };
    if let Some(at) = at {
        reply.insert("atClusterTime", crate::reply::timestamp(at));
    }
    Ok(reply.into())
}
