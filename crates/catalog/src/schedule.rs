//! What the scheduler needs to know of all instances, in one question.

use jiff::Timestamp;
use tidemark_model::{BackupSchedule, InstanceId, OplogTime, PolicyMatch};

use crate::catalog::{Catalog, one_row};
use crate::error::CatalogError;
use crate::row::{Decoder, decode_all, to_json};
use crate::snapshots::decode_policy;

/// The snapshots of an instance, as far as the next one depends on them.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The instance, which is idle.
    pub instance: InstanceId,
    /// When its newest snapshot was asked for; imported ones do not count here.
    pub newest: Option<Timestamp>,
    /// When its newest snapshot failed, if it did.
    pub failed_at: Option<Timestamp>,
    /// How many snapshots failed since the last one that is complete.
    pub failures: u32,
    /// Whether one is waiting or being taken.
    pub is_open: bool,
    /// The moment that the newest complete snapshot shows.
    pub newest_moment: Option<OplogTime>,
    /// Where the newest captured span of its oplog begins.
    pub span_begins: Option<OplogTime>,
    /// When it was restored last.
    pub restored_at: Option<Timestamp>,
    /// When its snapshots are taken, where it has a schedule of its own.
    pub own: Option<BackupSchedule>,
    /// For what a policy asked for its newest snapshot, if one did.
    pub newest_policy: Option<PolicyMatch>,
}

const SELECT: &str = "SELECT i.id AS id, n.created_at AS newest, n.frequency AS frequency,
     n.policy_items AS policy_items,
     (SELECT schedule FROM backup_schedules b WHERE b.instance_id = i.id) AS schedule,
     CASE WHEN n.state = 'failed' THEN n.finished_at END AS failed_at,
     (SELECT count(*) FROM snapshots f WHERE f.instance_id = i.id AND f.state = 'failed' AND f.number IS NOT NULL
      AND f.is_imported = 0
      AND f.number > coalesce((SELECT max(c.number) FROM snapshots c
          WHERE c.instance_id = i.id AND c.state = 'completed' AND c.is_imported = 0
          AND c.number IS NOT NULL), 0)) AS failures,
     EXISTS (SELECT 1 FROM snapshots o WHERE o.instance_id = i.id
         AND o.state IN ('queued', 'inProgress') AND o.quarantined IS NULL AND o.is_imported = 0) AS is_open,
     (SELECT consistent_seconds * 4294967296 + consistent_increment FROM snapshots c
      WHERE c.instance_id = i.id AND c.state = 'completed' AND c.is_imported = 0 AND c.number IS NOT NULL
      ORDER BY c.number DESC LIMIT 1) AS newest_moment,
     (SELECT max(first) FROM oplog_ranges r WHERE r.instance_id = i.id) AS span_begins,
     (SELECT max(finished_at) FROM restore_jobs j
      WHERE j.target_id = i.id AND j.state = 'completed') AS restored_at
     FROM instances i
     LEFT JOIN snapshots n ON n.instance_id = i.id AND n.number = (
         SELECT max(number) FROM snapshots m WHERE m.instance_id = i.id AND m.is_imported = 0)
     WHERE i.state = 'IDLE'";

impl Catalog {
    /// Every idle instance with what its next snapshot depends on.
    pub fn list_schedules(&self) -> Result<Vec<Schedule>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(SELECT)?;
        decode_all(statement.query(())?, |row| {
            let row = Decoder::new("instances", row);
            let position = |column: &str| -> Result<Option<OplogTime>, CatalogError> {
                let number: Option<i64> = row.get(column)?;
                Ok(number.map(|number| OplogTime::from_u64(number.cast_unsigned())))
            };
            Ok(Schedule {
                instance: row.parse("id")?,
                newest: row.optional_instant("newest")?,
                failed_at: row.optional_instant("failed_at")?,
                failures: row.get("failures")?,
                is_open: row.get("is_open")?,
                newest_moment: position("newest_moment")?,
                span_begins: position("span_begins")?,
                restored_at: row.optional_instant("restored_at")?,
                own: row.optional_json("schedule")?,
                newest_policy: decode_policy(&row)?,
            })
        })
    }

    /// When the snapshots of an instance are taken, if it has a schedule of its own.
    pub fn find_backup_schedule(
        &self,
        instance: InstanceId,
    ) -> Result<Option<BackupSchedule>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection
            .prepare_cached("SELECT schedule FROM backup_schedules WHERE instance_id = ?1")?;
        let mut rows = statement.query([instance.to_string()])?;
        rows.next()?.map(|row| Decoder::new("backup_schedules", row).json("schedule")).transpose()
    }

    /// Gives an instance a schedule of its own, or says it anew.
    pub fn put_backup_schedule(
        &self,
        instance: InstanceId,
        schedule: &BackupSchedule,
    ) -> Result<(), CatalogError> {
        self.lock().execute(
            "INSERT INTO backup_schedules (instance_id, schedule) VALUES (?1, ?2)
             ON CONFLICT (instance_id) DO UPDATE SET schedule = excluded.schedule",
            (instance.to_string(), to_json(schedule)),
        )?;
        Ok(())
    }

    /// Takes the schedule of its own from an instance, if it has one.
    pub fn remove_backup_schedule(&self, instance: InstanceId) -> Result<(), CatalogError> {
        let sql = "DELETE FROM backup_schedules WHERE instance_id = ?1";
        self.lock().execute(sql, [instance.to_string()])?;
        Ok(())
    }

    /// Says anew when the snapshots of an instance are taken.
    pub fn set_backup_schedule(
        &self,
        instance: InstanceId,
        schedule: &BackupSchedule,
    ) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE backup_schedules SET schedule = ?2 WHERE instance_id = ?1",
            (instance.to_string(), to_json(schedule)),
        )?;
        one_row(changed, || CatalogError::Missing(format!("schedule of instance {instance}")))
    }
}
