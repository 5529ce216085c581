//! One way to ask two databases: SQLite and PostgreSQL.
//!
//! Statements are written in what both understand, with `?1`, `?2` … for parameters, numbers and
//! texts as the only types, and `EXISTS` and comparisons as truths. PostgreSQL runs every change at
//! the level `SERIALIZABLE`: what one transaction read stays true until it ends, or it is done again.

mod error;
mod postgres;
mod sqlite;
mod tls;
mod value;

use std::sync::Arc;

pub use error::DatabaseError;
pub(crate) use postgres::{Pool, PostgresConnection, pause};
pub(crate) use sqlite::SqliteConnection;
use value::Value;
pub(crate) use value::{FromValue, Params, Row};

/// A connection to either database.
pub(crate) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(Box<PostgresConnection>),
}

/// The rows of an answer.
pub(crate) struct Rows {
    rows: std::vec::IntoIter<Row>,
    present: Option<Row>,
}

impl Rows {
    /// The next row.
    pub(crate) fn next(&mut self) -> Result<Option<&Row>, DatabaseError> {
        self.present = self.rows.next();
        Ok(self.present.as_ref())
    }
}

impl Connection {
    /// Changes records; answers how many.
    pub(crate) fn execute(&self, sql: &str, params: impl Params) -> Result<usize, DatabaseError> {
        self.execute_values(sql, &params.into_values())
    }

    /// The same with values of rows.
    pub(crate) fn execute_values(
        &self,
        sql: &str,
        values: &[Value],
    ) -> Result<usize, DatabaseError> {
        match self {
            Self::Sqlite(connection) => connection.execute(sql, values),
            Self::Postgres(connection) => connection.execute(sql, values),
        }
    }

    /// Rows, asked for with values of other rows.
    pub(crate) fn query_values(&self, sql: &str, values: &[Value]) -> Result<Rows, DatabaseError> {
        self.rows(sql, values)
    }

    /// Several statements without parameters.
    pub(crate) fn execute_batch(&self, sql: &str) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(connection) => connection.execute_batch(sql),
            Self::Postgres(connection) => connection.execute_batch(sql),
        }
    }

    fn rows(&self, sql: &str, values: &[Value]) -> Result<Rows, DatabaseError> {
        let (names, rows) = match self {
            Self::Sqlite(connection) => connection.query(sql, values)?,
            Self::Postgres(connection) => connection.query(sql, values)?,
        };
        let rows: Vec<Row> =
            rows.into_iter().map(|values| Row { names: Arc::clone(&names), values }).collect();
        Ok(Rows { rows: rows.into_iter(), present: None })
    }

    /// Something of the only row of an answer.
    pub(crate) fn query_row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let mut rows = self.rows(sql, &params.into_values())?;
        read(rows.next()?.ok_or(DatabaseError::NoRow)?)
    }

    /// A statement that is prepared once for each connection.
    pub(crate) fn prepare_cached<'a>(&'a self, sql: &str) -> Result<Statement<'a>, DatabaseError> {
        Ok(Statement { connection: self, sql: sql.to_owned() })
    }

    /// Begins a transaction that changes something.
    pub(crate) fn start(&self) -> Result<(), DatabaseError> {
        self.execute_batch(match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
            Self::Postgres(_) => "BEGIN",
        })
    }

    /// Begins a transaction that only reads; it is over when it is dropped.
    pub(crate) fn begin_reading(&self) -> Result<OneMoment<'_>, DatabaseError> {
        self.execute_batch("BEGIN")?;
        Ok(OneMoment(self))
    }

    /// Whether no transaction is going on.
    pub(crate) fn is_autocommit(&self) -> bool {
        match self {
            Self::Sqlite(connection) => connection.is_autocommit(),
            Self::Postgres(connection) => connection.is_autocommit(),
        }
    }

    /// A number that is another after every change by this connection.
    pub(crate) fn total_changes(&self) -> u64 {
        match self {
            Self::Sqlite(connection) => connection.total_changes(),
            Self::Postgres(connection) => connection.total_changes(),
        }
    }

    /// Whether a statement failed because of what others did at the same time, since this was asked last: then
    /// the whole transaction is to be done again.
    pub(crate) fn take_conflict(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(connection) => connection.take_conflict(),
        }
    }
}

/// A statement of a connection.
pub(crate) struct Statement<'a> {
    connection: &'a Connection,
    sql: String,
}

impl Statement<'_> {
    pub(crate) fn execute(&mut self, params: impl Params) -> Result<usize, DatabaseError> {
        self.connection.execute(&self.sql, params)
    }

    pub(crate) fn query(&mut self, params: impl Params) -> Result<Rows, DatabaseError> {
        self.connection.rows(&self.sql, &params.into_values())
    }

    pub(crate) fn query_row<T>(
        &mut self,
        params: impl Params,
        read: impl FnOnce(&Row) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        self.connection.query_row(&self.sql, params, read)
    }

    /// Something of every row.
    pub(crate) fn query_map<T>(
        &mut self,
        params: impl Params,
        read: impl Fn(&Row) -> Result<T, DatabaseError>,
    ) -> Result<std::vec::IntoIter<Result<T, DatabaseError>>, DatabaseError> {
        let rows = self.query(params)?.rows;
        Ok(rows.map(|row| read(&row)).collect::<Vec<_>>().into_iter())
    }

    /// Whether there is a row.
    pub(crate) fn exists(&mut self, params: impl Params) -> Result<bool, DatabaseError> {
        Ok(self.query(params)?.next()?.is_some())
    }
}

/// A transaction that only reads.
pub(crate) struct OneMoment<'a>(&'a Connection);

impl Drop for OneMoment<'_> {
    fn drop(&mut self) {
        let _ = self.0.execute_batch("ROLLBACK");
    }
}

/// No row where one may be is nothing.
pub(crate) trait OptionalExtension<T> {
    fn optional(self) -> Result<Option<T>, DatabaseError>;
}

impl<T> OptionalExtension<T> for Result<T, DatabaseError> {
    fn optional(self) -> Result<Option<T>, DatabaseError> {
        match self {
            Err(DatabaseError::NoRow) => Ok(None),
            outcome => outcome.map(Some),
        }
    }
}
