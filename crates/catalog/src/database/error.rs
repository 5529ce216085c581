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
    /// PostgreSQL cannot be reached, or does not take questions at the moment: the same may succeed later.
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
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => Self::Constraint(error.to_string()),
            _ => Self::Sqlite(error),
        }
    }
}
