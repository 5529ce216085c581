//! Why the catalog did not do what was asked.

use tidemark_model::InvalidTransition;

use crate::database::DatabaseError;

/// Why the catalog did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The database failed.
    #[error(
        "the catalog database failed ({0}); check the disk and the permissions of the data folder, or the database server"
    )]
    Database(#[from] DatabaseError),
    /// A row contradicts itself.
    #[error("the row {id} of {table} is unusable: {reason}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// There is already something with this name.
    #[error("{0} exists already")]
    AlreadyExists(String),
    /// There is nothing with this name or id.
    #[error("{0} does not exist")]
    Missing(String),
    /// Something else has to end first.
    #[error("{0}")]
    InUse(String),
    /// It was promised to keep it until then.
    #[error("{what} is kept until {until}, whoever wants it removed")]
    Kept {
        /// What is kept.
        what: String,
        /// Until when.
        until: jiff::Timestamp,
    },
    /// Another worker holds the job, or the lease ran out; stop and write nothing.
    #[error("the lease on {0} was lost")]
    LeaseLost(String),
    /// The job's state does not allow it.
    #[error(transparent)]
    Transition(#[from] InvalidTransition),
    /// The file was written by a newer release.
    #[error("the catalog has version {found}, this release knows {known}; use a newer release")]
    NewerVersion {
        /// The file's version.
        found: i64,
        /// The newest version this release knows.
        known: i64,
    },
}
