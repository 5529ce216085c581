//! Figures of everything, for whoever watches: each in one question, however many instances there are.

use jiff::Timestamp;
use tidemark_model::{InstanceId, OplogTime, ProjectId};

use crate::catalog::Catalog;
use crate::database::Row;
use crate::error::CatalogError;
use crate::row::{Decoder, decode_all};

/// Jobs of a kind that are in a state, or that ended so since the records began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobCount {
    /// `snapshot`, `restore` or `drill`.
    pub kind: &'static str,
    /// The word for the state or the outcome.
    pub state: String,
    /// How many there are.
    pub count: u64,
}

/// How well an instance is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// The instance.
    pub instance: InstanceId,
    /// Its name.
    pub name: String,
    /// Its project.
    pub project: ProjectId,
    /// The word for its state.
    pub state: String,
    /// When its newest complete snapshot was complete.
    pub newest_snapshot: Option<Timestamp>,
    /// Bytes of documents in that.
    pub logical_bytes: Option<u64>,
    /// Through where its oplog is captured.
    pub captured_through: Option<OplogTime>,
    /// The oldest moment of the newest span that can be restored.
    pub restorable_from: Option<OplogTime>,
    /// When a drill brought everything back last.
    pub proven_at: Option<Timestamp>,
    /// Whether its newest snapshot failed, and when.
    pub failed_at: Option<Timestamp>,
}

const OPEN: &str = "SELECT kind AS id, state, count(*) AS count FROM (
     SELECT 'snapshot' AS kind, state FROM snapshots WHERE state IN ('queued', 'inProgress')
     UNION ALL SELECT 'restore', state FROM restore_jobs WHERE state IN ('queued', 'running')
     UNION ALL SELECT 'drill', state FROM drills WHERE state IN ('queued', 'running')) AS open_jobs
     GROUP BY kind, state";

const OVER: &str = "SELECT action AS id, count(*) AS count FROM audit WHERE action IN ('snapshotCompleted', 'snapshotFailed',
     'restoreCompleted', 'restoreFailed', 'restoreCancelled', 'drillProven', 'drillFailed') GROUP BY action";

/// What an action of the audit says of a job.
const OUTCOMES: &[(&str, &str, &str)] = &[
    ("snapshotCompleted", "snapshot", "completed"),
    ("snapshotFailed", "snapshot", "failed"),
    ("restoreCompleted", "restore", "completed"),
    ("restoreFailed", "restore", "failed"),
    ("restoreCancelled", "restore", "cancelled"),
    ("drillProven", "drill", "proven"),
    ("drillFailed", "drill", "failed"),
];

const PROTECTION: &str = "SELECT i.id AS id, i.name AS name, i.project_id AS project_id, i.state AS state,
     n.finished_at AS newest, n.size_bytes AS bytes, r.last AS captured,
     (SELECT min(b.consistent_seconds * 4294967296 + b.consistent_increment) FROM snapshots b
      WHERE b.instance_id = i.id AND b.state = 'completed' AND b.is_imported = 0 AND b.number IS NOT NULL
      AND b.consistent_seconds * 4294967296 + b.consistent_increment >= r.first) AS restorable_from,
     (SELECT max(d.finished_at) FROM drills d WHERE d.instance_id = i.id AND d.state = 'proven') AS proven_at,
     (SELECT f.finished_at FROM snapshots f WHERE f.instance_id = i.id AND f.state = 'failed' AND f.number = (
          SELECT max(m.number) FROM snapshots m WHERE m.instance_id = i.id AND m.is_imported = 0
          AND m.state IN ('completed', 'failed'))) AS failed_at
     FROM instances i
     LEFT JOIN snapshots n ON n.instance_id = i.id AND n.number = (
         SELECT max(c.number) FROM snapshots c WHERE c.instance_id = i.id AND c.state = 'completed'
         AND c.is_imported = 0)
     LEFT JOIN oplog_ranges r ON r.instance_id = i.id AND r.first = (
         SELECT max(o.first) FROM oplog_ranges o WHERE o.instance_id = i.id)
     WHERE i.state <> 'DELETED' ORDER BY i.id";

fn decode_open(row: &Row) -> Result<JobCount, CatalogError> {
    let row = Decoder::new("jobs", row);
    let word: String = row.get("id")?;
    let kind = ["snapshot", "restore", "drill"].into_iter().find(|kind| **kind == word);
    let kind = kind.ok_or_else(|| row.corrupt(format!("jobs of the kind {word:?}")))?;
    let count: i64 = row.get("count")?;
    Ok(JobCount { kind, state: row.get("state")?, count: count.unsigned_abs() })
}

fn decode_protection(row: &Row) -> Result<Protection, CatalogError> {
    let row = Decoder::new("instances", row);
    let position = |column: &str| -> Result<Option<OplogTime>, CatalogError> {
        let number: Option<i64> = row.get(column)?;
        Ok(number.map(|number| OplogTime::from_u64(number.cast_unsigned())))
    };
    let bytes: Option<i64> = row.get("bytes")?;
    Ok(Protection {
        instance: row.parse("id")?,
        name: row.get("name")?,
        project: row.parse("project_id")?,
        state: row.get("state")?,
        newest_snapshot: row.optional_instant("newest")?,
        logical_bytes: bytes.map(i64::unsigned_abs),
        captured_through: position("captured")?,
        restorable_from: position("restorable_from")?,
        proven_at: row.optional_instant("proven_at")?,
        failed_at: row.optional_instant("failed_at")?,
    })
}

impl Catalog {
    /// Jobs that wait or are done now.
    pub fn count_open_jobs(&self) -> Result<Vec<JobCount>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(OPEN)?;
        decode_all(statement.query(())?, decode_open)
    }

    /// Jobs that ended, since what became of them is recorded.
    pub fn count_ended_jobs(&self) -> Result<Vec<JobCount>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(OVER)?;
        let counts = decode_all(statement.query(())?, |row| {
            let row = Decoder::new("audit", row);
            Ok((row.get::<String>("id")?, row.get::<i64>("count")?))
        })?;
        let count_of = |action: &str| counts.iter().find(|(found, _)| found == action);
        let of = |(action, kind, state): &(&str, &'static str, &str)| JobCount {
            kind,
            state: (*state).to_owned(),
            count: count_of(action).map_or(0, |(_, count)| count.unsigned_abs()),
        };
        Ok(OUTCOMES.iter().map(of).collect())
    }

    /// How well every instance is protected.
    pub fn list_protection(&self) -> Result<Vec<Protection>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(PROTECTION)?;
        decode_all(statement.query(())?, decode_protection)
    }
}
