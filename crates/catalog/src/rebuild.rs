//! Records made anew from what a vault holds.

use jiff::Timestamp;
use tidemark_model::{InstanceId, OplogSpan, SnapshotEvent};

use crate::catalog::Catalog;
use crate::error::CatalogError;
use crate::instances::{self, Instance};
use crate::lease::Claim;
use crate::snapshots::{NewSnapshot, Proof};

/// A snapshot that a vault holds.
#[derive(Debug, Clone)]
pub struct FoundSnapshot {
    /// What was asked for.
    pub wanted: NewSnapshot,
    /// How it ended.
    pub end: SnapshotEvent,
    /// What else is known of it.
    pub proof: Proof,
}

impl Catalog {
    /// Makes the record of a snapshot that a vault holds; answers whether there was none.
    ///
    /// A record that is there stays as it is, also if it says that the snapshot was deleted.
    pub fn insert_found_snapshot(&self, found: &FoundSnapshot) -> Result<bool, CatalogError> {
        self.transact(|catalog| {
            let id = found.wanted.id.to_string();
            let sql = "SELECT 1 FROM snapshots WHERE id = ?1";
            if catalog.lock().prepare_cached(sql)?.exists([&id])? {
                return Ok(false);
            }
            catalog.insert_snapshot(&found.wanted)?;
            catalog.lock().execute(
                "UPDATE snapshots SET state = 'inProgress', attempt = 1, started_at = created_at WHERE id = ?1",
                [&id],
            )?;
            let claim = Claim { id: found.wanted.id, attempt: 1 };
            catalog.record_snapshot_event(
                &claim,
                found.end.clone(),
                Some(&found.proof),
            )?;
            Ok(true)
        })
    }

    /// Makes the record of a deleted instance whose backups a vault holds, unless there is one of
    /// the instance; answers whether there was none. Backups are kept until `kept_until`.
    pub fn insert_found_instance(
        &self,
        instance: &Instance,
        kept_until: Timestamp,
    ) -> Result<bool, CatalogError> {
        self.transact(|catalog| {
            match catalog.load_instance(instance.id) {
                Ok(_) => return Ok(false),
                Err(CatalogError::Missing(_)) => {}
                Err(error) => return Err(error),
            }
            instances::insert_retired(&catalog.lock(), instance, kept_until)?;
            Ok(true)
        })
    }

    /// Records a captured span that a vault holds, unless one begins there.
    pub fn insert_found_span(
        &self,
        instance: InstanceId,
        span: OplogSpan,
    ) -> Result<(), CatalogError> {
        self.lock().execute(
            "INSERT INTO oplog_ranges (instance_id, first, last) VALUES (?1, ?2, ?3)
             ON CONFLICT (instance_id, first) DO UPDATE SET last = excluded.last
             WHERE oplog_ranges.last < excluded.last",
            (
                instance.to_string(),
                span.first.to_u64().cast_signed(),
                span.last.to_u64().cast_signed(),
            ),
        )?;
        Ok(())
    }
}
