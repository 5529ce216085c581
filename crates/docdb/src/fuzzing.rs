//! What fuzzing and the property tests ask of the parsers: whatever a client sends, they answer or
//! refuse; they never end the process, never go on without end, and keep the rules asserted here.
//!
//! Only built for tests and under `cargo fuzz`, whose targets stand in `fuzz`.

use std::time::Duration;

use bson::raw::RawDocument;
use bson::{Bson, Document, RawBsonRef};

use crate::aggregate::Pipeline;
use crate::depth::check_message;
use crate::filter::parse_filter;
use crate::operation;
use crate::request::Request;
use crate::update::{UpdateContext, parse_update};

/// What one input may take; small inputs can be long work (`$unwind` after `$unwind`).
const LIMIT: Duration = Duration::from_secs(2);
/// Bytes before the body of a message.
const HEADER_BYTES: usize = 16;

/// The document in bytes, unless a server would not have read it.
fn raw(document: &Document) -> Option<Vec<u8>> {
    let bytes = document.to_vec().ok()?;
    check_message(RawDocument::from_bytes(&bytes).ok()?).ok()?;
    Some(bytes)
}

fn limited(work: impl FnOnce() -> Option<()>) {
    operation::begin(Some(LIMIT));
    let _ = work();
    operation::end();
}

/// A filter, tested on a document.
///
/// # Panics
/// A rule is broken: that is what was looked for.
pub fn filter(filter: &Document, target: &Document) {
    limited(|| {
        let (filter, target) = (raw(filter)?, raw(target)?);
        let filter = RawDocument::from_bytes(&filter).ok()?;
        let target = RawDocument::from_bytes(&target).ok()?;
        let matches = match_raw(filter, target)?;
        let opposite = raw(&bson::doc! { "$nor": [Document::try_from(filter).ok()?] })?;
        let negated = match_raw(RawDocument::from_bytes(&opposite).ok()?, target)?;
        assert!(matches != negated, "a filter and its negation answer the same");
        Some(())
    });
}

fn match_raw(filter: &RawDocument, target: &RawDocument) -> Option<bool> {
    let filter = parse_filter(filter).ok()?;
    let _ = filter.conjuncts();
    filter.matches(target).ok()
}

/// An update, applied to a document; the difference that is logged leads to the same result.
///
/// # Panics
/// A rule is broken: that is what was looked for.
pub fn update(update: &Bson, target: &Document) {
    limited(|| {
        raw(target)?;
        let wrapped = raw(&bson::doc! { "u": update })?;
        let update = RawDocument::from_bytes(&wrapped).ok()?.get("u").ok()??;
        update_raw(update, target)
    });
}

fn update_raw(update: RawBsonRef<'_>, target: &Document) -> Option<()> {
    let context = UpdateContext { now: bson::DateTime::from_millis(0), is_insert: false };
    let after = parse_update(update).ok()?.apply(target, context).ok()?;
    let bytes = after.to_vec().unwrap_or_else(|error| panic!("{after} is no document: {error}"));
    if let Some(difference) = tidemark_wire::compute_diff(target, &after) {
        let mut replayed = target.clone();
        let applied = tidemark_wire::apply_diff(&mut replayed, &difference);
        assert!(applied.is_ok(), "{difference} does not apply to {target}");
        assert_eq!(replayed.to_vec().ok(), Some(bytes), "{difference} leads elsewhere");
    }
    Some(())
}

/// An aggregation pipeline with its expressions, run over some documents.
pub fn pipeline(stages: &[Bson], targets: Vec<Document>) {
    limited(|| {
        let wrapped = raw(&bson::doc! { "p": stages })?;
        let pipeline =
            Pipeline::parse(RawDocument::from_bytes(&wrapped).ok()?.get_array("p").ok()?).ok()?;
        let mut sink = |document: Document| {
            document.to_vec()?;
            Ok(())
        };
        pipeline
            .run(&std::env::temp_dir(), &mut sink, |push| {
                targets.into_iter().try_for_each(|target| push(target).map(|_| ()))
            })
            .ok()
    });
}

/// An oplog entry as another server could have written it.
pub fn oplog_entry(entry: &Document) {
    let Some(bytes) = raw(entry) else { return };
    let Ok(raw) = RawDocument::from_bytes(&bytes) else { return };
    if let Ok(entry) = tidemark_wire::OplogEntry::parse(raw) {
        let _ = entry.database();
    }
}

/// A `$v: 2` difference, applied to a document.
///
/// # Panics
/// A rule is broken: that is what was looked for.
pub fn difference(target: &Document, difference: &Document) {
    let mut after = target.clone();
    if raw(target).is_none() || tidemark_wire::apply_diff(&mut after, difference).is_err() {
        return;
    }
    if let Some(shortest) = tidemark_wire::compute_diff(target, &after) {
        let mut again = target.clone();
        let applied = tidemark_wire::apply_diff(&mut again, &shortest);
        assert!(applied.is_ok(), "{shortest} does not apply to {target}");
        // As bytes: a number that is none is not equal to itself.
        assert_eq!(again.to_vec().ok(), after.to_vec().ok(), "{shortest} leads elsewhere");
    }
}

/// A message as it comes from a socket, with what its fields lead to.
pub fn frame(bytes: &[u8]) {
    let Some((head, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return };
    let Ok(header) = tidemark_wire::parse_header(*head) else { return };
    let Ok(tidemark_wire::Request::Msg(message)) =
        tidemark_wire::parse_request(header, body.to_vec())
    else {
        return;
    };
    if check_message(message.body()).is_err() {
        return;
    }
    let Ok(request) = Request::parse(&message) else { return };
    limited(|| {
        let target = bson::doc! { "a": [1, { "b": "text" }], "c": { "d": 1.5 } };
        for field in ["filter", "query", "q"] {
            if let Some(RawBsonRef::Document(filter)) = request.field(field) {
                match_raw(filter, RawDocument::from_bytes(&raw(&target)?).ok()?);
            }
        }
        for field in ["update", "u"] {
            request.field(field).and_then(|update| update_raw(update, &target));
        }
        let _ = (request.namespace(), request.time_limit(), request.documents("documents"));
        Some(())
    });
}
