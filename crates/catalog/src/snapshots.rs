//! Snapshots.

use crate::database::{OptionalExtension, Row};
use jiff::{SignedDuration, Timestamp};
use tidemark_model::{
    Base, Comparison, Frequency, InstanceId, OplogTime, PolicyItemId, PolicyMatch, ProjectId,
    SnapshotEvent, SnapshotId, SnapshotKind, SnapshotState,
};

use crate::catalog::{Catalog, Page, Paged, one_row};
use crate::error::CatalogError;
use crate::lease::{Claim, Done, LeaseHolder, decode_done, may_touch};
use crate::row::{Decoder, decode_all, to_json};

/// A snapshot that shall be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Its id.
    pub id: SnapshotId,
    /// The instance.
    pub instance: InstanceId,
    /// Why it is taken.
    pub kind: SnapshotKind,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it may be removed.
    pub expires_at: Timestamp,
    /// What who asked for it wrote.
    pub description: Option<String>,
    /// For what a policy asked for it, if one did.
    pub policy: Option<PolicyMatch>,
    /// Whether it is made of a dump that was uploaded, and not of the instance.
    pub is_imported: bool,
}

impl NewSnapshot {
    /// A snapshot that is asked for now and kept for `retention`.
    pub fn new(
        instance: InstanceId,
        kind: SnapshotKind,
        now: Timestamp,
        retention: SignedDuration,
    ) -> Self {
        let expires_at = now.saturating_add(retention).unwrap_or(now);
        let id = SnapshotId::new(now);
        Self {
            id,
            instance,
            kind,
            created_at: now,
            expires_at,
            description: None,
            policy: None,
            is_imported: false,
        }
    }
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// The instance.
    pub instance: InstanceId,
    /// Why it was taken.
    pub kind: SnapshotKind,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it may be removed.
    pub expires_at: Timestamp,
    /// What who asked for it wrote.
    pub description: Option<String>,
    /// For what a policy asked for it, if one did.
    pub policy: Option<PolicyMatch>,
    /// Whether it is made of a dump that was uploaded, and not of the instance.
    pub is_imported: bool,
    /// Where it stands.
    pub state: SnapshotState,
    /// The version of the deployment, once it was read.
    pub server_version: Option<String>,
    /// When a worker began with it.
    pub started_at: Option<Timestamp>,
    /// How often a worker that had it ended without a word.
    pub silent_ends: i64,
    /// How it was made consistent, once it is complete.
    pub mode: Option<String>,
    /// Why not in a stronger way.
    pub mode_reason: Option<String>,
    /// How it compares with what would have been made of the one before, if that was looked at.
    pub comparison: Option<Comparison>,
    /// How much was read so far.
    pub done: Done,
}

/// What is known of a snapshot once it is complete, beside its moment and size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The version of the deployment.
    pub server_version: String,
    /// How it was made consistent, as `snapshot`, `synthetic`, `fuzzyWithOplog` or `asIs`.
    pub mode: String,
    /// Why not in a stronger way.
    pub mode_reason: Option<String>,
    /// How it compares with what would have been made of the one before, if that was looked at.
    pub comparison: Option<Comparison>,
}

/// What a process died of so often is not tried again.
pub const SILENT_ENDS: i64 = 3;

/// Sets a row aside that cannot be decoded.
pub(crate) fn set_aside(
    connection: &crate::database::Connection,
    (table, id): (&str, &str),
    error: &CatalogError,
) -> Result<(), CatalogError> {
    let sql = format!("UPDATE {table} SET quarantined = ?2 WHERE id = ?1");
    let changed = connection.execute(&sql, (id, error.to_string()))?;
    one_row(changed, || CatalogError::Missing(format!("{id} of {table}")))
}

/// In which order a list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By age, the oldest first.
    OldestFirst,
    /// By age, the newest first.
    NewestFirst,
}

fn decode(row: &Row) -> Result<Snapshot, CatalogError> {
    let row = Decoder::new("snapshots", row);
    let kind: String = row.get("kind")?;
    Ok(Snapshot {
        id: row.parse("id")?,
        instance: row.parse("instance_id")?,
        kind: SnapshotKind::parse(&kind).ok_or_else(|| row.corrupt(format!("kind {kind:?}")))?,
        created_at: row.instant("created_at")?,
        expires_at: row.instant("expires_at")?,
        description: row.get("description")?,
        policy: decode_policy(&row)?,
        is_imported: row.get("is_imported")?,
        state: decode_state(&row)?,
        server_version: row.get("server_version")?,
        started_at: row.optional_instant("started_at")?,
        silent_ends: row.get("silent_ends")?,
        mode: row.get("mode")?,
        mode_reason: row.get("mode_reason")?,
        comparison: row.optional_json("comparison")?,
        done: decode_done(&row)?,
    })
}

/// The part of a policy that a snapshot stands for.
pub(crate) fn decode_policy(row: &Decoder<'_>) -> Result<Option<PolicyMatch>, CatalogError> {
    let Some(word) = row.get::<Option<String>>("frequency")? else { return Ok(None) };
    let frequency =
        Frequency::parse(&word).ok_or_else(|| row.corrupt(format!("frequency {word:?}")))?;
    let items: Vec<PolicyItemId> = row.json("policy_items")?;
    Ok(Some(PolicyMatch { frequency, items }))
}

fn decode_state(row: &Decoder<'_>) -> Result<SnapshotState, CatalogError> {
    let state: String = row.get("state")?;
    let finished_at = row.optional_instant("finished_at")?;
    let size: Option<i64> = row.get("size_bytes")?;
    let failure = row.failure()?;
    let seconds: Option<u32> = row.get("consistent_seconds")?;
    let increment: Option<u32> = row.get("consistent_increment")?;
    match (state.as_str(), finished_at, size, failure) {
        ("queued", None, None, None) => Ok(SnapshotState::Queued),
        ("inProgress", None, None, None) => Ok(SnapshotState::InProgress),
        ("completed", Some(finished_at), Some(size), None) => Ok(SnapshotState::Completed {
            finished_at,
            consistent_at: seconds.zip(increment).map(|(s, i)| OplogTime::new(s, i)),
            size_bytes: size.unsigned_abs(),
        }),
        ("failed", Some(finished_at), None, Some(failure)) => {
            Ok(SnapshotState::Failed { finished_at, failure })
        }
        _ => Err(row.corrupt(format!("state {state:?} contradicts the other columns"))),
    }
}

/// The next snapshot that a worker may take.
fn find_claimable_snapshot(
    connection: &crate::database::Connection,
    now: Timestamp,
) -> Result<Option<String>, CatalogError> {
    let mut statement = connection.prepare_cached(&claimable_snapshot())?;
    Ok(statement.query_row([now.as_second()], |row| row.get(0)).optional()?)
}

pub(crate) fn claimable_snapshot() -> String {
    format!(
        "SELECT s.id FROM snapshots s
         WHERE s.state IN ('queued', 'inProgress') AND s.lease_until <= ?1 AND s.is_deleted = 0
         AND s.quarantined IS NULL AND (s.is_imported = 1 OR ({})) ORDER BY s.created_at, s.id LIMIT 1",
        may_touch("s.id", "s.instance_id")
    )
}

impl Catalog {
    /// Records that a snapshot is wanted.
    pub fn insert_snapshot(&self, snapshot: &NewSnapshot) -> Result<(), CatalogError> {
        self.transact(|catalog| {
        let transaction = catalog.lock();
        let number: Option<i64> = transaction
            .query_row(
                "UPDATE instances SET snapshot_count = snapshot_count + 1 WHERE id = ?1 RETURNING snapshot_count",
                [snapshot.instance.to_string()],
                |row| row.get(0),
            )
            .optional()?;
        let number = number
            .ok_or_else(|| CatalogError::Missing(format!("instance {}", snapshot.instance)))?;
        transaction.execute(
            "INSERT INTO snapshots (id, instance_id, number, kind, state, created_at, expires_at,
                 description, frequency, policy_items, is_imported)
             VALUES (?1, ?2, ?3, ?4, 'queued', ?5, ?6, ?7, ?8, ?9, ?10)",
            (
                snapshot.id.to_string(),
                snapshot.instance.to_string(),
                number,
                snapshot.kind.as_str(),
                snapshot.created_at.as_second(),
                snapshot.expires_at.as_second(),
                &snapshot.description,
                snapshot.policy.as_ref().map(|policy| policy.frequency.as_str()),
                snapshot.policy.as_ref().map(|policy| to_json(&policy.items)),
                snapshot.is_imported,
            ),
        )?;
        Ok(())
        })
    }

    /// Whether a snapshot that users asked for is waiting or being taken; imported ones do not count.
    pub fn is_taken_on_demand(&self, instance: InstanceId) -> Result<bool, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT 1 FROM snapshots WHERE instance_id = ?1 AND kind = ?2 AND state IN ('queued', 'inProgress')
             AND is_imported = 0 AND is_deleted = 0 LIMIT 1",
        )?;
        Ok(statement.exists((instance.to_string(), SnapshotKind::OnDemand.as_str()))?)
    }

    /// The project of a snapshot that is there.
    pub fn find_project_of_snapshot(
        &self,
        id: SnapshotId,
    ) -> Result<Option<ProjectId>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT i.project_id FROM snapshots s JOIN instances i ON i.id = s.instance_id
             WHERE s.id = ?1 AND s.is_deleted = 0",
        )?;
        let mut rows = statement.query([id.to_string()])?;
        let row = rows.next()?.map(|row| Decoder::new("snapshots", row).parse("project_id"));
        row.transpose()
    }

    /// The snapshot with this id, if the instance has it.
    pub fn find_snapshot(
        &self,
        instance: InstanceId,
        id: SnapshotId,
    ) -> Result<Option<Snapshot>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT * FROM snapshots WHERE id = ?1 AND instance_id = ?2 AND is_deleted = 0",
        )?;
        let mut rows = statement.query((id.to_string(), instance.to_string()))?;
        rows.next()?.map(decode).transpose()
    }

    /// The snapshots of an instance in an order; every page costs the same.
    pub fn list_snapshots(
        &self,
        instance: InstanceId,
        order: Order,
        page: Page,
    ) -> Result<Paged<Snapshot>, CatalogError> {
        let connection = self.read()?;
        let total: i64 = connection
            .prepare_cached("SELECT snapshot_count FROM instances WHERE id = ?1")?
            .query_row([instance.to_string()], |row| row.get(0))?;
        let ((first, last), direction) = match order {
            Order::OldestFirst => (page.ascending(total), "ASC"),
            Order::NewestFirst => (page.descending(total), "DESC"),
        };
        let mut statement = connection.prepare_cached(&format!(
            "SELECT * FROM snapshots WHERE instance_id = ?1 AND number BETWEEN ?2 AND ?3 ORDER BY number {direction}"
        ))?;
        let items = decode_all(statement.query((instance.to_string(), first, last))?, decode)?;
        Ok(Paged { items, total: total.unsigned_abs() })
    }

    /// The newest completed snapshot that shows a moment at or before `at`, and not before `since`.
    pub fn find_base_snapshot(
        &self,
        instance: InstanceId,
        (since, at): (OplogTime, OplogTime),
    ) -> Result<Option<Snapshot>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT * FROM snapshots WHERE instance_id = ?1 AND state = 'completed' AND is_deleted = 0
             AND (consistent_seconds, consistent_increment) <= (?2, ?3)
             AND (consistent_seconds, consistent_increment) >= (?4, ?5)
             ORDER BY consistent_seconds DESC, consistent_increment DESC LIMIT 1",
        )?;
        let mut rows = statement.query((
            instance.to_string(),
            at.seconds,
            at.increment,
            since.seconds,
            since.increment,
        ))?;
        rows.next()?.map(decode).transpose()
    }

    /// Claims a snapshot to take: one that waits, or one whose worker is gone.
    ///
    /// An instance that is being restored or snapshotted, or is not up yet, is left alone. One that
    /// is being removed is not: its snapshot fails rather than waits for ever. A row that cannot be
    /// decoded is set aside.
    pub fn claim_snapshot(
        &self,
        holder: &LeaseHolder,
        now: Timestamp,
    ) -> Result<Option<(Claim<SnapshotId>, Snapshot)>, CatalogError> {
        // Who looks in vain must not hold up who writes.
        if find_claimable_snapshot(&*self.read()?, now)?.is_none() {
            return Ok(None);
        }
        self.transact(|catalog| {
            let next = || find_claimable_snapshot(&catalog.lock(), now);
            while let Some(candidate) = next()? {
                let found = {
                    let connection = catalog.lock();
                    let mut statement =
                        connection.prepare_cached("SELECT * FROM snapshots WHERE id = ?1")?;
                    let mut rows = statement.query([&candidate])?;
                    rows.next()?.map(decode).transpose()
                };
                match found {
                    Ok(Some(snapshot)) => {
                        return catalog.hold_snapshot(snapshot, holder, now).map(Some);
                    }
                    Ok(None) => return Ok(None),
                    Err(error @ CatalogError::Corrupt { .. }) => {
                        set_aside(&catalog.lock(), ("snapshots", &candidate), &error)?;
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(None)
        })
    }

    /// Holds a snapshot for a worker.
    fn hold_snapshot(
        &self,
        snapshot: Snapshot,
        holder: &LeaseHolder,
        now: Timestamp,
    ) -> Result<(Claim<SnapshotId>, Snapshot), CatalogError> {
        let state = snapshot.state.after(SnapshotEvent::Claimed)?;
        let (attempt, silent_ends) = self.lock().query_row(
            "UPDATE snapshots SET state = ?5, worker = ?2, attempt = attempt + 1, lease_until = ?3,
                 started_at = coalesce(started_at, ?4), silent_ends = silent_ends + is_held, is_held = 1
             WHERE id = ?1 RETURNING attempt, silent_ends",
            (
                snapshot.id.to_string(),
                &holder.worker,
                holder.until(now),
                now.as_second(),
                state.as_str(),
            ),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let started_at = snapshot.started_at.or(Some(now));
        let claim = Claim { id: snapshot.id, attempt };
        Ok((claim, Snapshot { state, started_at, silent_ends, ..snapshot }))
    }

    /// Gives a claim back: the snapshot is taken again from `at` on.
    pub fn release_snapshot(
        &self,
        claim: &Claim<SnapshotId>,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE snapshots SET lease_until = ?3, is_held = 0
             WHERE id = ?1 AND attempt = ?2 AND state = 'inProgress'",
            (claim.id.to_string(), claim.attempt, at.as_second()),
        )?;
        one_row(changed, || CatalogError::LeaseLost(format!("snapshot {}", claim.id)))
    }

    /// The complete snapshots of an instance from which a restore may begin.
    pub fn list_bases(&self, instance: InstanceId) -> Result<Vec<Base>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT id, consistent_seconds, consistent_increment FROM snapshots
             WHERE instance_id = ?1 AND state = 'completed' AND is_deleted = 0 ORDER BY id",
        )?;
        decode_all(statement.query([instance.to_string()])?, |row| {
            let row = Decoder::new("snapshots", row);
            let seconds: Option<u32> = row.get("consistent_seconds")?;
            let increment: Option<u32> = row.get("consistent_increment")?;
            let at = seconds.zip(increment).map(|(s, i)| OplogTime::new(s, i));
            Ok(Base { snapshot: row.parse("id")?, at })
        })
    }

    /// How the newest snapshots of an instance ended, newest first: when each was asked for, and
    /// its state.
    pub fn newest_snapshots(
        &self,
        instance: InstanceId,
        count: u64,
    ) -> Result<Vec<Snapshot>, CatalogError> {
        let page = Page { number: 1, size: count };
        Ok(self.list_snapshots(instance, Order::NewestFirst, page)?.items)
    }

    /// Rows that could not be decoded: table, id and reason.
    pub fn list_quarantined(&self) -> Result<Vec<(String, String, String)>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT 'snapshots', id, quarantined FROM snapshots WHERE quarantined IS NOT NULL
             UNION ALL
             SELECT 'restore_jobs', id, quarantined FROM restore_jobs WHERE quarantined IS NOT NULL
             UNION ALL
             SELECT 'drills', id, quarantined FROM drills WHERE quarantined IS NOT NULL",
        )?;
        let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Keeps a claim for another while, and records how far the snapshot is.
    pub fn renew_snapshot(
        &self,
        claim: &Claim<SnapshotId>,
        (holder, now): (&LeaseHolder, Timestamp),
        done: &Done,
    ) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE snapshots SET lease_until = ?3, documents_done = ?4, bytes_done = ?5,
                 bytes_total = ?6, bytes_per_second = ?7, namespace_now = ?8
             WHERE id = ?1 AND attempt = ?2 AND state = 'inProgress'",
            (
                claim.id.to_string(),
                claim.attempt,
                holder.until(now),
                done.documents.cast_signed(),
                done.bytes.cast_signed(),
                done.total_bytes.cast_signed(),
                done.bytes_per_second.cast_signed(),
                &done.namespace,
            ),
        )?;
        one_row(changed, || CatalogError::LeaseLost(format!("snapshot {}", claim.id)))
    }

    /// Records what happened to a claimed snapshot.
    pub fn record_snapshot_event(
        &self,
        claim: &Claim<SnapshotId>,
        event: SnapshotEvent,
        proof: Option<&Proof>,
    ) -> Result<SnapshotState, CatalogError> {
        // Who holds the claim knows the state: a snapshot that is held is being taken.
        let state = SnapshotState::InProgress.after(event)?;
        let (consistent_at, size, failure) = match &state {
            SnapshotState::Completed { consistent_at, size_bytes, .. } => {
                (*consistent_at, Some(i64::try_from(*size_bytes).unwrap_or(i64::MAX)), None)
            }
            SnapshotState::Failed { failure, .. } => (None, None, Some(failure)),
            SnapshotState::Queued | SnapshotState::InProgress => (None, None, None),
        };
        self.transact(|catalog| {
        let transaction = catalog.lock();
        let instance: Option<String> = transaction.query_row(
            "UPDATE snapshots SET state = ?3, finished_at = ?4, consistent_seconds = ?5,
                 consistent_increment = ?6, size_bytes = ?7, failure = ?8, server_version = ?9, mode = ?10,
                 mode_reason = ?11, comparison = ?12, failure_cause = ?13, lease_until = 0, is_held = 0
             WHERE id = ?1 AND attempt = ?2 AND state = 'inProgress' RETURNING instance_id",
            (
                claim.id.to_string(),
                claim.attempt,
                state.as_str(),
                state.finished_at().map(Timestamp::as_second),
                consistent_at.map(|at| at.seconds),
                consistent_at.map(|at| at.increment),
                size,
                failure.map(|failure| failure.reason.as_str()),
                proof.map(|proof| &proof.server_version),
                proof.map(|proof| &proof.mode),
                proof.and_then(|proof| proof.mode_reason.as_ref()),
                proof.and_then(|proof| proof.comparison.as_ref()).map(to_json),
                failure.map(|failure| failure.cause.as_str()),
            ),
            |row| row.get(0),
        ).optional()?;
        drop(transaction);
        let lost = || CatalogError::LeaseLost(format!("snapshot {}", claim.id));
        let instance = instance.ok_or_else(lost)?.parse().map_err(|_| lost())?;
        let action = match &state {
            SnapshotState::Completed { .. } => "snapshotCompleted",
            SnapshotState::Failed { .. } => "snapshotFailed",
            SnapshotState::Queued | SnapshotState::InProgress => return Ok(state.clone()),
        };
        let at = state.finished_at().unwrap_or(Timestamp::UNIX_EPOCH);
        catalog.record_outcome((action, &claim.id.to_string()), instance, (at, failure))?;
        Ok(state.clone())
        })
    }

    /// Deletes a snapshot that nobody is taking or restoring.
    pub fn delete_snapshot(
        &self,
        instance: InstanceId,
        id: SnapshotId,
    ) -> Result<(), CatalogError> {
        self.transact(|catalog| {
        let transaction = catalog.lock();
        let in_use: bool = transaction.query_row(
            "SELECT EXISTS (SELECT 1 FROM restore_jobs WHERE snapshot_id = ?1 AND state IN ('queued', 'running'))
                 OR EXISTS (SELECT 1 FROM drills WHERE snapshot_id = ?1 AND state IN ('queued', 'running')
                     AND quarantined IS NULL)",
            [id.to_string()],
            |row| row.get(0),
        )?;
        if in_use {
            return Err(CatalogError::InUse(format!("snapshot {id} is being restored")));
        }
        let found: Option<(i64, String, Option<i64>, Option<String>)> = transaction
            .query_row(
                "SELECT s.number, s.state, s.finished_at, i.vault
                 FROM snapshots s JOIN instances i ON i.id = s.instance_id
                 WHERE s.id = ?1 AND s.instance_id = ?2 AND s.is_deleted = 0
                     AND s.state IN ('completed', 'failed')",
                (id.to_string(), instance.to_string()),
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )
            .optional()?;
        let (place, state, finished_at, vault) =
            found.ok_or_else(|| CatalogError::InUse(format!("snapshot {id} is in progress")))?;
        let finished_at = finished_at.and_then(|second| Timestamp::from_second(second).ok());
        if state == "completed"
            && let Some(until) = finished_at.and_then(|at| catalog.kept_until(vault.as_deref(), at))
        {
            return Err(CatalogError::Kept { what: format!("snapshot {id}"), until });
        }
        let changed = transaction.execute(
            "UPDATE snapshots SET is_deleted = 1, number = NULL WHERE id = ?1",
            [id.to_string()],
        )?;
        one_row(changed, || CatalogError::Missing(format!("snapshot {id}")))?;
        transaction.execute(
            "UPDATE snapshots SET number = number - 1 WHERE instance_id = ?1 AND number > ?2",
            (instance.to_string(), place),
        )?;
        transaction.execute(
            "UPDATE instances SET snapshot_count = snapshot_count - 1 WHERE id = ?1",
            [instance.to_string()],
        )?;
        Ok(())
        })
    }

    /// Whether a snapshot is waiting or being taken.
    pub fn is_open_snapshot(&self, id: SnapshotId) -> Result<bool, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT 1 FROM snapshots WHERE id = ?1 AND state IN ('queued', 'inProgress')",
        )?;
        Ok(statement.exists([id.to_string()])?)
    }

    /// When an instance was read last for a snapshot that is complete.
    pub fn newest_full_read(
        &self,
        instance: InstanceId,
    ) -> Result<Option<Timestamp>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT max(finished_at) AS read_at FROM snapshots
             WHERE instance_id = ?1 AND state = 'completed' AND mode <> 'synthetic' AND is_imported = 0",
        )?;
        let mut rows = statement.query([instance.to_string()])?;
        let row = rows.next()?.ok_or_else(|| CatalogError::Missing("a maximum".to_owned()))?;
        Decoder::new("snapshots", row).optional_instant("read_at")
    }

    /// The newest complete snapshot of an instance.
    pub fn find_newest_complete(
        &self,
        instance: InstanceId,
    ) -> Result<Option<Snapshot>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT * FROM snapshots WHERE instance_id = ?1 AND state = 'completed'
             AND number IS NOT NULL ORDER BY number DESC LIMIT 1",
        )?;
        let mut rows = statement.query([instance.to_string()])?;
        rows.next()?.map(decode).transpose()
    }

    /// Says anew until when a snapshot is kept.
    pub fn set_snapshot_expiry(
        &self,
        id: SnapshotId,
        expires_at: Timestamp,
    ) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE snapshots SET expires_at = ?2 WHERE id = ?1 AND is_deleted = 0",
            (id.to_string(), expires_at.as_second()),
        )?;
        one_row(changed, || CatalogError::Missing(format!("snapshot {id}")))
    }

    /// Whether a snapshot is the newest complete one of an instance that exists.
    pub fn is_last_snapshot(&self, snapshot: &Snapshot) -> Result<bool, CatalogError> {
        if !matches!(snapshot.state, SnapshotState::Completed { .. }) {
            return Ok(false);
        }
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT s.id FROM snapshots s JOIN instances i ON i.id = s.instance_id
             WHERE s.instance_id = ?1 AND s.state = 'completed' AND s.is_imported = 0 AND s.number IS NOT NULL
             AND i.state <> 'DELETED' ORDER BY s.number DESC LIMIT 1",
        )?;
        let newest: Option<String> =
            statement.query_row([snapshot.instance.to_string()], |row| row.get(0)).optional()?;
        Ok(newest.is_some_and(|newest| newest == snapshot.id.to_string()))
    }

    /// Snapshots whose time is over.
    pub fn list_expired_snapshots(&self, now: Timestamp) -> Result<Vec<Snapshot>, CatalogError> {
        self.list_where(
            "expires_at <= ?1 AND is_deleted = 0 AND state IN ('completed', 'failed')",
            now,
        )
    }

    /// Deleted snapshots of which the vault may still have the manifest.
    pub fn list_unpurged_snapshots(&self) -> Result<Vec<(InstanceId, SnapshotId)>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT id, instance_id FROM snapshots WHERE is_deleted = 1 AND is_purged = 0",
        )?;
        decode_all(statement.query(())?, |row| {
            let row = Decoder::new("snapshots", row);
            Ok((row.parse("instance_id")?, row.parse("id")?))
        })
    }

    /// Records that the vault has nothing of a deleted snapshot any more.
    pub fn record_purged_snapshot(&self, id: SnapshotId) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE snapshots SET is_purged = 1 WHERE id = ?1 AND is_deleted = 1",
            [id.to_string()],
        )?;
        one_row(changed, || CatalogError::Missing(format!("deleted snapshot {id}")))
    }

    fn list_where(&self, condition: &str, now: Timestamp) -> Result<Vec<Snapshot>, CatalogError> {
        let connection = self.lock();
        let mut statement =
            connection.prepare_cached(&format!("SELECT * FROM snapshots WHERE {condition}"))?;
        let items = decode_all(statement.query([now.as_second()])?, decode)?;
        Ok(items)
    }

    /// When the newest snapshot of each of some instances was asked for, in their order.
    pub fn newest_snapshot_times(
        &self,
        instances: &[InstanceId],
    ) -> Result<Vec<Option<Timestamp>>, CatalogError> {
        let connection = self.read()?;
        // In one transaction the file is locked once, which costs more than a question.
        let is_alone = connection.is_autocommit();
        let _transaction = is_alone.then(|| connection.begin_reading()).transpose()?;
        let mut statement = connection.prepare_cached(
            "SELECT id, created_at FROM snapshots WHERE instance_id = ?1 AND number IS NOT NULL
             ORDER BY number DESC LIMIT 1",
        )?;
        let newest = |instance: &InstanceId| {
            let mut rows = statement.query([instance.to_string()])?;
            let row = rows.next()?;
            row.map(|row| Decoder::new("snapshots", row).instant("created_at")).transpose()
        };
        instances.iter().map(newest).collect()
    }

    /// When the newest snapshot of an instance was asked for, and whether one is open.
    pub fn newest_snapshot(
        &self,
        instance: InstanceId,
    ) -> Result<Option<(Timestamp, bool)>, CatalogError> {
        let newest =
            self.list_snapshots(instance, Order::NewestFirst, Page { number: 1, size: 1 })?;
        Ok(newest.items.first().map(|snapshot| (snapshot.created_at, !snapshot.state.is_final())))
    }
}
