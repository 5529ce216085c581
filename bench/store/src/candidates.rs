//! The stores that are compared, each behind the same few calls.

#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "lmdb")]
mod lmdb;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;

use std::path::Path;

/// How many trees a store has.
pub const TREES: usize = 3;

/// How many entries of a load share a commit.
pub const BATCH: usize = 8_000;

/// A tree of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    Documents = 0,
    Index = 1,
    Oplog = 2,
}

/// One change.
pub struct Write {
    pub tree: Tree,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

pub type Visit<'v> = &'v mut dyn FnMut(&[u8], &[u8]);

/// A store. What fails ends the run.
pub trait Candidate: Send + Sync {
    /// Makes changes together; when this returns they are on disk.
    fn write(&self, batch: &[Write]);

    /// Loads an empty tree in key order by the store's own means; `false` if it has none.
    fn load_sorted(&self, _: Tree, _: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> bool {
        false
    }

    fn get(&self, tree: Tree, key: &[u8]) -> Option<Vec<u8>>;

    /// Holds the present moment.
    fn hold(&self) -> Box<dyn Held + '_>;
}

/// A moment that is held.
pub trait Held {
    fn scan(&self, tree: Tree, visit: Visit<'_>);
}

/// The names that this build has.
pub const NAMES: &[&str] = &[
    #[cfg(feature = "lmdb")]
    "lmdb",
    #[cfg(feature = "redb")]
    "redb",
    #[cfg(feature = "fjall")]
    "fjall",
    #[cfg(feature = "fjall")]
    "fjall-tuned",
    #[cfg(feature = "rocksdb")]
    "rocksdb",
];

/// Opens a store by name.
pub fn open(name: &str, folder: &Path) -> Option<Box<dyn Candidate>> {
    match name {
        #[cfg(feature = "lmdb")]
        "lmdb" => Some(Box::new(lmdb::Lmdb::open(folder))),
        #[cfg(feature = "redb")]
        "redb" => Some(Box::new(redb::Redb::open(folder))),
        #[cfg(feature = "fjall")]
        "fjall" => Some(Box::new(fjall::Fjall::open(folder, false))),
        #[cfg(feature = "fjall")]
        "fjall-tuned" => Some(Box::new(fjall::Fjall::open(folder, true))),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => Some(Box::new(rocksdb::Rocks::open(folder))),
        _ => None,
    }
}
