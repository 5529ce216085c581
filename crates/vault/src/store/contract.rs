//! What every store does.

use std::io::{Error, ErrorKind, Result};
use std::time::SystemTime;

use super::requests::RequestKind;

/// What changes when somebody writes to an object behind the vault's back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    pub(crate) size: u64,
    /// When the content of a file was last changed, in nanoseconds since the epoch; nothing in a
    /// bucket.
    pub(crate) modified: i64,
    /// When content or attributes of a file were last changed, in nanoseconds since the epoch; of an
    /// object in a bucket the hash of its entity tag.
    pub(crate) changed: i64,
}

impl Stamp {
    /// Whether an object with this stamp is the one that had the other, as far as both say: not every
    /// list says the tags of objects.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        let is_same = |a: i64, b: i64| a == b || a == 0 || b == 0;
        self.size == other.size
            && self.modified == other.modified
            && is_same(self.changed, other.changed)
    }
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its name below the folder that was listed.
    pub(crate) name: String,
    pub(crate) stamp: Stamp,
    /// When it was written, by the store's clock.
    pub(crate) written: SystemTime,
}

/// Whether an object may take the place of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It must be the first of its name; otherwise the error is `AlreadyExists`.
    New,
    /// It may replace one.
    Replace,
}

/// What an object's bytes are to be; nothing if they are to stay.
pub(crate) type Rewriter<'a> = &'a mut dyn FnMut(&[u8]) -> Result<Option<Vec<u8>>>;

/// A place for objects.
pub(crate) trait Store: Send + Sync {
    /// The names of whole objects and of folders in a folder, in order; none if there is no folder.
    fn list(&self, folder: &str) -> Result<Vec<String>>;
    /// The whole objects in a folder, in the order of their names.
    fn list_objects(&self, folder: &str) -> Result<Vec<Listed>>;
    /// Opens an object to read it, and reads its last bytes: at most so many, at least one.
    fn open_end(&self, name: &str, bytes: u64) -> Result<(Box<dyn Object>, Vec<u8>)>;
    /// Opens an object that had this stamp, and has it still where the store need not be asked.
    fn open_known(&self, name: &str, stamp: Stamp) -> Result<Box<dyn Object>>;
    /// Reads a whole object of at most `limit` bytes.
    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>>;
    /// Writes a whole object. The same call again, because nobody knows what became of the first
    /// one, succeeds.
    fn put(&self, name: &str, bytes: &[u8], put: Put) -> Result<Stamp>;
    /// Reads an object of at most `limit` bytes and puts what `change` makes of it in its place; answers
    /// its new stamp. Nothing is done, and nothing answered, where `change` makes nothing of it, or where
    /// it is not there or somebody replaced or removed it meanwhile.
    fn rewrite(&self, name: &str, limit: u64, change: Rewriter<'_>) -> Result<Option<Stamp>>;
    /// Begins an object with a name that nobody else can think of; nobody sees it before it is
    /// finished.
    fn create(&self, name: &str) -> Result<Box<dyn NewObject>>;
    /// Removes an object; one that is not there is removed already.
    fn remove(&self, name: &str) -> Result<()>;
    /// Removes what unfinished writes left behind in a folder.
    fn remove_unfinished(&self, folder: &str) -> Result<()>;
    /// The object's stamp, without opening it.
    fn stamp(&self, name: &str) -> Result<Stamp>;
    /// When an object was written, by the store's clock.
    fn written(&self, name: &str) -> Result<SystemTime>;
    /// Makes the names of an object or a folder and of all beside it durable: who gave them may have
    /// ended before they were.
    fn settle(&self, name: &str) -> Result<()>;
    /// Lets the store itself refuse to remove an object before an instant; answers whether it does that. A
    /// lock is only ever made longer.
    fn retain(&self, name: &str, until: SystemTime) -> Result<bool> {
        let _ = (name, until);
        Ok(false)
    }
    /// How many requests were made since the start, of each kind; none where a call costs nothing.
    fn requests(&self) -> Vec<(RequestKind, u64)> {
        Vec::new()
    }
}

/// A whole object.
pub(crate) trait Object: Send + Sync {
    /// Its stamp when it was opened.
    fn stamp(&self) -> Stamp;
    /// Fills a buffer from an offset; less is an error.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()>;
}

/// An object in the making; dropping it leaves an unfinished one.
pub(crate) trait NewObject: Send {
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// Makes it durable, and gives it its name.
    fn finish(self: Box<Self>) -> Result<Stamp>;
}

/// What is said of an object that has more bytes than any of its kind.
pub(super) fn too_large(size: u64) -> Error {
    Error::new(ErrorKind::InvalidData, format!("it has {size} bytes, more than any of its kind"))
}
