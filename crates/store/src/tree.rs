//! The trees of a store and the ranges of their keys.

use std::ops::Bound;

use crate::slices::KEY_BYTES;

/// A tree of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tree {
    /// Small records of any key.
    Meta,
    /// Documents; keys have 12 bytes, the first four of them name a collection.
    Documents,
    /// Index entries; values are small.
    Indexes,
    /// Oplog entries; keys have 8 bytes. They are appended and forgotten, never changed.
    Oplog,
}

impl Tree {
    pub(crate) const ALL: [Self; 4] = [Self::Meta, Self::Documents, Self::Indexes, Self::Oplog];

    /// The length of all keys, where values may be cut into pieces.
    pub(crate) fn key_bytes(self) -> Option<usize> {
        match self {
            Self::Documents => Some(12),
            Self::Oplog => Some(KEY_BYTES),
            Self::Meta | Self::Indexes => None,
        }
    }
}

/// Which way a tree is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the smallest key.
    Ascending,
    /// From the largest key.
    Descending,
}

/// From this key, included, to that one, excluded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The first key that belongs to it.
    pub from: Vec<u8>,
    /// The first key that does not; `None` for all that follow.
    pub to: Option<Vec<u8>>,
}

impl Range {
    /// All keys from `from` on that are below `to`.
    pub fn new(from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) -> Self {
        Self { from: from.into(), to: Some(to.into()) }
    }

    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut to = prefix.to_vec();
        while let Some(last) = to.pop() {
            if last < u8::MAX {
                to.push(last + 1);
                return Self { from: prefix.to_vec(), to: Some(to) };
            }
        }
        Self { from: prefix.to_vec(), to: None }
    }

    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let to = self.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        // LMDB knows no empty key.
        let from = if self.from.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Included(self.from.as_slice())
        };
        (from, to)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }
}
