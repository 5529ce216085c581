//! Leases: who works on a job, and until when.

use jiff::{SignedDuration, Timestamp};

use crate::database::{Connection, OptionalExtension};
use crate::error::CatalogError;
use crate::row::Decoder;

/// A worker, and the present.
#[derive(Debug, Clone)]
pub struct LeaseHolder {
    /// The worker's name; another after every start.
    pub worker: String,
    /// How long a lease lasts unless it is renewed.
    pub duration: SignedDuration,
}

impl LeaseHolder {
    pub(crate) fn until(&self, now: Timestamp) -> i64 {
        now.as_second().saturating_add(self.duration.as_secs())
    }
}

/// Who may touch an instance now, as a condition: nobody before it is up or while it is repaired, and
/// one job at a time, whether it is a snapshot of it or a restore into it. `id` and `instance` are
/// SQL for the job's id and the instance's. One that is being removed may be touched: its jobs fail
/// rather than wait for ever. A restore into a deployment and one into a part of it write to the same
/// databases. A row that was set aside holds up nobody, and neither does a dump that
/// is imported: the instance has nothing to do with that. What is open is asked for in the words of its
/// index, however many jobs are over (`who_claims_looks_at_open_jobs_only`).
pub(crate) fn may_touch(id: &str, instance: &str) -> String {
    format!(
        "EXISTS (
             SELECT 1 FROM instances i WHERE i.id = {instance} AND (
                 i.state IN ('DELETING', 'DELETED')
                 OR (i.state NOT IN ('CREATING', 'REPAIRING')
                     AND (i.port IS NOT NULL OR i.backing = 'attached'))))
         AND NOT EXISTS (
             SELECT 1 FROM restore_jobs o
             WHERE o.target_id IN (
                 SELECT {instance} UNION SELECT instance_id FROM deployments WHERE placed_on = {instance}
                 UNION SELECT placed_on FROM deployments WHERE instance_id = {instance})
             AND o.id <> {id} AND o.state = 'running' AND o.state IN ('queued', 'running') AND o.quarantined IS NULL)
         AND NOT EXISTS (
             SELECT 1 FROM snapshots o
             WHERE o.instance_id = {instance} AND o.id <> {id} AND o.state = 'inProgress' AND o.state IN ('queued', 'inProgress')
             AND o.quarantined IS NULL AND o.is_imported = 0)"
    )
}

/// The proof that a worker holds a job: its attempt is the fencing token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim<I> {
    /// The job.
    pub id: I,
    /// Which attempt at the job this is.
    pub attempt: i64,
}

impl<I: std::fmt::Display> Claim<I> {
    /// Refuses a claim on a job of a table that somebody has claimed since. That comes before any look at the
    /// job's state: who has lost a job that is over has lost it all the same, and has to tidy up
    /// (`a_stale_claim_is_refused`).
    pub(crate) fn check(
        &self,
        connection: &Connection,
        (table, kind): (&'static str, &str),
    ) -> Result<(), CatalogError> {
        let newest: Option<i64> = connection
            .query_row(
                &format!("SELECT attempt FROM {table} WHERE id = ?1"),
                [self.id.to_string()],
                |row| row.get(0),
            )
            .optional()?;
        match newest {
            None => Err(CatalogError::Missing(format!("{kind} {}", self.id))),
            Some(newest) if newest != self.attempt => {
                Err(CatalogError::LeaseLost(format!("{kind} {}", self.id)))
            }
            Some(_) => Ok(()),
        }
    }
}

/// How much a job has moved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Done {
    /// Documents.
    pub documents: u64,
    /// Bytes of documents.
    pub bytes: u64,
    /// Bytes that are to be moved; 0 while that is not known.
    pub total_bytes: u64,
    /// Bytes that were moved in the last second.
    pub bytes_per_second: u64,
    /// What is being moved.
    pub namespace: Option<String>,
}

/// How much a job has moved.
pub(crate) fn decode_done(row: &Decoder<'_>) -> Result<Done, CatalogError> {
    let number = |column: &str| -> Result<u64, CatalogError> {
        let number: i64 = row.get(column)?;
        u64::try_from(number).map_err(|_| row.corrupt(format!("{column} holds {number}")))
    };
    Ok(Done {
        documents: number("documents_done")?,
        bytes: number("bytes_done")?,
        total_bytes: number("bytes_total")?,
        bytes_per_second: number("bytes_per_second")?,
        namespace: row.get("namespace_now")?,
    })
}
