//! Entries of an oplog, as they are visited for a replay.

use bson::raw::RawDocument;

/// An entry that is visited.
pub(crate) struct Visit<'a> {
    pub(crate) entry: &'a RawDocument,
    /// Whether it lies before what is replayed: of these only parts of transactions count that go on
    /// later.
    pub(crate) is_before: bool,
}
