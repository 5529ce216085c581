//! The parts of an oplog that were captured without a gap.

use crate::database::OptionalExtension;
use jiff::Timestamp;
use tidemark_model::{Captured, InstanceId, OplogSpan, OplogTime};

use crate::catalog::{Catalog, one_row};
use crate::error::CatalogError;
use crate::row::Decoder;

pub(crate) fn signed(position: OplogTime) -> i64 {
    position.to_u64().cast_signed()
}

pub(crate) fn position(number: i64) -> OplogTime {
    OplogTime::from_u64(number.cast_unsigned())
}

impl Catalog {
    /// Begins a new range.
    pub fn begin_oplog_range(
        &self,
        instance: InstanceId,
        at: OplogTime,
    ) -> Result<(), CatalogError> {
        self.lock().execute(
            "INSERT INTO oplog_ranges (instance_id, first, last) VALUES (?1, ?2, ?2)
             ON CONFLICT (instance_id, first) DO NOTHING",
            (instance.to_string(), signed(at)),
        )?;
        Ok(())
    }

    /// Extends the newest range; begins one if there is none that reaches the first position.
    pub fn extend_oplog_range(
        &self,
        instance: InstanceId,
        range: OplogSpan,
    ) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE oplog_ranges SET last = CASE WHEN last > ?2 THEN last ELSE ?2 END WHERE instance_id = ?1 AND last >= ?3
             AND (ended_before IS NULL OR ended_before > ?2)
             AND first = (SELECT max(first) FROM oplog_ranges WHERE instance_id = ?1)",
            (instance.to_string(), signed(range.last), signed(range.first)),
        )?;
        if changed > 0 {
            return Ok(());
        }
        let begun = self.lock().execute(
            "INSERT INTO oplog_ranges (instance_id, first, last) VALUES (?1, ?2, ?3)
             ON CONFLICT (instance_id, first) DO NOTHING",
            (instance.to_string(), signed(range.first), signed(range.last)),
        )?;
        // One that begins there has ended: what follows is of another database.
        one_row(begun, || CatalogError::InUse(format!("the range at {} has ended", range.first)))
    }

    /// Records where the newest range ends: before the entry at a position, and lacking nothing up
    /// to it. It is not extended beyond that.
    pub fn end_oplog_range(
        &self,
        instance: InstanceId,
        before: OplogTime,
    ) -> Result<(), CatalogError> {
        self.lock().execute(
            "UPDATE oplog_ranges SET ended_before = ?2 WHERE instance_id = ?1 AND last < ?2
             AND first = (SELECT max(first) FROM oplog_ranges WHERE instance_id = ?1)",
            (instance.to_string(), signed(before)),
        )?;
        Ok(())
    }

    /// Forgets what was captured before a position.
    pub fn trim_oplog_ranges(
        &self,
        instance: InstanceId,
        keep: OplogTime,
    ) -> Result<(), CatalogError> {
        self.transact(|catalog| {
            let transaction = catalog.lock();
            let (instance, keep) = (instance.to_string(), signed(keep));
            transaction.execute(
                "DELETE FROM oplog_ranges WHERE instance_id = ?1 AND last < ?2",
                (&instance, keep),
            )?;
            transaction.execute(
                "UPDATE oplog_ranges SET first = ?2 WHERE instance_id = ?1 AND first < ?2",
                (&instance, keep),
            )?;
            Ok(())
        })
    }

    /// Forgets everything that was captured of an instance.
    pub fn remove_oplog_ranges(&self, instance: InstanceId) -> Result<(), CatalogError> {
        self.transact(|catalog| {
            let (transaction, instance) = (catalog.lock(), instance.to_string());
            transaction.execute("DELETE FROM oplog_tails WHERE instance_id = ?1", [&instance])?;
            transaction.execute("DELETE FROM oplog_ranges WHERE instance_id = ?1", [&instance])?;
            Ok(())
        })
    }

    /// All ranges of an instance, in order.
    pub fn list_oplog_ranges(&self, instance: InstanceId) -> Result<Vec<OplogSpan>, CatalogError> {
        let captured = self.list_captured(instance)?;
        Ok(captured.into_iter().map(|captured| captured.entries).collect())
    }

    /// All ranges of an instance, in order, and how far each is known to lack nothing.
    pub fn list_captured(&self, instance: InstanceId) -> Result<Vec<Captured>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT first, last, ended_before FROM oplog_ranges WHERE instance_id = ?1 ORDER BY first",
        )?;
        let rows = statement.query_map([instance.to_string()], |row| {
            let entries = OplogSpan { first: position(row.get(0)?), last: position(row.get(1)?) };
            let ended: Option<i64> = row.get(2)?;
            let captured = Captured::new(entries);
            Ok(ended.map_or(captured, |before| captured.through(position(before - 1))))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// When a restore into an instance began to replace its data, while the capture has not found
    /// that yet: what happens from then on does not extend its newest range.
    pub fn find_unnoticed_swap(
        &self,
        instance: InstanceId,
    ) -> Result<Option<Timestamp>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT r.ended_at AS ended_at FROM oplog_ranges r JOIN restore_jobs j ON j.id = r.ended_by
             WHERE r.instance_id = ?1 AND j.state NOT IN ('failed', 'cancelled')
             AND r.first = (SELECT max(first) FROM oplog_ranges WHERE instance_id = ?1)",
        )?;
        let mut rows = statement.query([instance.to_string()])?;
        rows.next()?.map(|row| Decoder::new("oplog_ranges", row).instant("ended_at")).transpose()
    }

    /// The newest range of an instance, which is still growing.
    pub fn newest_oplog_range(
        &self,
        instance: InstanceId,
    ) -> Result<Option<OplogSpan>, CatalogError> {
        let connection = self.read()?;
        Ok(connection
            .query_row(
                "SELECT first, last FROM oplog_ranges WHERE instance_id = ?1 ORDER BY first DESC LIMIT 1",
                [instance.to_string()],
                |row| Ok(OplogSpan { first: position(row.get(0)?), last: position(row.get(1)?) }),
            )
            .optional()?)
    }
}
