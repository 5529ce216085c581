//! Changes that become one commit, readable before they are committed.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::tree::Tree;

/// No change.
const NONE: u32 = u32::MAX;
/// Instead of an earlier change: this one is not found by its key.
const NOT_FOUND: u32 = u32::MAX - 1;

/// Room that is kept for the next batch, at most.
const MOST_ROOM_BYTES: usize = 1 << 20;
const MOST_ROOM_CHANGES: usize = 4_096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The key is not in the tree yet.
    Insert,
    /// The key may be in the tree.
    Put,
    Remove,
}

#[derive(Debug, Clone, Copy)]
struct Change {
    tree: Tree,
    kind: Kind,
    key_starts: usize,
    value_starts: usize,
    ends: usize,
    hash: u64,
    /// The change before this one whose key has the same hash.
    earlier: u32,
}

/// One change as it is made in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'b> {
    pub(crate) tree: Tree,
    pub(crate) kind: Kind,
    pub(crate) key: &'b [u8],
    /// Empty for what is removed.
    pub(crate) value: &'b [u8],
}

/// What a batch says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'b> {
    /// Nothing.
    Unknown,
    /// It was removed.
    Removed,
    /// It has this value.
    Value(&'b [u8]),
}

/// Changes in their order; a later change of a key covers an earlier one.
///
/// Keys and values stand in one buffer.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    changes: Vec<Change>,
    newest: HashMap<u64, u32>,
    hasher: RandomState,
}

/// A state of a batch to go back to.
#[derive(Debug, Clone, Copy)]
pub struct Savepoint {
    changes: usize,
    bytes: usize,
}

impl Batch {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes all changes out; what comes next has room for about as many.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let next = Self {
            bytes: Vec::with_capacity(self.bytes.len().min(MOST_ROOM_BYTES)),
            changes: Vec::with_capacity(self.changes.len().min(MOST_ROOM_CHANGES)),
            newest: HashMap::with_capacity(self.newest.len().min(MOST_ROOM_CHANGES)),
            hasher: self.hasher.clone(),
        };
        std::mem::replace(self, next)
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many changes there are; each may touch a page of its own.
    pub fn changes(&self) -> usize {
        self.changes.len()
    }

    /// The bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a key that the tree does not have.
    pub fn insert(&mut self, tree: Tree, key: &[u8], value: &[u8]) {
        self.push((tree, Kind::Insert), key, &[value], true);
    }

    /// Adds a key that the tree does not have and that nobody looks up before it is committed; its
    /// value is the parts, one after another.
    pub fn append(&mut self, tree: Tree, key: &[u8], value: &[&[u8]]) {
        self.push((tree, Kind::Insert), key, value, false);
    }

    /// Sets a key that the tree may have.
    pub fn put(&mut self, tree: Tree, key: &[u8], value: &[u8]) {
        self.push((tree, Kind::Put), key, &[value], true);
    }

    /// Removes a key; none is fine.
    pub fn remove(&mut self, tree: Tree, key: &[u8]) {
        self.push((tree, Kind::Remove), key, &[], true);
    }

    fn push(&mut self, (tree, kind): (Tree, Kind), key: &[u8], value: &[&[u8]], is_found: bool) {
        let key_starts = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let value_starts = self.bytes.len();
        for part in value {
            self.bytes.extend_from_slice(part);
        }
        let position = u32::try_from(self.changes.len()).unwrap_or(NONE);
        let (mut hash, mut earlier) = (0, NOT_FOUND);
        if is_found {
            hash = self.hasher.hash_one((tree, key));
            earlier = self.newest.insert(hash, position).unwrap_or(NONE);
        }
        let ends = self.bytes.len();
        self.changes.push(Change { tree, kind, key_starts, value_starts, ends, hash, earlier });
    }

    /// What the changes say of a key; what was appended is not found.
    pub fn find(&self, tree: Tree, key: &[u8]) -> Found<'_> {
        if self.newest.is_empty() {
            return Found::Unknown;
        }
        let hash = self.hasher.hash_one((tree, key));
        let mut position = self.newest.get(&hash).copied().unwrap_or(NONE);
        while let Some(change) = self.changes.get(position as usize) {
            if change.tree == tree && self.key(change) == key {
                return match change.kind {
                    Kind::Remove => Found::Removed,
                    Kind::Insert | Kind::Put => Found::Value(self.value(change)),
                };
            }
            position = change.earlier;
        }
        Found::Unknown
    }

    fn key(&self, change: &Change) -> &[u8] {
        self.bytes.get(change.key_starts..change.value_starts).unwrap_or_default()
    }

    fn value(&self, change: &Change) -> &[u8] {
        self.bytes.get(change.value_starts..change.ends).unwrap_or_default()
    }

    /// The present state, to go back to.
    pub fn savepoint(&self) -> Savepoint {
        Savepoint { changes: self.changes.len(), bytes: self.bytes.len() }
    }

    /// Forgets what came after a savepoint.
    pub fn undo(&mut self, to: Savepoint) {
        while self.changes.len() > to.changes {
            let Some(change) = self.changes.pop() else { break };
            match change.earlier {
                NOT_FOUND => {}
                NONE => drop(self.newest.remove(&change.hash)),
                earlier => drop(self.newest.insert(change.hash, earlier)),
            }
        }
        self.bytes.truncate(to.bytes);
    }

    /// The changes of one tree after those of another, each in their order. New pages are taken
    /// as they are needed, so those of a tree come to stand beside each other in the file, and a
    /// visit of documents does not read pages of the oplog between them.
    pub(crate) fn by_tree(&self) -> impl Iterator<Item = Entry<'_>> {
        let of = |tree: Tree| self.changes.iter().filter(move |change| change.tree == tree);
        Tree::ALL.into_iter().flat_map(of).map(|change| Entry {
            tree: change.tree,
            kind: change.kind,
            key: self.key(change),
            value: self.value(change),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_change_of_a_key_counts_and_can_be_undone() {
        let mut batch = Batch::new();
        batch.insert(Tree::Documents, b"a", b"1");
        let savepoint = batch.savepoint();
        batch.put(Tree::Documents, b"a", b"2");
        batch.insert(Tree::Indexes, b"a", b"other tree");
        batch.append(Tree::Documents, b"c", &[b"1", b"2"]);
        batch.remove(Tree::Documents, b"a");
        assert_eq!(batch.find(Tree::Documents, b"a"), Found::Removed);
        assert_eq!(batch.find(Tree::Documents, b"c"), Found::Unknown, "appended");
        assert_eq!(batch.find(Tree::Documents, b"b"), Found::Unknown);
        batch.undo(savepoint);
        assert_eq!(batch.find(Tree::Documents, b"a"), Found::Value(b"1"));
        assert_eq!(batch.find(Tree::Indexes, b"a"), Found::Unknown);
        assert_eq!((batch.changes(), batch.bytes()), (1, 2));
    }
}
