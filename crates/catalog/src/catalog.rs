//! The open catalog.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use crate::error::CatalogError;
use crate::schema;

/// All durable records of a server.
///
/// One connection writes; others read beside it what was committed last.
pub struct Catalog {
    /// Held over one transaction with its sync to the disk, by whoever changes records.
    writer: Mutex<Option<Connection>>,
    /// `None` where reading needs the writer's connection: in memory, and in a transaction.
    readers: Option<Readers>,
    generation: AtomicU64,
    /// Rung after every change.
    bell: Bell,
    /// Whether this is the view of a transaction that is going on.
    is_transaction: bool,
}

/// Wakes those who wait for a change.
#[derive(Default)]
struct Bell {
    /// Held for going to sleep and for ringing.
    lock: Mutex<()>,
    rung: Condvar,
}

/// Connections that read.
pub(crate) struct Readers {
    path: PathBuf,
    /// Those that nobody uses; held for taking one and putting it back.
    idle: Mutex<Vec<Connection>>,
}

/// Connections that are kept when nobody uses them.
const IDLE_READERS: usize = 4;
const BUSY_PATIENCE: Duration = Duration::from_secs(10);
const CACHED_STATEMENTS: usize = 128;

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
    /// Opens or creates the catalog in a file, which only its owner may read.
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        let writer = prepare(Connection::open(path)?)?;
        let readers = Readers { path: path.to_owned(), idle: Mutex::default() };
        Ok(Self::with(writer, Some(readers)))
    }

    /// A catalog that is gone when it is dropped, for tests.
    pub fn in_memory() -> Result<Self, CatalogError> {
        Ok(Self::with(prepare(Connection::open_in_memory()?)?, None))
    }

    fn with(writer: Connection, readers: Option<Readers>) -> Self {
        Self {
            writer: Mutex::new(Some(writer)),
            readers,
            generation: AtomicU64::new(0),
            bell: Bell::default(),
            is_transaction: false,
        }
    }

    /// A number that is another after every change of a record.
    ///
    /// What was read at a generation may be kept for as long as the generation stays.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Waits until the generation is another than `seen`, at most for `patience`.
    pub fn wait_for_change(&self, seen: u64, patience: Duration) {
        let lock = self.bell.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever changes something rings while it holds the same lock.
        let is_same = |(): &mut ()| self.generation() == seen;
        drop(self.bell.rung.wait_timeout_while(lock, patience, is_same));
    }

    /// Does everything that `work` does with the catalog that it is given in one transaction: all
    /// of it is durable when this returns, or nothing of it happened. Nobody else changes anything
    /// meanwhile, so what `work` reads stays true until it writes.
    pub fn transact<T, E: From<CatalogError>>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.is_transaction {
            return work(self);
        }
        let mut access = self.lock();
        let borrowed = Borrowed::take(&mut access.connection);
        let batch =
            |sql: &str| borrowed.catalog.lock().execute_batch(sql).map_err(CatalogError::Database);
        batch("BEGIN IMMEDIATE")?;
        // What ends early is rolled back when it is given back.
        let value = work(&borrowed.catalog)?;
        batch("COMMIT")?;
        Ok(value)
    }

    pub(crate) fn lock(&self) -> Access<'_> {
        // SQLite rolls back what a panic left open.
        let connection = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        Access { connection, generation: &self.generation, bell: &self.bell }
    }

    /// A connection that only reads.
    pub(crate) fn read(&self) -> Result<Reading<'_>, CatalogError> {
        let Some(readers) = &self.readers else { return Ok(Reading::Writer(self.lock())) };
        let idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = if let Some(connection) = idle {
            connection
        } else {
            let connection = Connection::open(&readers.path)?;
            connection.busy_timeout(BUSY_PATIENCE)?;
            connection.pragma_update(None, "query_only", true)?;
            connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
            connection
        };
        Ok(Reading::Reader { connection: Some(connection), readers })
    }
}

fn prepare(mut connection: Connection) -> Result<Connection, CatalogError> {
    connection.busy_timeout(BUSY_PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    schema::migrate(&mut connection)?;
    Ok(connection)
}

/// The writer's connection in the hands of a transaction; it is put back in any case.
struct Borrowed<'a> {
    catalog: Catalog,
    place: &'a mut Option<Connection>,
}

impl<'a> Borrowed<'a> {
    fn take(place: &'a mut Option<Connection>) -> Self {
        let catalog = Catalog {
            writer: Mutex::new(place.take()),
            readers: None,
            // Nobody may take for new what is not committed.
            generation: AtomicU64::new(0),
            bell: Bell::default(),
            is_transaction: true,
        };
        Self { catalog, place }
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let slot = self.catalog.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = slot
            && !connection.is_autocommit()
        {
            let _ = connection.execute_batch("ROLLBACK");
        }
        *self.place = slot.take();
    }
}

/// The writer's connection, for as long as nobody else needs it.
pub(crate) struct Access<'a> {
    connection: MutexGuard<'a, Option<Connection>>,
    generation: &'a AtomicU64,
    bell: &'a Bell,
}

const THERE: &str = "a transaction puts the connection back";

impl Access<'_> {
    /// Begins a transaction, or a part of the one that is going on.
    pub(crate) fn begin(&mut self) -> Result<rusqlite::Savepoint<'_>, CatalogError> {
        #[expect(clippy::expect_used, reason = "only `Borrowed` takes it, while it is locked")]
        Ok(self.connection.as_mut().expect(THERE).savepoint()?)
    }
}

impl Deref for Access<'_> {
    type Target = Connection;

    #[expect(clippy::expect_used, reason = "only `Borrowed` takes it, while it is locked")]
    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect(THERE)
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        // Before anybody can read what was changed.
        let Some(connection) = self.connection.as_ref() else { return };
        let present = connection.total_changes();
        if self.generation.swap(present, Ordering::AcqRel) != present {
            let _asleep = self.bell.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.bell.rung.notify_all();
        }
    }
}

/// A connection to read from.
pub(crate) enum Reading<'a> {
    Writer(Access<'a>),
    Reader { connection: Option<Connection>, readers: &'a Readers },
}

impl Deref for Reading<'_> {
    type Target = Connection;

    #[expect(clippy::expect_used, reason = "it is taken when this is dropped")]
    fn deref(&self) -> &Connection {
        match self {
            Self::Writer(access) => access,
            Self::Reader { connection, .. } => connection.as_ref().expect("not dropped yet"),
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if let Self::Reader { connection, readers } = self {
            let mut idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_READERS {
                idle.extend(connection.take());
            }
        }
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
