//! What is asked of a collection.

use std::sync::Arc;

use crate::collections::Collection;
use crate::error::{Code, CommandError, Result};
use crate::filter::Filter;
use crate::index::Index;
use crate::projection::Projection;
use crate::sort::{Direction, SortOrder};

/// What is asked of a collection.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) filter: Filter,
    pub(crate) sort: Option<SortOrder>,
    pub(crate) projection: Option<Projection>,
    pub(crate) skip: u64,
    pub(crate) limit: Option<u64>,
    pub(crate) hint: Option<Hint>,
    /// Only these, in natural order.
    pub(crate) records: Option<Records>,
}

impl Query {
    /// Everything that matches a filter.
    pub(crate) fn all(filter: Filter) -> Self {
        Self {
            filter,
            sort: None,
            projection: None,
            skip: 0,
            limit: None,
            hint: None,
            records: None,
        }
    }
}

/// The record numbers after one, through another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Records {
    pub(crate) after: u64,
    pub(crate) through: u64,
}

impl Records {
    pub(super) const ALL: Self = Self { after: 0, through: u64::MAX - 1 };
}

/// Which way to the documents the client insists on.
#[derive(Debug, Clone)]
pub(crate) enum Hint {
    Natural(Direction),
    Index(String),
}

impl Hint {
    /// Reads a `hint`.
    pub(crate) fn parse(
        value: bson::RawBsonRef<'_>,
        collection: Option<&Collection>,
    ) -> Result<Self> {
        let bad = || {
            CommandError::new(
                Code::BadValue,
                "hint provided does not correspond to an existing index",
            )
        };
        let find = |matches: &dyn Fn(&Index) -> bool| {
            let indexes = collection.map(|c| c.indexes.as_slice()).unwrap_or_default();
            indexes.iter().find(|index| matches(index))
        };
        // Such a hint leaves out what the index does not hold.
        let usable = |index: &Arc<Index>| {
            if index.holds_everything() {
                return Ok(Self::Index(index.name.clone()));
            }
            Err(CommandError::unsupported("a hint to a sparse, partial or hidden index"))
        };
        match value {
            bson::RawBsonRef::String(name) => {
                find(&|index| index.name == name).ok_or_else(bad).and_then(usable)
            }
            bson::RawBsonRef::Document(key) => {
                if let Some(direction) = key.get("$natural")? {
                    return Direction::parse(direction).map(Self::Natural).ok_or_else(bad);
                }
                let key = bson::Document::try_from(key)?.to_string();
                let has_key = |index: &Index| {
                    index.spec.get_document("key").is_ok_and(|spec| spec.to_string() == key)
                };
                match (find(&has_key), collection) {
                    (Some(index), _) => usable(index),
                    (None, None) => Ok(Self::Natural(Direction::Ascending)),
                    (None, Some(_)) => Err(bad()),
                }
            }
            _ => Err(CommandError::new(Code::FailedToParse, "hint must be a string or an object")),
        }
    }
}
