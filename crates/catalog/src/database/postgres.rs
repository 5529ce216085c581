//! Asking PostgreSQL.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use postgres::types::{FromSql, IsNull, ToSql, Type, private::BytesMut};
use postgres::{Client, Config};

use super::error::DatabaseError;
use super::tls::Tls;
use super::value::{Answer, Value};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection whose packets are not acknowledged for so long is broken.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// Connections that are kept when nobody uses them, of each kind.
const IDLE: usize = 8;
/// Whoever wants one more than so many waits so long first.
const MOST: usize = 32;
const WAIT: Duration = Duration::from_secs(5);
/// One that was used so lately is not asked whether it still works.
const FRESH: Duration = Duration::from_millis(500);
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// A change that others are in the way of is done again so often.
const ATTEMPTS: u32 = 50;

/// Connections to a database.
pub(crate) struct Pool {
    settings: Arc<Settings>,
    /// Held for taking one and putting it back.
    state: Mutex<PoolState>,
    /// Rung when one is given back.
    freed: Condvar,
}

#[derive(Default)]
struct PoolState {
    /// Those that nobody uses.
    idle: Vec<PostgresConnection>,
    used: usize,
}

/// How connections are made.
struct Settings {
    config: Config,
    tls: Tls,
    /// Whether what they do is a change, and not only a question.
    changes: bool,
}

impl Settings {
    fn connect(&self) -> Result<Client, DatabaseError> {
        let mut client = self.config.connect(self.tls.connector()?).map_err(failed)?;
        let level = if self.changes {
            "SET default_transaction_isolation = 'serializable'"
        } else {
            "SET default_transaction_read_only = on"
        };
        client.batch_execute(level).map_err(failed)?;
        Ok(client)
    }
}

impl Pool {
    /// Connections to the database with this address.
    pub(crate) fn new(url: &str, changes: bool) -> Result<Self, DatabaseError> {
        let (address, tls) = Tls::split(url)?;
        let mut config = Config::from_str(&address).map_err(failed)?;
        config.ssl_mode(tls.mode);
        config.connect_timeout(CONNECT_TIMEOUT);
        config.application_name("tidemark");
        config.keepalives_idle(Duration::from_secs(30));
        // What was sent to nobody is given up; otherwise the system tries for a quarter of an hour.
        config.tcp_user_timeout(LOST_AFTER);
        let settings = Arc::new(Settings { config, tls, changes });
        Ok(Self { settings, state: Mutex::default(), freed: Condvar::new() })
    }

    /// A connection, which is made when it is used first; it is to be given back.
    pub(crate) fn take(&self) -> PostgresConnection {
        while let Some(idle) = self.take_idle() {
            if idle.answers() {
                return idle;
            }
            // The others are no better: each would be asked in vain for as long.
            let others = {
                let mut state = self.lock();
                state.used -= 1;
                std::mem::take(&mut state.idle)
            };
            drop(others);
        }
        PostgresConnection {
            settings: Arc::clone(&self.settings),
            client: RefCell::default(),
            prepared: RefCell::default(),
            is_in_transaction: Cell::new(false),
            has_conflict: Cell::new(false),
            has_failed: Cell::new(false),
            changes: Cell::new(0),
            used_at: Cell::new(Instant::now()),
        }
    }

    /// One that nobody uses; nothing where a new one is to be made. Waits a while where there are many
    /// already.
    fn take_idle(&self) -> Option<PostgresConnection> {
        let is_full = |state: &mut PoolState| state.idle.is_empty() && state.used >= MOST;
        let waited = self.freed.wait_timeout_while(self.lock(), WAIT, is_full);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.used += 1;
        state.idle.pop()
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a connection back.
    pub(crate) fn give_back(&self, connection: PostgresConnection) {
        self.lock().used -= 1;
        self.freed.notify_one();
        // Where somebody ended in the middle the server forgets what it did.
        if connection.is_in_transaction.get() || connection.is_broken() {
            return;
        }
        connection.used_at.set(Instant::now());
        let mut state = self.lock();
        if state.idle.len() < IDLE {
            state.idle.push(connection);
        }
    }
}

/// A connection that one thread has at a time.
pub(crate) struct PostgresConnection {
    settings: Arc<Settings>,
    client: RefCell<Option<Client>>,
    prepared: RefCell<HashMap<String, postgres::Statement>>,
    is_in_transaction: Cell<bool>,
    has_conflict: Cell<bool>,
    /// Whether a statement of the transaction failed, so that the server does nothing of it any more.
    has_failed: Cell<bool>,
    changes: Cell<u64>,
    used_at: Cell<Instant>,
}

/// What a server or the way to it says; its own words are more than the library's.
fn failed(error: postgres::Error) -> DatabaseError {
    let Some(said) = error.as_db_error() else {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        return DatabaseError::Away(format!("{error}{}", cause.unwrap_or_default()));
    };
    let text = format!("{} ({})", said.message(), said.code().code());
    if said.code().code().starts_with("23") {
        return DatabaseError::Constraint(text);
    }
    // It shuts down or starts, the connection broke, it has as many as it takes, or a newer server changed
    // the tables of a statement that was prepared before.
    let is_passing =
        ["57P", "08", "53", "0A"].iter().any(|class| said.code().code().starts_with(class));
    if is_passing { DatabaseError::Away(text) } else { DatabaseError::Postgres(text) }
}

fn is_conflict(error: &postgres::Error) -> bool {
    error.code().is_some_and(|code| {
        [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code)
    })
}

impl ToSql for Value {
    fn to_sql(
        &self,
        wanted: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) => match *wanted {
                Type::BOOL => (*number != 0).to_sql(wanted, out),
                Type::INT4 => i32::try_from(*number)?.to_sql(wanted, out),
                Type::TEXT => number.to_string().to_sql(wanted, out),
                _ => number.to_sql(&Type::INT8, out),
            },
            Self::Text(text) => text.to_sql(wanted, out),
            Self::Blob(bytes) => bytes.to_sql(wanted, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    postgres::types::to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(
        found: &Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        match *found {
            Type::INT8 => i64::from_sql(found, raw).map(Self::Integer),
            Type::INT4 => i32::from_sql(found, raw).map(|number| Self::Integer(number.into())),
            Type::BOOL => bool::from_sql(found, raw).map(|truth| Self::Integer(truth.into())),
            Type::BYTEA => Vec::from_sql(found, raw).map(Self::Blob),
            _ => String::from_sql(found, raw).map(Self::Text),
        }
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(found: &Type) -> bool {
        [Type::INT8, Type::INT4, Type::BOOL, Type::BYTEA, Type::TEXT, Type::VARCHAR, Type::UNKNOWN]
            .contains(found)
    }
}

/// The statement with `$1` where `?1` stands.
fn translated(sql: &str) -> String {
    sql.replace('?', "$")
}

impl PostgresConnection {
    /// Does something; what others are in the way of is done again where it stands alone.
    fn ask<T>(
        &self,
        mut ask: impl FnMut(&mut Client) -> Result<T, postgres::Error>,
    ) -> Result<T, DatabaseError> {
        for attempt in 0..ATTEMPTS {
            let mut place = self.client.borrow_mut();
            let client = match &mut *place {
                Some(client) => client,
                place => place.insert(self.settings.connect()?),
            };
            match ask(client) {
                Ok(value) => return Ok(value),
                Err(error) if is_conflict(&error) => {
                    self.has_failed.set(true);
                    if self.is_in_transaction.get() {
                        self.has_conflict.set(true);
                        return Err(DatabaseError::Conflict);
                    }
                    drop(place);
                    pause(attempt);
                }
                Err(error) => {
                    self.has_failed.set(true);
                    if error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) {
                        self.prepared.borrow_mut().clear();
                    }
                    return Err(failed(error));
                }
            }
        }
        Err(DatabaseError::Conflict)
    }

    /// Whether it still works, as far as that is to be asked: a server that was restarted meanwhile tells
    /// nobody.
    fn answers(&self) -> bool {
        if self.used_at.get().elapsed() < FRESH {
            return !self.is_broken();
        }
        let mut client = self.client.borrow_mut();
        client.as_mut().is_none_or(|client| client.is_valid(PING_TIMEOUT).is_ok())
    }

    /// Whether it ended, for whatever reason.
    fn is_broken(&self) -> bool {
        self.client.borrow().as_ref().is_some_and(Client::is_closed)
    }

    fn prepare(&self, sql: &str) -> Result<postgres::Statement, DatabaseError> {
        if let Some(prepared) = self.prepared.borrow().get(sql) {
            return Ok(prepared.clone());
        }
        let prepared = self.ask(|client| client.prepare(&translated(sql)))?;
        self.prepared.borrow_mut().insert(sql.to_owned(), prepared.clone());
        Ok(prepared)
    }

    pub(super) fn execute(&self, sql: &str, values: &[Value]) -> Result<usize, DatabaseError> {
        let prepared = self.prepare(sql)?;
        let params = as_params(values);
        let changed = self.ask(|client| client.execute(&prepared, &params))?;
        self.changes.set(self.changes.get() + changed);
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    pub(super) fn execute_batch(&self, sql: &str) -> Result<(), DatabaseError> {
        // The server says that such a commit succeeded, and takes everything back.
        if sql == "COMMIT" && self.has_failed.get() {
            self.execute_batch("ROLLBACK")?;
            let text = "a statement of the transaction failed, so that it never happened";
            return Err(DatabaseError::Postgres(text.to_owned()));
        }
        let done = self.ask(|client| client.batch_execute(sql));
        match sql.split_whitespace().next() {
            Some("BEGIN") => {
                self.is_in_transaction.set(done.is_ok());
                self.has_failed.set(false);
            }
            Some("ROLLBACK") if sql.contains("TO part") => self.has_failed.set(done.is_err()),
            // Whatever became of it, the server has ended the transaction.
            Some("COMMIT" | "ROLLBACK") => self.is_in_transaction.set(false),
            _ => {}
        }
        done
    }

    pub(super) fn query(&self, sql: &str, values: &[Value]) -> Result<Answer, DatabaseError> {
        let prepared = self.prepare(sql)?;
        let names: Arc<[String]> =
            prepared.columns().iter().map(|column| column.name().to_owned()).collect();
        let params = as_params(values);
        let rows = self.ask(|client| client.query(&prepared, &params))?;
        // A question may change something, with `RETURNING`.
        if !sql.trim_start().starts_with("SELECT") {
            self.changes.set(self.changes.get() + rows.len() as u64);
        }
        let value = |row: &postgres::Row, place| row.try_get::<_, Value>(place).map_err(failed);
        let read = |row: &postgres::Row| (0..names.len()).map(|place| value(row, place)).collect();
        let found = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok((names, found))
    }

    pub(super) fn is_autocommit(&self) -> bool {
        !self.is_in_transaction.get()
    }

    pub(super) fn total_changes(&self) -> u64 {
        self.changes.get()
    }

    pub(super) fn take_conflict(&self) -> bool {
        self.has_conflict.take()
    }
}

fn as_params(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

/// Waits before something is done again, longer each time, and not as long as others.
pub(crate) fn pause(attempt: u32) {
    let [random] = tidemark_model::random_bytes::<1>();
    let longest = 1_u64 << attempt.min(7);
    std::thread::sleep(Duration::from_micros(longest * 1_000 * u64::from(random) / 255 + 100));
}
