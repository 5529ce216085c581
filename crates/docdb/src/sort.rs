//! Sort orders over documents.

use bson::RawBsonRef;
use bson::raw::RawDocument;

use crate::error::{Code, CommandError, Result};
use crate::key::encode_value;
use crate::number::as_integer;
use crate::path::Path;

/// Paths with their directions, the most significant first.
#[derive(Debug, Clone)]
pub(crate) struct SortOrder(Vec<(Path, Direction)>);

/// Which way a path is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Ascending,
    Descending,
}

impl From<Direction> for tidemark_store::Direction {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Ascending => Self::Ascending,
            Direction::Descending => Self::Descending,
        }
    }
}

impl Direction {
    pub(crate) fn parse(value: RawBsonRef<'_>) -> Option<Self> {
        match value {
            RawBsonRef::Double(number) if number > 0.0 => Some(Self::Ascending),
            RawBsonRef::Double(number) if number < 0.0 => Some(Self::Descending),
            value => match as_integer(value)? {
                1.. => Some(Self::Ascending),
                ..=-1 => Some(Self::Descending),
                0 => None,
            },
        }
    }
}

/// Whether a number is 1 or -1, the only directions of a sort.
fn is_one(value: RawBsonRef<'_>) -> bool {
    as_integer(value).is_some_and(|number| number.abs() == 1)
}

impl SortOrder {
    pub(crate) fn parse(document: &RawDocument) -> Result<Self> {
        let mut paths = Vec::new();
        for field in document {
            let (name, value) = field?;
            crate::depth::check_path(name.as_str())?;
            if value.as_document().is_some() {
                return Err(CommandError::unsupported("sorting by $meta"));
            }
            let direction = Some(value).filter(|value| is_one(*value)).and_then(Direction::parse);
            let direction = direction.ok_or_else(|| {
                let text = "$sort key ordering must be 1 (for ascending) or -1 (for descending)";
                CommandError::new(Code::BadValue, text)
            })?;
            paths.push((Path::parse(name.as_str()), direction));
        }
        Ok(Self(paths))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The direction, if this is the order in which documents were inserted.
    pub(crate) fn natural(&self) -> Option<Direction> {
        match self.0.as_slice() {
            [(path, direction)] if path.first() == "$natural" => Some(*direction),
            _ => None,
        }
    }

    /// The direction, if this is the order of oplog entries.
    pub(crate) fn by_position(&self) -> Option<Direction> {
        match self.0.as_slice() {
            [(path, direction)] if path.first() == "ts" && !path.is_nested() => Some(*direction),
            _ => self.natural(),
        }
    }

    /// Bytes that compare as the documents do.
    ///
    /// An array counts as its smallest element when ascending and as its largest when descending.
    pub(crate) fn key(&self, document: &RawDocument) -> Result<Vec<u8>> {
        let mut key = Vec::new();
        for (path, direction) in &self.0 {
            let (values, _) = path.index_values(document);
            let mut best: Option<Vec<u8>> = None;
            for value in values {
                let mut candidate = Vec::new();
                encode_value(&mut candidate, value.unwrap_or(RawBsonRef::Null))?;
                if *direction == Direction::Descending {
                    candidate.iter_mut().for_each(|byte| *byte = !*byte);
                }
                if best.as_ref().is_none_or(|best| candidate < *best) {
                    best = Some(candidate);
                }
            }
            key.extend(best.unwrap_or_default());
        }
        Ok(key)
    }
}
