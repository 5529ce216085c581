//! The open catalog.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use crate::error::CatalogError;
use crate::schema;

/// All durable records of a server.
pub struct Catalog {
    connection: Mutex<Connection>,
    generation: AtomicU64,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// From 1.
    pub number: u64,
    /// Items on a page.
    pub size: u64,
}

impl Page {
    /// Items before the page.
    pub fn offset(self) -> u64 {
        self.number.saturating_sub(1).saturating_mul(self.size)
    }

    /// The numbers of a dense sequence from 1 to `total` that are on the page, lowest first.
    pub(crate) fn ascending(self, total: i64) -> (i64, i64) {
        let (size, offset) = self.sql();
        (offset.saturating_add(1), offset.saturating_add(size).min(total))
    }

    /// The same where the highest number is on the first page.
    pub(crate) fn descending(self, total: i64) -> (i64, i64) {
        let (size, offset) = self.sql();
        let last = total.saturating_sub(offset);
        (last.saturating_sub(size).saturating_add(1), last)
    }

    /// Size and offset as SQLite counts.
    pub(crate) fn sql(self) -> (i64, i64) {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        (number(self.size), number(self.offset()))
    }

    /// One page with the whole list.
    pub const EVERYTHING: Self = Self { number: 1, size: u64::MAX };

    /// The page of a list that is at hand.
    pub fn of<T>(self, items: Vec<T>) -> Paged<T> {
        let total = items.len() as u64;
        let skip = usize::try_from(self.offset()).unwrap_or(usize::MAX);
        let take = usize::try_from(self.size).unwrap_or(usize::MAX);
        Paged { items: items.into_iter().skip(skip).take(take).collect(), total }
    }
}

/// A part of a list, and how long the whole list is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paged<T> {
    /// The items of the page.
    pub items: Vec<T>,
    /// All items of the list.
    pub total: u64,
}

impl<T> Paged<T> {
    /// The same part of a list, with something made of every item.
    pub fn try_map<U, E>(&self, make: impl Fn(&T) -> Result<U, E>) -> Result<Paged<U>, E> {
        let items = self.items.iter().map(make).collect::<Result<_, _>>()?;
        Ok(Paged { items, total: self.total })
    }
}

impl Catalog {
    /// Opens or creates the catalog in a file.
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        Self::prepare(Connection::open(path)?)
    }

    /// A catalog that is gone when it is dropped, for tests.
    pub fn in_memory() -> Result<Self, CatalogError> {
        Self::prepare(Connection::open_in_memory()?)
    }

    fn prepare(mut connection: Connection) -> Result<Self, CatalogError> {
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_prepared_statement_cache_capacity(128);
        schema::migrate(&mut connection)?;
        Ok(Self { connection: Mutex::new(connection), generation: AtomicU64::new(0) })
    }

    /// A number that is another after every change of a record.
    ///
    /// What was read at a generation may be kept for as long as the generation stays.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn lock(&self) -> Access<'_> {
        // SQLite rolls back what a panic left open.
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        Access { connection, generation: &self.generation }
    }
}

/// The connection, for as long as nobody else needs it.
pub(crate) struct Access<'a> {
    connection: MutexGuard<'a, Connection>,
    generation: &'a AtomicU64,
}

impl Deref for Access<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Access<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        // Before anybody can read what was changed.
        self.generation.store(self.connection.total_changes(), Ordering::Release);
    }
}

/// Says that a unique name is taken, where SQLite says that a constraint failed.
pub(crate) fn taken(error: rusqlite::Error, what: impl Into<String>) -> CatalogError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) => CatalogError::AlreadyExists(what.into()),
        _ => CatalogError::Database(error),
    }
}

/// Proves that exactly one row changed.
pub(crate) fn one_row(
    changed: usize,
    what: impl FnOnce() -> CatalogError,
) -> Result<(), CatalogError> {
    if changed == 1 { Ok(()) } else { Err(what()) }
}
