//! Why a database did not do what was asked.

/// Why a database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// SQLite failed.
    #[error("{0}")]
    Sqlite(rusqlite::Error),
    /// PostgreSQL failed.
    #[error("{0}")]
    Postgres(String),
    /// The database cannot be reached, has no room, or does not take questions at the moment: the same may
    /// succeed later.
    #[error("{0}")]
    Away(String),
    /// Something must be unique or refer to something, and is not or does not.
    #[error("a constraint does not hold: {0}")]
    Constraint(String),
    /// Others changed what was read; the transaction was done again and again in vain.
    #[error("others changed the same records again and again")]
    Conflict,
    /// There is no row.
    #[error("there is no such row")]
    NoRow,
    /// A column holds something else.
    #[error("{0}")]
    Column(String),
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{
            CannotOpen, ConstraintViolation, DatabaseBusy, DiskFull, SystemIoFailure,
        };
        match error.sqlite_error_code() {
            Some(ConstraintViolation) => Self::Constraint(error.to_string()),
            Some(DiskFull | SystemIoFailure | CannotOpen | DatabaseBusy) => {
                Self::Away(error.to_string())
            }
            _ => Self::Sqlite(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DatabaseError;

    #[test]
    fn a_database_without_room_may_have_some_later() {
        let database = rusqlite::Connection::open_in_memory().unwrap();
        let settings = "PRAGMA max_page_count = 8; CREATE TABLE things (bytes BLOB)";
        database.execute_batch(settings).unwrap();
        let add = || database.execute("INSERT INTO things VALUES (zeroblob(8000))", []);
        let error = std::iter::repeat_with(add).find_map(Result::err).unwrap();
        assert!(matches!(DatabaseError::from(error), DatabaseError::Away(_)));
    }
}
