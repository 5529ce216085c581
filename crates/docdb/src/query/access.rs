//! The choice of an index for a filter.
//!
//! An index narrows what is read; the filter is tested on every document all the same, so a
//! bound may be wider than the condition but never narrower.

use bson::RawBson;
use tidemark_model::OplogTime;
use tidemark_store::{Direction as Way, Range, Tree};

use super::ask::{Hint, Query};
use crate::collections::Collection;
use crate::engine::{View, record_of};
use crate::error::{CommandError, Result};
use crate::filter::{Comparison, Filter, Operand, Test};
use crate::index::{Index, LONGEST_KEY_BYTES, encode_part};
use crate::sort::Direction;

/// An index that leaves more documents over than this is not worth the list of them.
const MOST_RECORDS: usize = 1_000_000;
/// More ranges of an index are not read; the rest of the condition is left to the filter.
const MOST_RANGES: usize = 10_000;

/// The record numbers that an index leaves over, in natural order; `None` to scan everything.
pub(crate) fn plan_records(
    view: &View,
    collection: &Collection,
    query: &Query,
) -> Result<Option<Vec<u64>>> {
    let conjuncts = query.filter.conjuncts();
    let wanted = match &query.hint {
        Some(Hint::Index(name)) => Some(name.as_str()),
        _ => None,
    };
    let mut best: Option<(usize, &Index, Vec<KeyRange>)> = None;
    for index in &collection.indexes {
        if wanted.is_some_and(|name| name != index.name) {
            continue;
        }
        let Some((fixed_parts, ranges)) = ranges_for(index, &conjuncts)? else {
            continue;
        };
        // A unique index with all parts fixed leads to one document; prefer more fixed parts.
        if best.as_ref().is_none_or(|(parts, _, _)| fixed_parts > *parts) {
            best = Some((fixed_parts, index, ranges));
        }
    }
    let Some((_, index, ranges)) = best else {
        return Ok(None);
    };
    let mut records: Vec<u64> = Vec::new();
    for range in ranges {
        let (from, to) = within_stored_keys(range);
        // Conditions that no value fulfils together.
        if from >= to {
            continue;
        }
        let prefix = index.id.to_be_bytes();
        let range =
            Range::new([prefix.as_slice(), &from].concat(), [prefix.as_slice(), &to].concat());
        let is_whole = view.visit(Tree::Indexes, &range, Way::Ascending, |_, value| {
            crate::operation::check()?;
            records.extend(record_of(value));
            Ok::<_, CommandError>(records.len() < MOST_RECORDS)
        })?;
        if !is_whole {
            return Ok(None);
        }
    }
    records.sort_unstable();
    records.dedup();
    Ok(Some(records))
}

/// The same range, or a wider one, of keys that may have been cut.
fn within_stored_keys((mut from, mut to): KeyRange) -> KeyRange {
    from.truncate(LONGEST_KEY_BYTES);
    if to.len() > LONGEST_KEY_BYTES {
        to.truncate(LONGEST_KEY_BYTES);
        to = after_prefix(to).1;
    }
    (from, to)
}

/// From here, included, to there, excluded.
type KeyRange = (Vec<u8>, Vec<u8>);

fn ranges_for(
    index: &Index,
    conjuncts: &[(&crate::path::Path, &Test)],
) -> Result<Option<(usize, Vec<KeyRange>)>> {
    if !index.holds_everything() {
        return Ok(None);
    }
    let mut prefixes: Vec<Vec<u8>> = vec![Vec::new()];
    let mut fixed_parts = 0;
    for (path, direction) in index.paths() {
        let tests =
            conjuncts.iter().filter(|(candidate, _)| *candidate == path).map(|(_, test)| *test);
        let Some(parts) = tests.clone().find_map(|test| exact_parts(test, direction)) else {
            let mut all = tests.clone().filter_map(|test| bounds(test, direction));
            // An `_id` is never an array: what fulfils two conditions lies within both bounds.
            let bounds = if path.first() == "_id" && !path.is_nested() {
                all.reduce(|(from, to), (also_from, also_to)| {
                    (from.max(also_from), to.min(also_to))
                })
            } else {
                all.next()
            };
            return Ok(match (bounds, fixed_parts) {
                (Some((from, to)), _) => Some((
                    2 * fixed_parts + 1,
                    prefixes
                        .iter()
                        .map(|prefix| {
                            ([prefix.as_slice(), &from].concat(), [prefix.as_slice(), &to].concat())
                        })
                        .collect(),
                )),
                (None, 0) => None,
                (None, _) => {
                    Some((2 * fixed_parts, prefixes.into_iter().map(after_prefix).collect()))
                }
            });
        };
        if fixed_parts > 0 && prefixes.len().saturating_mul(parts.len()) > MOST_RANGES {
            break;
        }
        prefixes = prefixes
            .iter()
            .flat_map(|prefix| parts.iter().map(move |part| [prefix.as_slice(), part].concat()))
            .collect();
        fixed_parts += 1;
    }
    Ok(Some((2 * fixed_parts, prefixes.into_iter().map(after_prefix).collect())))
}

/// All keys that begin with `prefix`; a part's first byte is never 0xff.
fn after_prefix(prefix: Vec<u8>) -> KeyRange {
    let mut end = prefix.clone();
    end.push(0xff);
    end.extend_from_slice(&[0xff; 16]);
    (prefix, end)
}

/// The encoded values of an equality, if an index finds all documents that fulfil it.
fn exact_parts(test: &Test, direction: Direction) -> Option<Vec<Vec<u8>>> {
    match test {
        Test::Compare(Comparison::Equal, operand) => Some(vec![lookup_part(operand, direction)?]),
        Test::In(operands, patterns) if patterns.is_empty() => {
            operands.iter().map(|operand| lookup_part(operand, direction)).collect()
        }
        _ => None,
    }
}

fn lookup_part(operand: &Operand, direction: Direction) -> Option<Vec<u8>> {
    // Null also means missing, and an array is indexed by its elements.
    if matches!(operand.value, RawBson::Null | RawBson::Undefined | RawBson::Array(_)) {
        return None;
    }
    encode_part(operand.value.as_raw_bson_ref(), direction).ok()
}

/// One bound of a comparison within its type. Two bounds together are wrong where there may be
/// arrays, whose elements may each fulfil one.
fn bounds(test: &Test, direction: Direction) -> Option<KeyRange> {
    let Test::Compare(comparison, operand) = test else {
        return None;
    };
    if direction == Direction::Descending
        || matches!(operand.value, RawBson::MinKey | RawBson::MaxKey)
    {
        return None;
    }
    let part = lookup_part(operand, direction)?;
    let class = *part.first()?;
    match comparison {
        Comparison::Greater | Comparison::GreaterOrEqual => Some((part, vec![class + 1])),
        Comparison::Less | Comparison::LessOrEqual => Some((vec![class], after_prefix(part).1)),
        Comparison::Equal => None,
    }
}

/// The first and last position of the oplog that can match a filter.
pub(crate) fn oplog_bounds(filter: &Filter) -> (OplogTime, OplogTime) {
    let mut first = OplogTime::default();
    let mut last = OplogTime::from_u64(u64::MAX);
    for (path, test) in filter.conjuncts() {
        let Test::Compare(comparison, operand) = test else {
            continue;
        };
        let RawBson::Timestamp(ts) = operand.value else {
            continue;
        };
        if path.first() != "ts" || path.is_nested() {
            continue;
        }
        let at = OplogTime::new(ts.time, ts.increment);
        match comparison {
            Comparison::Greater | Comparison::GreaterOrEqual => first = first.max(at),
            Comparison::Less | Comparison::LessOrEqual => last = last.min(at),
            Comparison::Equal => (first, last) = (first.max(at), last.min(at)),
        }
    }
    (first, last)
}

/// The entry of the index on `_id` for a document with this one.
pub(crate) fn id_entry(
    collection: &Collection,
    id: bson::RawBsonRef<'_>,
) -> Result<Option<Vec<u8>>> {
    let Some(index) = collection.find_index("_id_") else {
        return Ok(None);
    };
    let key = crate::index::shorten(encode_part(id, Direction::Ascending)?);
    Ok(Some(index.entry(&key, 0)))
}

/// The `_id` that a filter fixes, if it can match one document at most.
pub(crate) fn id_of(filter: &Filter) -> Option<&RawBson> {
    filter.conjuncts().into_iter().find_map(|(path, test)| match test {
        Test::Compare(Comparison::Equal, operand)
            if path.first() == "_id"
                && !path.is_nested()
                && lookup_part(operand, Direction::Ascending).is_some() =>
        {
            Some(&operand.value)
        }
        _ => None,
    })
}
