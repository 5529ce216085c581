//! The open catalog.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tidemark_model::Clock;

use crate::database::{Connection, DatabaseError, Pool, SqliteConnection, pause};
use crate::error::CatalogError;
use crate::schema;

/// All durable records of a server.
///
/// In SQLite one connection writes and others read beside it what was committed last; PostgreSQL
/// has several of each, and other servers besides.
pub struct Catalog {
    backend: Backend,
    generation: AtomicU64,
    /// Rung after every change.
    bell: Bell,
    /// What was promised about snapshots, for the views of transactions too.
    promise: Arc<OnceLock<Promise>>,
}

/// For how long snapshots are kept once they are complete, by the vault that they are in.
struct Promise {
    clock: Clock,
    kept_for: Vec<(Option<String>, SignedDuration)>,
}

enum Backend {
    Sqlite {
        /// Held over one transaction with its sync to the disk, by whoever changes records.
        writer: Mutex<Option<Connection>>,
        /// `None` where reading needs the writer's connection: in memory.
        readers: Option<Readers>,
    },
    Postgres {
        writers: Pool,
        readers: Pool,
    },
    /// The view of a transaction that is going on.
    Transaction(Mutex<Option<Connection>>),
}

/// Wakes those who wait for a change.
#[derive(Default)]
struct Bell {
    /// Held for going to sleep and for ringing.
    lock: Mutex<()>,
    rung: Condvar,
}

/// Connections that read a file.
pub(crate) struct Readers {
    path: PathBuf,
    /// Those that nobody uses; held for taking one and putting it back.
    idle: Mutex<Vec<Connection>>,
}

/// Connections that are kept when nobody uses them.
const IDLE_READERS: usize = 16;
const BUSY_PATIENCE: Duration = Duration::from_secs(10);
const CACHED_STATEMENTS: usize = 128;
/// A transaction that others are in the way of is done again so often.
const ATTEMPTS: u32 = 50;
/// How soon a change by another server is seen.
const POLL: Duration = Duration::from_secs(1);

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
        let writer = prepare(rusqlite::Connection::open(path).map_err(DatabaseError::from)?)?;
        let readers = Readers { path: path.to_owned(), idle: Mutex::default() };
        Ok(Self::with(Backend::Sqlite { writer: Mutex::new(Some(writer)), readers: Some(readers) }))
    }

    /// Opens or creates the catalog in a PostgreSQL database, which other servers may use, too.
    pub fn connect(url: &str) -> Result<Self, CatalogError> {
        let (writers, readers) = (Pool::new(url, true)?, Pool::new(url, false)?);
        let connection = Connection::Postgres(Box::new(writers.take()));
        schema::migrate_postgres(&connection)?;
        if let Connection::Postgres(connection) = connection {
            writers.give_back(*connection);
        }
        Ok(Self::with(Backend::Postgres { writers, readers }))
    }

    /// A catalog that is gone when it is dropped, for tests.
    pub fn in_memory() -> Result<Self, CatalogError> {
        let opened = rusqlite::Connection::open_in_memory().map_err(DatabaseError::from)?;
        let writer = Mutex::new(Some(prepare(opened)?));
        Ok(Self::with(Backend::Sqlite { writer, readers: None }))
    }

    /// Whether other processes may serve the same records.
    pub fn is_shared(&self) -> bool {
        matches!(self.backend, Backend::Postgres { .. })
    }

    /// What the clock of a database says that others share; nothing where there is none.
    pub fn shared_clock(&self) -> Result<Option<Timestamp>, CatalogError> {
        if !self.is_shared() {
            return Ok(None);
        }
        let sql = "SELECT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)";
        let millis: i64 = self.read()?.query_row(sql, (), |row| row.get(0))?;
        Ok(Timestamp::from_millisecond(millis).ok())
    }

    fn with(backend: Backend) -> Self {
        let (generation, bell) = (AtomicU64::new(0), Bell::default());
        Self { backend, generation, bell, promise: Arc::default() }
    }

    /// Promises that no snapshot is removed for so long after it is complete, by whatever way, as the vault
    /// that it is in promises; one in a vault that is not named here is kept, because what that one promises
    /// is not known. From then on that holds for as long as the process runs.
    pub fn keep_snapshots_for(
        &self,
        kept_for: Vec<(Option<String>, SignedDuration)>,
        clock: Clock,
    ) {
        let _ = self.promise.set(Promise { clock, kept_for });
    }

    /// Until when a snapshot in a vault is kept that was complete at an instant, if that is to come.
    pub(crate) fn kept_until(
        &self,
        vault: Option<&str>,
        finished_at: Timestamp,
    ) -> Option<Timestamp> {
        let promise = self.promise.get()?;
        let known = promise.kept_for.iter().find(|(name, _)| name.as_deref() == vault);
        let kept_for = known.map_or(SignedDuration::MAX, |(_, kept_for)| *kept_for);
        if kept_for.is_zero() {
            return None;
        }
        let until = finished_at.saturating_add(kept_for).unwrap_or(Timestamp::MAX);
        (until > promise.clock.now()).then_some(until)
    }

    /// A number that is another after every change of a record; of a change by another server within
    /// a second, if somebody waits for it.
    ///
    /// What was read at a generation may be kept for as long as the generation stays.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Waits until the generation is another than `seen`, at most for `patience`.
    pub fn wait_for_change(&self, seen: u64, patience: Duration) {
        let patience = match self.backend {
            Backend::Postgres { .. } => patience.min(POLL),
            _ => patience,
        };
        let lock = self.bell.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever changes something rings while it holds the same lock.
        let is_same = |(): &mut ()| self.generation() == seen;
        let waited = self.bell.rung.wait_timeout_while(lock, patience, is_same);
        let (lock, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(lock);
        if waited.timed_out() && matches!(self.backend, Backend::Postgres { .. }) {
            // Another server may have changed something.
            self.ring();
        }
    }

    fn ring(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        let _asleep = self.bell.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.bell.rung.notify_all();
    }

    /// Does everything that `work` does with the catalog that it is given in one transaction: all
    /// of it is durable when this returns, or nothing of it happened. Nobody else changes anything
    /// of what `work` reads before it ends, or it is done again.
    pub fn transact<T, E: From<CatalogError>>(
        &self,
        mut work: impl FnMut(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.transact_with(&mut work, Self::lock)
    }

    /// The same where nobody waits for what it changes.
    pub(crate) fn transact_quietly<T, E: From<CatalogError>>(
        &self,
        mut work: impl FnMut(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.transact_with(&mut work, Self::lock_quietly)
    }

    fn transact_with<T, E: From<CatalogError>>(
        &self,
        mut work: &mut impl FnMut(&Self) -> Result<T, E>,
        lock: impl Fn(&Self) -> Access<'_>,
    ) -> Result<T, E> {
        if matches!(self.backend, Backend::Transaction(_)) {
            return self.transact_part(work);
        }
        for attempt in 0..ATTEMPTS {
            let mut access = lock(self);
            let (outcome, was_overtaken) = run_once((access.slot(), &self.promise), &mut work);
            if !was_overtaken {
                return outcome;
            }
            drop(access);
            pause(attempt);
        }
        Err(CatalogError::Database(DatabaseError::Conflict).into())
    }

    /// A part of the transaction that is going on: where it fails, only the part never happened.
    fn transact_part<T, E: From<CatalogError>>(
        &self,
        mut work: impl FnMut(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let run = |sql: &str| self.lock().execute_batch(sql).map_err(CatalogError::from);
        run("SAVEPOINT part")?;
        let outcome = work(self);
        match &outcome {
            Ok(_) => run("RELEASE part")?,
            // If this fails the whole of it does.
            Err(_) => drop(run("ROLLBACK TO part; RELEASE part")),
        }
        outcome
    }

    pub(crate) fn lock(&self) -> Access<'_> {
        let held = match &self.backend {
            // SQLite rolls back what a panic left open.
            Backend::Sqlite { writer, .. } | Backend::Transaction(writer) => {
                Held::Only(writer.lock().unwrap_or_else(PoisonError::into_inner))
            }
            Backend::Postgres { writers, .. } => Held::One {
                connection: Some(Connection::Postgres(Box::new(writers.take()))),
                pool: writers,
            },
        };
        let before = held.get().map_or(0, Connection::total_changes);
        Access { held, catalog: self, before, is_quiet: false }
    }

    /// The same for what nobody waits for: it wakes nobody.
    pub(crate) fn lock_quietly(&self) -> Access<'_> {
        let mut access = self.lock();
        access.is_quiet = true;
        access
    }

    /// A connection that only reads.
    pub(crate) fn read(&self) -> Result<Reading<'_>, CatalogError> {
        let readers = match &self.backend {
            Backend::Sqlite { readers: Some(readers), .. } => readers,
            Backend::Postgres { readers, .. } => {
                let connection = Some(Connection::Postgres(Box::new(readers.take())));
                return Ok(Reading::Server { connection, pool: readers });
            }
            _ => return Ok(Reading::Writer(self.lock())),
        };
        let idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open_reader(&readers.path)?,
        };
        Ok(Reading::Reader { connection: Some(connection), readers })
    }
}

/// Does the work of a transaction once; answers what came of it, and whether others were in the way so that
/// it is to be done again.
fn run_once<T, E: From<CatalogError>>(
    (place, promise): (&mut Option<Connection>, &Arc<OnceLock<Promise>>),
    work: &mut impl FnMut(&Catalog) -> Result<T, E>,
) -> (Result<T, E>, bool) {
    let borrowed = Borrowed::take(place, promise);
    let outcome = (|| {
        borrowed.catalog.lock().start().map_err(CatalogError::from)?;
        // What ends early is rolled back when it is given back.
        let value = work(&borrowed.catalog)?;
        borrowed.catalog.lock().execute_batch("COMMIT").map_err(CatalogError::from)?;
        Ok(value)
    })();
    // What was committed is not done again, whatever a part of it met with.
    let was_overtaken = borrowed.catalog.lock().take_conflict() && outcome.is_err();
    (outcome, was_overtaken)
}

fn open_reader(path: &Path) -> Result<Connection, DatabaseError> {
    let connection = rusqlite::Connection::open(path)?;
    connection.busy_timeout(BUSY_PATIENCE)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(Connection::Sqlite(SqliteConnection::new(connection)))
}

fn prepare(mut connection: rusqlite::Connection) -> Result<Connection, CatalogError> {
    let set = |connection: &rusqlite::Connection| -> Result<(), DatabaseError> {
        connection.busy_timeout(BUSY_PATIENCE)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        Ok(())
    };
    set(&connection)?;
    schema::migrate(&mut connection)?;
    Ok(Connection::Sqlite(SqliteConnection::new(connection)))
}

/// A connection in the hands of a transaction; it is put back in any case.
struct Borrowed<'a> {
    catalog: Catalog,
    place: &'a mut Option<Connection>,
}

impl<'a> Borrowed<'a> {
    fn take(place: &'a mut Option<Connection>, promise: &Arc<OnceLock<Promise>>) -> Self {
        // Nobody may take for new what is not committed: the view has a generation of its own.
        let view = Catalog::with(Backend::Transaction(Mutex::new(place.take())));
        let catalog = Catalog { promise: Arc::clone(promise), ..view };
        Self { catalog, place }
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Backend::Transaction(connection) = &mut self.catalog.backend {
            let slot = connection.get_mut().unwrap_or_else(PoisonError::into_inner);
            if let Some(connection) = slot
                && !connection.is_autocommit()
            {
                let _ = connection.execute_batch("ROLLBACK");
            }
            *self.place = slot.take();
        }
    }
}

/// How a connection is held.
enum Held<'a> {
    /// The only one.
    Only(MutexGuard<'a, Option<Connection>>),
    /// One of several.
    One { connection: Option<Connection>, pool: &'a Pool },
}

impl Held<'_> {
    fn get(&self) -> Option<&Connection> {
        match self {
            Self::Only(connection) => connection.as_ref(),
            Self::One { connection, .. } => connection.as_ref(),
        }
    }
}

/// A connection that changes records, for as long as nobody else needs it.
pub(crate) struct Access<'a> {
    held: Held<'a>,
    catalog: &'a Catalog,
    /// How much it had changed when it was taken.
    before: u64,
    /// Whether nobody is told that something changed.
    is_quiet: bool,
}

impl Access<'_> {
    fn slot(&mut self) -> &mut Option<Connection> {
        match &mut self.held {
            Held::Only(connection) => connection,
            Held::One { connection, .. } => connection,
        }
    }
}

const THERE: &str = "a transaction puts the connection back";

impl Deref for Access<'_> {
    type Target = Connection;

    #[expect(clippy::expect_used, reason = "only `Borrowed` takes it, while it is locked")]
    fn deref(&self) -> &Connection {
        self.held.get().expect(THERE)
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        // Before anybody can read what was changed.
        let Some(connection) = self.held.get() else { return };
        let present = connection.total_changes();
        if present != self.before && !self.is_quiet {
            self.catalog.ring();
        }
        if let Held::One { connection, pool } = &mut self.held
            && let Some(Connection::Postgres(connection)) = connection.take()
        {
            pool.give_back(*connection);
        }
    }
}

/// A connection to read from.
pub(crate) enum Reading<'a> {
    Writer(Access<'a>),
    Reader { connection: Option<Connection>, readers: &'a Readers },
    Server { connection: Option<Connection>, pool: &'a Pool },
}

impl Deref for Reading<'_> {
    type Target = Connection;

    #[expect(clippy::expect_used, reason = "it is taken when this is dropped")]
    fn deref(&self) -> &Connection {
        match self {
            Self::Writer(access) => access,
            Self::Reader { connection, .. } | Self::Server { connection, .. } => {
                connection.as_ref().expect("not dropped yet")
            }
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        match self {
            Self::Writer(_) => {}
            Self::Reader { connection, readers } => {
                let mut idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner);
                if idle.len() < IDLE_READERS {
                    idle.extend(connection.take());
                }
            }
            Self::Server { connection, pool } => {
                if let Some(Connection::Postgres(connection)) = connection.take() {
                    pool.give_back(*connection);
                }
            }
        }
    }
}

/// Says that a unique name is taken, where the database says that a constraint failed.
pub(crate) fn taken(error: DatabaseError, what: impl Into<String>) -> CatalogError {
    match error {
        DatabaseError::Constraint(_) => CatalogError::AlreadyExists(what.into()),
        error => CatalogError::Database(error),
    }
}

/// Proves that exactly one row changed.
pub(crate) fn one_row(
    changed: usize,
    what: impl FnOnce() -> CatalogError,
) -> Result<(), CatalogError> {
    if changed == 1 { Ok(()) } else { Err(what()) }
}
