//! Restore drills.

use jiff::Timestamp;
use tidemark_model::{
    Cause, DrillCheck, DrillEvent, DrillId, DrillState, DrillStep, Failure, InstanceId, OplogTime,
    PointInTime, SnapshotId,
};

use crate::catalog::{Catalog, Page, Paged, one_row};
use crate::database::{Connection, OptionalExtension, Row};
use crate::error::CatalogError;
use crate::lease::{Claim, Done, LeaseHolder, decode_done};
use crate::row::{Decoder, decode_all, to_json};
use crate::snapshots::{SILENT_ENDS, set_aside};

/// A drill that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDrill {
    /// Its id.
    pub id: DrillId,
    /// Whose backup is brought back.
    pub instance: InstanceId,
    /// Whether a schedule asked for it.
    pub is_scheduled: bool,
    /// The snapshot from which it is restored.
    pub snapshot: SnapshotId,
    /// The moment; nothing for the snapshot as it is.
    pub moment: Option<PointInTime>,
    /// The user's own checks.
    pub checks: Vec<DrillCheck>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// A drill.
#[derive(Debug, Clone, PartialEq)]
pub struct Drill {
    /// What was asked for.
    pub wanted: NewDrill,
    /// Where it stands.
    pub state: DrillState,
    /// How much was moved so far.
    pub done: Done,
    /// What it found, once it is over.
    pub report: Option<SignedReport>,
}

/// A report, as the bytes that are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedReport {
    /// The report: compact JSON.
    pub text: String,
    /// Its signature, in hexadecimal digits.
    pub signature: String,
}

fn decode(row: &Row) -> Result<Drill, CatalogError> {
    let row = Decoder::new("drills", row);
    let oplog: (Option<u32>, Option<u32>) =
        (row.get("pit_oplog_seconds")?, row.get("pit_oplog_increment")?);
    let moment = match (row.get::<Option<u32>>("pit_seconds")?, oplog) {
        (None, (None, None)) => None,
        (Some(second), (None, None)) => Some(PointInTime::Second(second)),
        (None, (Some(second), Some(increment))) => {
            Some(PointInTime::Entry(OplogTime::new(second, increment)))
        }
        _ => return Err(row.corrupt("its moment contradicts itself")),
    };
    Ok(Drill {
        wanted: NewDrill {
            id: row.parse("id")?,
            instance: row.parse("instance_id")?,
            is_scheduled: row.get("is_scheduled")?,
            snapshot: row.parse("snapshot_id")?,
            moment,
            checks: row.json("checks")?,
            created_at: row.instant("created_at")?,
        },
        state: decode_state(&row)?,
        done: decode_done(&row)?,
        report: match (row.get("report")?, row.get("signature")?) {
            (Some(text), Some(signature)) => Some(SignedReport { text, signature }),
            (None, None) => None,
            _ => return Err(row.corrupt("a report without a signature, or the reverse")),
        },
    })
}

fn decode_state(row: &Decoder<'_>) -> Result<DrillState, CatalogError> {
    let (state, step): (String, Option<String>) = (row.get("state")?, row.get("step")?);
    let step = match step {
        Some(text) => {
            Some(DrillStep::parse(&text).ok_or_else(|| row.corrupt(format!("step {text:?}")))?)
        }
        None => None,
    };
    match (state.as_str(), step, row.optional_instant("finished_at")?, row.failure()?) {
        ("queued", None, None, None) => Ok(DrillState::Queued),
        ("running", Some(step), None, None) => Ok(DrillState::Running { step }),
        ("proven", None, Some(finished_at), None) => Ok(DrillState::Proven { finished_at }),
        ("failed", None, Some(finished_at), Some(failure)) => {
            Ok(DrillState::Failed { finished_at, failure })
        }
        _ => Err(row.corrupt(format!("state {state:?} contradicts the other columns"))),
    }
}

const CLAIMABLE: &str = "SELECT id FROM drills
     WHERE state IN ('queued', 'running') AND lease_until <= ?1 AND quarantined IS NULL
     ORDER BY created_at, id LIMIT 1";

fn find_claimable(connection: &Connection, now: Timestamp) -> Result<Option<String>, CatalogError> {
    let mut statement = connection.prepare_cached(CLAIMABLE)?;
    Ok(statement.query_row([now.as_second()], |row| row.get(0)).optional()?)
}

fn find(connection: &Connection, id: &str) -> Result<Option<Drill>, CatalogError> {
    let mut statement = connection.prepare_cached("SELECT * FROM drills WHERE id = ?1")?;
    let mut rows = statement.query([id])?;
    rows.next()?.map(decode).transpose()
}

impl Catalog {
    /// Records that a drill is wanted.
    pub fn insert_drill(&self, drill: &NewDrill) -> Result<(), CatalogError> {
        let (seconds, oplog) = match drill.moment {
            Some(PointInTime::Second(second)) => (Some(second), None),
            Some(PointInTime::Entry(entry)) => (None, Some(entry)),
            None => (None, None),
        };
        self.transact(|catalog| {
            let transaction = catalog.lock();
            // The instance's row is written first, so that two drills do not get one number.
            let changed = transaction.execute(
                "UPDATE instances SET state = state WHERE id = ?1",
                [drill.instance.to_string()],
            )?;
            one_row(changed, || CatalogError::Missing(format!("instance {}", drill.instance)))?;
            transaction.execute(
                "INSERT INTO drills (id, instance_id, number, is_scheduled, snapshot_id, pit_seconds,
                     pit_oplog_seconds, pit_oplog_increment, checks, created_at, state)
                 SELECT ?1, ?2, (SELECT coalesce(max(number), 0) + 1 FROM drills WHERE instance_id = ?2),
                     ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'queued'",
                (
                    drill.id.to_string(),
                    drill.instance.to_string(),
                    drill.is_scheduled,
                    drill.snapshot.to_string(),
                    seconds,
                    oplog.map(|entry| entry.seconds),
                    oplog.map(|entry| entry.increment),
                    to_json(&drill.checks),
                    drill.created_at.as_second(),
                ),
            )?;
            Ok(())
        })
    }

    /// The drill with this id, if the instance has it.
    pub fn find_drill(
        &self,
        instance: InstanceId,
        id: DrillId,
    ) -> Result<Option<Drill>, CatalogError> {
        let found = find(&*self.read()?, &id.to_string())?;
        Ok(found.filter(|drill| drill.wanted.instance == instance))
    }

    /// The drills of an instance, the newest first; every page costs the same.
    pub fn list_drills(
        &self,
        instance: InstanceId,
        page: Page,
    ) -> Result<Paged<Drill>, CatalogError> {
        let connection = self.read()?;
        let total: i64 = connection
            .prepare_cached("SELECT coalesce(max(number), 0) FROM drills WHERE instance_id = ?1")?
            .query_row([instance.to_string()], |row| row.get(0))?;
        let mut statement = connection.prepare_cached(
            "SELECT * FROM drills WHERE instance_id = ?1 AND number BETWEEN ?2 AND ?3 ORDER BY number DESC",
        )?;
        let (first, last) = page.descending(total);
        let items = decode_all(statement.query((instance.to_string(), first, last))?, decode)?;
        Ok(Paged { items, total: total.unsigned_abs() })
    }

    /// The newest drill of an instance that brought everything back.
    pub fn find_proven_drill(&self, instance: InstanceId) -> Result<Option<Drill>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT * FROM drills WHERE instance_id = ?1 AND state = 'proven'
             ORDER BY finished_at DESC, id DESC LIMIT 1",
        )?;
        let mut rows = statement.query([instance.to_string()])?;
        rows.next()?.map(decode).transpose()
    }

    /// Whether a drill of an instance waits or is done now.
    pub fn is_drilled(&self, instance: InstanceId) -> Result<bool, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT 1 FROM drills WHERE state IN ('queued', 'running') AND quarantined IS NULL AND instance_id = ?1",
        )?;
        Ok(statement.query_row([instance.to_string()], |_| Ok(())).optional()?.is_some())
    }

    /// Holds the next drill for a worker. A row that cannot be decoded is set aside.
    pub fn claim_drill(
        &self,
        holder: &LeaseHolder,
        now: Timestamp,
    ) -> Result<Option<(Claim<DrillId>, Drill)>, CatalogError> {
        // Who looks in vain must not hold up who writes.
        if find_claimable(&*self.read()?, now)?.is_none() {
            return Ok(None);
        }
        self.transact(|catalog| {
            let next = || find_claimable(&catalog.lock(), now);
            while let Some(id) = next()? {
                // Looked up before it is matched: what locks the records is not held meanwhile.
                let found = find(&catalog.lock(), &id);
                match found {
                    Ok(Some(drill)) => {
                        if let Some(held) = catalog.hold_drill(drill, holder, now)? {
                            return Ok(Some(held));
                        }
                    }
                    Ok(None) => return Ok(None),
                    Err(error @ CatalogError::Corrupt { .. }) => {
                        set_aside(&catalog.lock(), ("drills", &id), &error)?;
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(None)
        })
    }

    /// Holds a drill for a worker; `None` if the process died of it so often that it is over.
    fn hold_drill(
        &self,
        drill: Drill,
        holder: &LeaseHolder,
        now: Timestamp,
    ) -> Result<Option<(Claim<DrillId>, Drill)>, CatalogError> {
        let state = drill.state.after(DrillEvent::StepStarted(DrillStep::Verify))?;
        let (attempt, silent_ends): (i64, i64) = self.lock().query_row(
            "UPDATE drills SET state = 'running', step = ?2, worker = ?3, lease_until = ?4,
                 attempt = attempt + 1, silent_ends = silent_ends + is_held, is_held = 1
             WHERE id = ?1 RETURNING attempt, silent_ends",
            (
                drill.wanted.id.to_string(),
                DrillStep::Verify.as_str(),
                &holder.worker,
                holder.until(now),
            ),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let claim = Claim { id: drill.wanted.id, attempt };
        if silent_ends < SILENT_ENDS {
            return Ok(Some((claim, Drill { state, ..drill })));
        }
        let reason = format!(
            "the process ended {silent_ends} times in this drill without saying why; look at the log before you ask for it again"
        );
        let failure = Failure::new(Cause::Crashed, reason);
        self.record_drill_event(&claim, DrillEvent::GivenUp { at: now, failure }, None)?;
        Ok(None)
    }

    /// Keeps a claim for another while and records how far the drill is.
    pub fn renew_drill(
        &self,
        claim: &Claim<DrillId>,
        (holder, now): (&LeaseHolder, Timestamp),
        done: &Done,
    ) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE drills SET lease_until = ?3, documents_done = ?4, bytes_done = ?5, bytes_total = ?6,
                 bytes_per_second = ?7, namespace_now = ?8
             WHERE id = ?1 AND attempt = ?2 AND state = 'running'",
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
        one_row(changed, || CatalogError::LeaseLost(format!("drill {}", claim.id)))
    }

    /// Gives a claim back: the drill begins anew from `at` on.
    pub fn release_drill(&self, claim: &Claim<DrillId>, at: Timestamp) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE drills SET lease_until = ?3, is_held = 0 WHERE id = ?1 AND attempt = ?2 AND state = 'running'",
            (claim.id.to_string(), claim.attempt, at.as_second()),
        )?;
        one_row(changed, || CatalogError::LeaseLost(format!("drill {}", claim.id)))
    }

    /// Records what happened to a drill, and what it found.
    pub fn record_drill_event(
        &self,
        claim: &Claim<DrillId>,
        event: DrillEvent,
        report: Option<&SignedReport>,
    ) -> Result<DrillState, CatalogError> {
        self.transact(|catalog| {
            let transaction = catalog.lock();
            claim.check(&transaction, ("drills", "drill"))?;
            let id = claim.id.to_string();
            let drill = find(&transaction, &id)?
                .ok_or_else(|| CatalogError::Missing(format!("drill {id}")))?;
            let state = drill.state.after(event.clone())?;
            let (step, failure) = match &state {
                DrillState::Running { step } => (Some(step.as_str()), None),
                DrillState::Failed { failure, .. } => (None, Some(failure)),
                _ => (None, None),
            };
            let finished_at = state.finished_at().map(Timestamp::as_second);
            let changed = transaction.execute(
                "UPDATE drills SET state = ?3, step = ?4, finished_at = ?5, failure = ?6, report = ?7, signature = ?8, failure_cause = ?9,
                     is_held = CASE WHEN CAST(?5 AS BIGINT) IS NULL THEN is_held ELSE 0 END
                 WHERE id = ?1 AND attempt = ?2",
                (
                    &id,
                    claim.attempt,
                    state.as_str(),
                    step,
                    finished_at,
                    failure.map(|failure| failure.reason.as_str()),
                    report.map(|report| &report.text),
                    report.map(|report| &report.signature),
                    failure.map(|failure| failure.cause.as_str()),
                ),
            )?;
            one_row(changed, || CatalogError::LeaseLost(format!("drill {id}")))?;
            drop(transaction);
            let (action, at) = match &state {
                DrillState::Proven { finished_at } => ("drillProven", *finished_at),
                DrillState::Failed { finished_at, .. } => ("drillFailed", *finished_at),
                DrillState::Queued | DrillState::Running { .. } => return Ok(state),
            };
            catalog.record_outcome((action, &id), drill.wanted.instance, (at, failure))?;
            Ok(state)
        })
    }
}
