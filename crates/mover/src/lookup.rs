//! Looking for documents in a snapshot, in the vault.
//!
//! The bounds of chunks say where a document can be by its `_id`: only those chunks are read. By anything
//! else all chunks of the collection are. One chunk is in memory at a time.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use bson::raw::RawDocument;
use bson::{Bson, Document};
use tidemark_vault::{ChunkRef, CollectionManifest, Manifest, Vault};
use tidemark_wire::DocumentRun;

use crate::error::MoverError;
use crate::order::{are_of_one_kind, compare};
use crate::stop::Stop;

/// Where the documents of a filter can be, by their `_id`.
#[derive(Debug, Clone, PartialEq)]
pub struct IdRanges(Option<Vec<IdRange>>);

/// Both ends belong to it; an end that is not there is open.
#[derive(Debug, Clone, PartialEq, Default)]
struct IdRange {
    low: Option<Bson>,
    high: Option<Bson>,
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Looked {
    /// Chunks of the collection.
    pub chunks: u64,
    /// Chunks that were read.
    pub chunks_read: u64,
    /// Documents in those.
    pub documents_read: u64,
}

impl IdRanges {
    /// What a filter says of `_id`: never less than the documents that it matches.
    pub fn of_filter(filter: &Document) -> Self {
        let branches = filter.get_array("$and").ok().into_iter().flatten();
        let nested = branches.filter_map(Bson::as_document).find_map(|b| Self::of_filter(b).0);
        Self(filter.get("_id").and_then(ranges_of).or(nested))
    }

    /// Whether a chunk may hold one of them; in a collection that is in the order of `_id` the ends of every
    /// chunk are its bounds.
    fn may_hold(&self, chunk: &ChunkRef, is_sorted: bool) -> bool {
        let Some(ranges) = &self.0 else { return true };
        let ends = (&chunk.first_id, &chunk.last_id);
        let Some(bounds) = chunk.extent().or(is_sorted.then_some(ends)) else { return true };
        ranges.iter().any(|range| range.may_touch(bounds))
    }
}

impl IdRange {
    fn at(value: &Bson) -> Self {
        Self { low: Some(value.clone()), high: Some(value.clone()) }
    }

    fn may_touch(&self, (least, greatest): (&Bson, &Bson)) -> bool {
        let ends = [(&self.low, greatest, Ordering::Greater), (&self.high, least, Ordering::Less)];
        ends.into_iter().all(|(end, bound, beyond)| match end {
            None => true,
            // Of another kind than the chunk's it is none of its documents'.
            Some(end) => {
                are_of_one_kind(end, bound) != Some(false) && compare(end, bound) != Some(beyond)
            }
        })
    }
}

/// The ranges of a condition on `_id`; nothing if it can be anywhere.
fn ranges_of(condition: &Bson) -> Option<Vec<IdRange>> {
    let operators = match condition {
        Bson::Document(operators) if operators.keys().any(|key| key.starts_with('$')) => operators,
        Bson::RegularExpression(_) | Bson::Array(_) | Bson::Null | Bson::Undefined => return None,
        value => return Some(vec![IdRange::at(value)]),
    };
    if let Ok(values) = operators.get_array("$in") {
        let points =
            values.iter().map(|value| ranges_of(value).filter(|_| value.as_document().is_none()));
        return points.collect::<Option<Vec<_>>>().map(|points| points.concat());
    }
    let mut range = IdRange::default();
    for (operator, value) in operators {
        match operator.as_str() {
            "$eq" => range = IdRange::at(value),
            "$gt" | "$gte" => range.low = Some(value.clone()),
            "$lt" | "$lte" => range.high = Some(value.clone()),
            // Anything else takes documents away, or is looked at document by document.
            _ => {}
        }
    }
    (range != IdRange::default()).then(|| vec![range])
}

/// A collection of a snapshot.
pub fn find_collection<'a>(
    manifest: &'a Manifest,
    namespace: &str,
) -> Result<&'a CollectionManifest, MoverError> {
    let found = manifest.collections.iter().find(|found| found.namespace() == namespace);
    let refuse = |what: String| MoverError::Lookup { what };
    let found = found.ok_or_else(|| refuse(format!("the snapshot has no {namespace}")))?;
    match found.kind.as_str() {
        "view" => Err(refuse(format!("{namespace} is a view: look into what it is of"))),
        _ if !manifest.oplog.is_empty() => Err(refuse(
            "documents were read while they changed, and only with its oplog they are of one moment: look at a moment instead".to_owned(),
        )),
        _ => Ok(found),
    }
}

/// Shows every document of a collection that a filter's ranges may mean, until told to stop.
pub fn visit_documents(
    vault: &Vault,
    collection: &CollectionManifest,
    (ids, stop): (&IdRanges, &Stop),
    mut visit: impl FnMut(&RawDocument) -> Result<ControlFlow<()>, MoverError>,
) -> Result<Looked, MoverError> {
    let mut looked = Looked::default();
    let mut is_over = false;
    for item in &collection.chunks.items {
        let chunks = vault.load_item(item)?;
        looked.chunks += chunks.len() as u64;
        for chunk in chunks {
            if is_over || !ids.may_hold(&chunk, collection.is_sorted) {
                continue;
            }
            stop.check()?;
            looked.chunks_read += 1;
            let bytes = vault.read_chunk(chunk.id)?;
            for document in DocumentRun::new(&bytes) {
                let document = document.map_err(|error| MoverError::Lookup {
                    what: format!("a chunk of {} is damaged: {error}", collection.namespace()),
                })?;
                looked.documents_read += 1;
                if visit(document)?.is_break() {
                    is_over = true;
                    break;
                }
            }
        }
    }
    Ok(looked)
}

#[cfg(test)]
mod tests {
    use bson::doc;
    use tidemark_vault::{ChunkId, Extent};

    use super::*;

    fn chunk(first: impl Into<Bson>, last: impl Into<Bson>) -> ChunkRef {
        ChunkRef {
            id: ChunkId([0; 32]),
            documents: 1,
            bytes: 1,
            first_id: first.into(),
            last_id: last.into(),
            extent: Extent::Ends,
        }
    }

    fn may_hold(filter: Document) -> Vec<bool> {
        let ranges = IdRanges::of_filter(&filter);
        [chunk(0, 9), chunk(10, 19), chunk(20, 29)]
            .iter()
            .map(|chunk| ranges.may_hold(chunk, false))
            .collect()
    }

    #[test]
    fn only_chunks_whose_bounds_match_are_read() {
        for (filter, expected) in [
            (doc! { "_id": 12 }, [false, true, false]),
            (doc! { "_id": 12.5 }, [false, true, false]),
            (doc! { "_id": { "$eq": 20_i64 } }, [false, false, true]),
            (doc! { "_id": { "$in": [1, 25] } }, [true, false, true]),
            (doc! { "_id": { "$gt": 15 } }, [false, true, true]),
            (doc! { "_id": { "$gte": 5, "$lt": 8 } }, [true, false, false]),
            (doc! { "$and": [{ "a": 1 }, { "_id": 3 }] }, [true, false, false]),
            // No number is a text.
            (doc! { "_id": "12" }, [false, false, false]),
            (doc! { "a": 1 }, [true, true, true]),
            (doc! { "_id": { "$ne": 3 } }, [true, true, true]),
            (doc! { "_id": { "$in": [1, null] } }, [true, true, true]),
            (doc! { "_id": { "$not": { "$gt": 3 } } }, [true, true, true]),
            (doc! { "$or": [{ "_id": 1 }, { "a": 1 }] }, [true, true, true]),
            (doc! {}, [true, true, true]),
        ] {
            assert_eq!(may_hold(filter.clone()), expected, "{filter}");
        }
    }

    #[test]
    fn what_has_no_order_here_may_be_anywhere() {
        let date = doc! { "_id": bson::DateTime::from_millis(5) };
        assert_eq!(may_hold(date), [true, true, true]);
        assert_eq!(may_hold(doc! { "_id": { "a": 1 } }), [true, true, true]);
    }
}
