//! Tables, and how an older file becomes the present one.

use crate::database::{Connection, DatabaseError};
use crate::error::CatalogError;

/// One step a version; a released step never changes.
const STEPS: &[&str] = &[
    include_str!("schema/0001.sql"),
    include_str!("schema/0002.sql"),
    include_str!("schema/0003.sql"),
    include_str!("schema/0004.sql"),
    include_str!("schema/0005.sql"),
    include_str!("schema/0006.sql"),
    include_str!("schema/0007.sql"),
    include_str!("schema/0008.sql"),
    include_str!("schema/0009.sql"),
    include_str!("schema/0010.sql"),
    include_str!("schema/0011.sql"),
    include_str!("schema/0012.sql"),
    include_str!("schema/0013.sql"),
];

/// What PostgreSQL begins with: the tables of the version `POSTGRES_BEGINS`, at once.
const POSTGRES: &str = include_str!("schema/postgres.sql");
const POSTGRES_BEGINS: usize = 7;
/// The lock that whoever changes the tables holds; any number that nobody else uses.
const MIGRATION_LOCK: i64 = 0x7469_6465_6d61_726b;

fn known() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

fn check_known(found: i64) -> Result<(), CatalogError> {
    let known = known();
    if found > known { Err(CatalogError::NewerVersion { found, known }) } else { Ok(()) }
}

/// Brings a file to the present version.
pub(crate) fn migrate(connection: &mut rusqlite::Connection) -> Result<(), CatalogError> {
    let found = connection.query_row("PRAGMA user_version", [], |row| row.get(0));
    let found: i64 = found.map_err(DatabaseError::from)?;
    check_known(found)?;
    for (version, step) in (1i64..).zip(STEPS).filter(|(version, _)| *version > found) {
        apply(connection, (version, step)).map_err(DatabaseError::from)?;
    }
    Ok(())
}

fn apply(
    connection: &mut rusqlite::Connection,
    (version, step): (i64, &str),
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(step)?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}

/// Brings a PostgreSQL database to the present version; servers that start at the same time do it one
/// after another.
pub(crate) fn migrate_postgres(connection: &Connection) -> Result<(), CatalogError> {
    connection.execute_batch("SET client_min_messages = warning")?;
    // A transaction of another level would not see what the one before it did.
    connection.execute_batch("BEGIN ISOLATION LEVEL READ COMMITTED")?;
    let outcome = migrate_locked(connection);
    connection.execute_batch(if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    outcome
}

/// A step in the words of PostgreSQL. Texts are compared by their bytes, as SQLite does.
fn for_postgres(step: &str) -> String {
    let words = [
        (" INTEGER", " BIGINT"),
        (" TEXT", " TEXT COLLATE \"C\""),
        (" BLOB", " BYTEA"),
        (" STRICT", ""),
    ];
    words.iter().fold(step.to_owned(), |step, (ours, theirs)| step.replace(ours, theirs))
}

fn migrate_locked(connection: &Connection) -> Result<(), CatalogError> {
    connection.query_row(
        "SELECT 1 FROM pg_advisory_xact_lock(?1)",
        [MIGRATION_LOCK],
        |_| Ok(()),
    )?;
    connection
        .execute_batch("CREATE TABLE IF NOT EXISTS tidemark_schema (version BIGINT NOT NULL)")?;
    let sql = "SELECT coalesce(max(version), 0) FROM tidemark_schema";
    let mut found: i64 = connection.query_row(sql, (), |row| row.get(0))?;
    check_known(found)?;
    if found == 0 {
        connection.execute_batch(POSTGRES)?;
        found = i64::try_from(POSTGRES_BEGINS).unwrap_or(i64::MAX);
    }
    for (_, step) in (1i64..).zip(STEPS).filter(|(version, _)| *version > found) {
        connection.execute_batch(&for_postgres(step))?;
    }
    connection.execute_batch("DELETE FROM tidemark_schema")?;
    connection.execute("INSERT INTO tidemark_schema (version) VALUES (?1)", [known()])?;
    Ok(())
}
