//! Parts of collections, which are read at the same time.
//!
//! An engine of ours numbers its documents and can be asked for those of some numbers; any other
//! deployment is asked for ranges of `_id`.

use std::sync::atomic::{AtomicUsize, Ordering};

use bson::{Bson, Document};

use crate::error::MoverError;
use crate::id_ranges::{Borders, IdRange, SAMPLES_PER_RANGE};
use tidemark_deployment::{CollectionListing, Connection, Endpoint, LinkError, unless_refused};

/// Parts that are read at the same time; each holds a few answers of the server in memory.
pub(crate) const READERS: usize = 4;
/// A part has so many bytes, by the average of documents.
pub const PART_BYTES: i64 = 64 << 20;
/// In how many answers a part comes: every reader has two of them in memory.
const ANSWERS: i64 = 10;
/// Documents of one answer where their size is not known.
const ANSWER_DOCUMENTS: i32 = 10_000;
/// More parts are not made of one collection.
const MOST_PARTS: i64 = 1_000;

/// Some documents of a collection.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    /// Which one of the collections.
    pub(crate) collection: usize,
    slice: Slice,
    /// Documents of one answer.
    batch: i32,
}

#[derive(Debug, Clone, PartialEq)]
enum Slice {
    Whole,
    /// The numbers of its documents, after one through another.
    Records {
        after: i64,
        through: i64,
    },
    Ids(Box<IdRange>),
}

impl Part {
    /// Restricts a `find` to the part, or to what of it comes after a document.
    pub(crate) fn restrict(&self, find: &mut Document, last: Option<&Bson>) {
        match &self.slice {
            Slice::Whole => {}
            Slice::Records { after, through } => {
                let records = bson::doc! { "after": *after, "through": *through };
                find.insert("tidemarkRecords", records);
            }
            Slice::Ids(range) => range.restrict(find, last),
        }
    }

    /// Documents that are asked for at once.
    pub(crate) fn batch(&self) -> i32 {
        self.batch
    }

    /// The same, of so many bytes, in a collection of so many documents and bytes.
    fn of_size(self, part_bytes: i64, (count, bytes): (i64, i64)) -> Self {
        let average = bytes.checked_div(count).unwrap_or(0).max(1);
        let batch = i32::try_from(part_bytes / ANSWERS / average).unwrap_or(i32::MAX);
        Self { batch: batch.clamp(1, 100_000), ..self }
    }

    /// The part as a draft keeps it. Parts of an engine of ours are not kept.
    pub(crate) fn describe(&self) -> Document {
        match &self.slice {
            Slice::Whole | Slice::Records { .. } => Document::new(),
            Slice::Ids(range) => range.describe(),
        }
    }

    /// The part of which a draft says this.
    pub(crate) fn described(collection: usize, slice: &Document) -> Option<Self> {
        if slice.is_empty() {
            return Some(whole(collection));
        }
        let slice = Slice::Ids(Box::new(IdRange::described(slice)?));
        Some(Self { collection, slice, batch: ANSWER_DOCUMENTS })
    }

    /// Whether documents come in the order of their `_id`, so that reading can go on after one.
    pub(crate) fn is_ordered(&self) -> bool {
        matches!(&self.slice, Slice::Ids(range) if range.is_ordered())
    }

    /// Whether documents come in natural order.
    pub(crate) fn is_natural(&self) -> bool {
        !matches!(self.slice, Slice::Ids(_))
    }
}

/// All parts of one collection of an engine of ours. Together they are the whole of it, whatever was
/// inserted meanwhile: the first begins at the first number there can be, the last ends at the last.
pub(crate) fn parts_of(
    connection: &mut Connection,
    (database, name): (&str, &str),
    collection: usize,
) -> Result<Vec<Part>, MoverError> {
    let statistics = connection.command(database, bson::doc! { "collStats": name })?;
    let own = statistics.get_document("tidemark").ok();
    let record = |field: &str| own.map_or(0, |own| number(own, field));
    let records = (record("firstRecord"), record("lastRecord"));
    let borders = borders(records, number(&statistics, "count"), number(&statistics, "size"));
    Ok(cut(collection, &borders))
}

fn number(document: &Document, field: &str) -> i64 {
    match document.get(field) {
        Some(Bson::Int64(number)) => *number,
        Some(Bson::Int32(number)) => i64::from(*number),
        #[expect(clippy::cast_possible_truncation, reason = "a count or a size")]
        Some(Bson::Double(number)) => *number as i64,
        _ => 0,
    }
}

/// All parts of one collection of an attached deployment, of so many bytes each; one part where the
/// deployment does not help to cut it, or where the order of `_id` is not the plain one.
pub(crate) fn id_parts_of(
    connection: &mut Connection,
    listing: &CollectionListing,
    (collection, part_bytes): (usize, i64),
) -> Result<Vec<Part>, MoverError> {
    let one = vec![whole(collection)];
    if ["collation", "clusteredIndex", "capped"].iter().any(|o| listing.options.contains_key(o)) {
        return Ok(one);
    }
    let statistics =
        connection.command(&listing.database, bson::doc! { "collStats": &listing.name });
    let Some(statistics) = unless_refused(statistics)? else { return Ok(one) };
    let size = (number(&statistics, "count"), number(&statistics, "size"));
    let one: Vec<Part> = one.into_iter().map(|part| part.of_size(part_bytes, size)).collect();
    let wanted = (number(&statistics, "size") / part_bytes.max(1)).min(MOST_PARTS);
    if wanted < 2 {
        return Ok(one);
    }
    let sample = bson::doc! {
        "aggregate": &listing.name,
        "pipeline": [
            { "$sample": { "size": wanted * SAMPLES_PER_RANGE } },
            { "$project": { "_id": 1 } },
            { "$sort": { "_id": 1 } },
        ],
        "cursor": {},
    };
    let mut borders = Borders::new();
    let sampled = connection.for_each(&listing.database, sample, |sample| {
        borders.push(sample);
        Ok::<_, LinkError>(())
    });
    if unless_refused(sampled)?.is_none() {
        return Ok(one);
    }
    let ranges = borders.ranges(usize::try_from(wanted).unwrap_or(1));
    let part =
        |range| Part { collection, slice: Slice::Ids(Box::new(range)), batch: ANSWER_DOCUMENTS };
    let parts: Vec<Part> =
        ranges.into_iter().map(part).map(|part| part.of_size(part_bytes, size)).collect();
    Ok(if parts.is_empty() { one } else { parts })
}

/// The parts between borders.
fn cut(collection: usize, borders: &[i64]) -> Vec<Part> {
    let starts = std::iter::once(0).chain(borders.iter().copied());
    let ends = borders.iter().copied().chain([i64::MAX]);
    let part = |(after, through)| Part {
        collection,
        slice: Slice::Records { after, through },
        batch: ANSWER_DOCUMENTS,
    };
    starts.zip(ends).map(part).collect()
}

/// A collection as a whole.
pub(crate) fn whole(collection: usize) -> Part {
    Part { collection, slice: Slice::Whole, batch: ANSWER_DOCUMENTS }
}

/// Where the parts of a collection meet.
///
/// They are multiples of a power of two, so that a collection that grows is cut at the same places
/// next time, and its chunks stay the same.
fn borders((first, last): (i64, i64), count: i64, bytes: i64) -> Vec<i64> {
    let average = bytes.checked_div(count).unwrap_or(0).max(1);
    let span = last.saturating_sub(first).max(0);
    let wanted = (PART_BYTES / average).max(span / MOST_PARTS).max(1);
    let records = 1_i64 << wanted.ilog2();
    let begin = (first / records).saturating_mul(records);
    let borders = std::iter::successors(Some(begin), |border| border.checked_add(records));
    borders.skip_while(|border| *border <= first).take_while(|border| *border < last).collect()
}

/// Works on parts over several connections, each of which takes the next one; answers come in the
/// order of the parts.
pub(crate) fn in_parallel<P: Sync, T: Send>(
    (endpoint, connections): (&Endpoint, usize),
    parts: &[P],
    work: impl Fn(&mut Connection, &P) -> Result<T, MoverError> + Sync,
) -> Result<Vec<T>, MoverError> {
    let next = AtomicUsize::new(0);
    let work_on_some = || -> Result<Vec<(usize, T)>, MoverError> {
        // When one fails, the others begin nothing more.
        let stop = || next.store(parts.len(), Ordering::Relaxed);
        let mut connection = Connection::open(endpoint).inspect_err(|_| stop())?;
        let mut done = Vec::new();
        loop {
            let position = next.fetch_add(1, Ordering::Relaxed);
            let Some(part) = parts.get(position) else {
                return Ok(done);
            };
            done.push((position, work(&mut connection, part).inspect_err(|_| stop())?));
        }
    };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads = connections.min(parts.len());
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work_on_some)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    });
    let mut answers = Vec::new();
    for outcome in outcomes {
        answers.extend(outcome?);
    }
    answers.sort_by_key(|(position, _)| *position);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_meet_at_the_same_places_while_a_collection_grows() {
        assert!(borders((0, 0), 0, 0).is_empty());
        assert!(borders((1, 1_000), 1_000, 500_000).is_empty(), "a small one is one part");
        let before = borders((1, 1_000_000), 1_000_000, 500_000_000);
        let after = borders((1, 1_600_000), 1_600_000, 800_000_000);
        assert!(before.len() > 3 && after.starts_with(&before), "{before:?} {after:?}");
        // Those of which the first are gone are cut where documents are.
        let queue = borders((900_000_000, 901_000_000), 1_000_000, 500_000_000);
        assert!(queue.len() > 3 && queue[0] > 900_000_000, "{queue:?}");
        // Documents of no size, and numbers far apart.
        assert!(borders((1, i64::MAX / 2), 1, 1).len() <= 2_000);
        assert!(borders((5, 1), 1, 1).is_empty());
    }

    #[test]
    fn parts_are_the_whole_collection() {
        for borders in [vec![], vec![10], vec![10, 20, 30]] {
            let parts = cut(3, &borders);
            let records: Vec<_> = parts
                .iter()
                .map(|part| match part.slice {
                    Slice::Records { after, through } => (after, through),
                    _ => panic!("{part:?}"),
                })
                .collect();
            assert_eq!((records[0].0, records[records.len() - 1].1), (0, i64::MAX));
            assert!(records.windows(2).all(|pair| pair[0].1 == pair[1].0), "{records:?}");
            assert!(parts.iter().all(|part| part.collection == 3));
        }
    }
}
