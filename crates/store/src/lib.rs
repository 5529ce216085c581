//! Ordered trees of one instance, in one file, over LMDB.
//!
//! Guarantees: a commit is atomic and on disk when it returns; a `Moment` shows everything as it
//! was after one commit, for as long as it is held, and never blocks a writer. What a crash leaves
//! is the last commit that returned, or the one that was under way, whole. Memory is bounded by
//! the size of a batch: pages are read through a map of the file, which the system may take back.
//! Values larger than half a page are stored in pieces (see `pieces`), so that pages stay full and
//! freed ones can be used for anything.
//!
//! Not here: who may write (one caller of `commit` at a time waits for the other), what keys mean.

mod ahead;
mod batch;
mod error;
mod holes;
mod pieces;
mod slices;
mod store;
mod tree;

pub use batch::{Batch, Found, Savepoint};
pub use error::StoreError;
pub use store::{Moment, Store, Usage};
pub use tree::{Direction, Range, Tree};
