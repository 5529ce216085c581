//! Asking SQLite.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Statement, ToSql, params_from_iter};

use super::error::DatabaseError;
use super::value::{Answer, Value};

/// A connection to a file.
pub(crate) struct SqliteConnection {
    connection: rusqlite::Connection,
    /// The names of columns by statement: the tables do not change while a connection is open.
    names: RefCell<HashMap<String, Arc<[String]>>>,
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn value_of(value: ValueRef<'_>) -> Result<Value, DatabaseError> {
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(number) => Ok(Value::Integer(number)),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::Text(text.to_owned())),
            Err(_) => Err(DatabaseError::Column("a text is not UTF-8".to_owned())),
        },
        ValueRef::Blob(bytes) => Ok(Value::Blob(bytes.to_vec())),
        other @ ValueRef::Real(_) => {
            Err(DatabaseError::Column(format!("a column is {:?}", other.data_type())))
        }
    }
}

fn read(
    statement: &mut Statement<'_>,
    names: Arc<[String]>,
    values: &[Value],
) -> Result<Answer, DatabaseError> {
    let mut found = Vec::new();
    let mut rows = statement.query(params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        let value = |place| value_of(row.get_ref(place)?);
        found.push((0..names.len()).map(value).collect::<Result<_, _>>()?);
    }
    Ok((names, found))
}

impl SqliteConnection {
    pub(crate) fn new(connection: rusqlite::Connection) -> Self {
        Self { connection, names: RefCell::default() }
    }

    pub(super) fn execute(&self, sql: &str, values: &[Value]) -> Result<usize, DatabaseError> {
        Ok(self.connection.prepare_cached(sql)?.execute(params_from_iter(values))?)
    }

    pub(super) fn execute_batch(&self, sql: &str) -> Result<(), DatabaseError> {
        Ok(self.connection.execute_batch(sql)?)
    }

    pub(super) fn query(&self, sql: &str, values: &[Value]) -> Result<Answer, DatabaseError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut known = self.names.borrow_mut();
        let names = if let Some(names) = known.get(sql) {
            Arc::clone(names)
        } else {
            let names: Arc<[String]> = statement.column_names().map(str::to_owned).collect();
            known.insert(sql.to_owned(), Arc::clone(&names));
            names
        };
        drop(known);
        read(&mut statement, names, values)
    }

    pub(super) fn is_autocommit(&self) -> bool {
        self.connection.is_autocommit()
    }

    pub(super) fn total_changes(&self) -> u64 {
        self.connection.total_changes()
    }
}
