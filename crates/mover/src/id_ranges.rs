//! Ranges of `_id`: how a large collection of an attached deployment is read in parts.
//!
//! A condition on `_id` compares values of one kind only, so the ranges are of the kind that most
//! documents have, and one more part has those of all other kinds. Together they are the whole
//! collection, whatever is inserted meanwhile.

use bson::raw::{RawBsonRef, RawDocument};
use bson::{Bson, Document};

/// Samples for each range that is wanted: borders are evenly spread to about a quarter of a range.
pub(crate) const SAMPLES_PER_RANGE: i64 = 20;

/// Kinds of values that compare with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    ObjectId,
    Number,
    Text,
    Binary,
}

impl Kind {
    const ALL: [Self; 4] = [Self::ObjectId, Self::Number, Self::Text, Self::Binary];

    fn of(value: RawBsonRef<'_>) -> Option<Self> {
        match value {
            RawBsonRef::ObjectId(_) => Some(Self::ObjectId),
            RawBsonRef::Int32(_)
            | RawBsonRef::Int64(_)
            | RawBsonRef::Double(_)
            | RawBsonRef::Decimal128(_) => Some(Self::Number),
            RawBsonRef::String(_) | RawBsonRef::Symbol(_) => Some(Self::Text),
            RawBsonRef::Binary(_) => Some(Self::Binary),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::ObjectId => "objectId",
            Self::Number => "number",
            Self::Text => "text",
            Self::Binary => "binary",
        }
    }

    /// The names of its types, as `$type` has them.
    fn types(self) -> &'static [&'static str] {
        match self {
            Self::ObjectId => &["objectId"],
            Self::Number => &["double", "int", "long", "decimal"],
            Self::Text => &["string", "symbol"],
            Self::Binary => &["binData"],
        }
    }

    /// The names of all types that an `_id` can have and that are not of this kind.
    fn other_types(self) -> Vec<&'static str> {
        const OTHERS: &[&str] = &[
            "object",
            "undefined",
            "bool",
            "date",
            "null",
            "dbPointer",
            "javascript",
            "javascriptWithScope",
            "timestamp",
            "minKey",
            "maxKey",
        ];
        let kinds = Self::ALL.into_iter().filter(|kind| *kind != self);
        kinds.flat_map(Self::types).chain(OTHERS).copied().collect()
    }
}

/// Some values of `_id`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IdRange {
    /// All that are not of this kind; otherwise those of one kind between two.
    others_of: Option<Kind>,
    /// From this one on; as far as the kind goes without.
    from: Option<Bson>,
    /// Up to this one, which does not belong to it.
    to: Option<Bson>,
}

impl IdRange {
    /// Restricts a `find` to the range, or to what comes after `after` in it. Between two values
    /// documents come in the order of their `_id`.
    pub(crate) fn restrict(&self, find: &mut Document, after: Option<&Bson>) {
        let mut condition = Document::new();
        if let Some(kind) = self.others_of {
            condition.insert("$type", kind.other_types());
        } else {
            find.insert("sort", bson::doc! { "_id": 1 });
        }
        match (after, &self.from) {
            (Some(after), _) => drop(condition.insert("$gt", after)),
            (None, Some(from)) => drop(condition.insert("$gte", from)),
            (None, None) => {}
        }
        if let Some(to) = &self.to {
            condition.insert("$lt", to);
        }
        let condition = bson::doc! { "_id": condition };
        find.insert(
            "filter",
            match self.others_of {
                // It is a number and neither less than another one nor greater.
                Some(Kind::Number) => bson::doc! { "$or": [condition, { "_id": f64::NAN }] },
                _ => condition,
            },
        );
    }

    /// The range as a draft keeps it.
    pub(crate) fn describe(&self) -> Document {
        let mut described = bson::doc! { "range": true };
        if let Some(kind) = self.others_of {
            described.insert("othersOf", kind.as_str());
        }
        for (name, border) in [("from", &self.from), ("to", &self.to)] {
            if let Some(border) = border {
                described.insert(name, border.clone());
            }
        }
        described
    }

    /// The range of which a draft says this.
    pub(crate) fn described(described: &Document) -> Option<Self> {
        let others_of = match described.get_str("othersOf") {
            Ok(word) => Some(Kind::ALL.into_iter().find(|kind| kind.as_str() == word)?),
            Err(_) => None,
        };
        let border = |name: &str| described.get(name).cloned();
        Some(Self { others_of, from: border("from"), to: border("to") })
    }

    /// Whether reading can go on after a document.
    pub(crate) fn is_ordered(&self) -> bool {
        self.others_of.is_none()
    }
}

/// Borders between ranges, from samples of `_id` in their order.
pub(crate) struct Borders {
    kind: Option<Kind>,
    values: Vec<Bson>,
}

impl Borders {
    pub(crate) fn new() -> Self {
        Self { kind: None, values: Vec::new() }
    }

    /// Takes the next sample. The first kind that there are samples of is the kind of the ranges.
    pub(crate) fn push(&mut self, sample: &RawDocument) {
        let Ok(Some(id)) = sample.get("_id") else { return };
        let Some(kind) = Kind::of(id) else { return };
        let counts = *self.kind.get_or_insert(kind) == kind;
        if let (true, Ok(id)) = (counts, Bson::try_from(id)) {
            self.values.push(id);
        }
    }

    /// So many ranges, or fewer; none if that would be one.
    pub(crate) fn ranges(self, wanted: usize) -> Vec<IdRange> {
        let Some(kind) = self.kind else { return Vec::new() };
        let step = (self.values.len() / wanted.max(1)).max(1);
        let mut borders: Vec<Bson> = self.values.into_iter().step_by(step).skip(1).collect();
        borders.dedup();
        if borders.is_empty() {
            return Vec::new();
        }
        let starts = std::iter::once(None).chain(borders.iter().cloned().map(Some));
        let ends = borders.iter().cloned().map(Some).chain([None]);
        let ranges = starts.zip(ends).map(|(from, to)| IdRange { others_of: None, from, to });
        ranges.chain([IdRange { others_of: Some(kind), from: None, to: None }]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_meet_and_the_rest_is_one_more() {
        let mut borders = Borders::new();
        for n in 0..100 {
            let sample = bson::doc! { "_id": n }.to_vec().unwrap();
            borders.push(RawDocument::from_bytes(&sample).unwrap());
        }
        let other = bson::doc! { "_id": "text" }.to_vec().unwrap();
        borders.push(RawDocument::from_bytes(&other).unwrap());
        let ranges = borders.ranges(5);
        assert_eq!(ranges.len(), 6, "{ranges:?}");
        assert_eq!(ranges[5].others_of, Some(Kind::Number));
        assert_eq!((&ranges[0].from, &ranges[4].to), (&None, &None));
        for range in &ranges {
            assert_eq!(IdRange::described(&range.describe()).as_ref(), Some(range));
        }
        let meet = |pair: &[IdRange]| pair[0].to.is_some() && pair[0].to == pair[1].from;
        assert!(ranges[..5].windows(2).all(meet), "{ranges:?}");
    }

    #[test]
    fn what_cannot_be_cut_is_one_part() {
        assert!(Borders::new().ranges(5).is_empty());
        let mut same = Borders::new();
        let sample = bson::doc! { "_id": true }.to_vec().unwrap();
        same.push(RawDocument::from_bytes(&sample).unwrap());
        assert!(same.ranges(5).is_empty());
    }

    #[test]
    fn every_type_is_of_the_kind_or_not() {
        for kind in Kind::ALL {
            let others = kind.other_types();
            assert!(kind.types().iter().all(|name| !others.contains(name)));
            assert_eq!(others.len() + kind.types().len(), 19);
        }
    }
}
