//! Restore jobs.

use crate::database::{Connection, OptionalExtension, Row};
use jiff::{SignedDuration, Timestamp};
use tidemark_model::{
    Cause, Delivery, DocumentChoice, ExportFormat, Failure, InstanceId, OplogTime, PointInTime,
    ProjectId, RestoreEvent, RestoreJobId, RestoreState, RestoreStep, Selection,
};

use crate::catalog::{Catalog, Page, Paged, one_row};
use crate::error::CatalogError;
use crate::lease::{Claim, Done, LeaseHolder, decode_done, may_touch};
use crate::row::{Decoder, decode_all, to_json};
use crate::snapshots::{SILENT_ENDS, set_aside};

/// The target as the API shows it; the instance may be renamed or deleted later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetName {
    /// The project.
    pub project: ProjectId,
    /// The instance's name.
    pub name: String,
}

/// A restore job that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRestoreJob {
    /// Its id.
    pub id: RestoreJobId,
    /// The instance whose snapshot is restored.
    pub instance: InstanceId,
    /// What is delivered.
    pub delivery: Delivery,
    /// When the snapshot was taken.
    pub snapshot_at: Timestamp,
    /// What of it is restored.
    pub selection: Selection,
    /// The documents, if only some of a collection are wanted.
    pub documents: Option<DocumentChoice>,
    /// Whether documents may be replaced where they are, where the target cannot rename.
    pub replaces_in_place: bool,
    /// The target as the API shows it.
    pub target: TargetName,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// How long the link of a download works; without meaning for the other deliveries.
    pub download_lifetime: SignedDuration,
    /// What the file of a download is.
    pub format: ExportFormat,
}

/// The file of a download, and how long it is there. The secret part of its link is kept nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// The file's name in the folder of downloads.
    pub file: String,
    /// What the file is; its name says it.
    pub format: ExportFormat,
    /// How long the link works once the file is there.
    pub lifetime: SignedDuration,
    /// When the link ends; `None` while the file is not there.
    pub expires_at: Option<Timestamp>,
}

/// A restore job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreJob {
    /// Its id.
    pub id: RestoreJobId,
    /// The instance whose snapshot is restored.
    pub instance: InstanceId,
    /// What is delivered.
    pub delivery: Delivery,
    /// What of it is restored.
    pub selection: Selection,
    /// The documents, if only some of a collection are wanted.
    pub documents: Option<DocumentChoice>,
    /// Whether documents may be replaced where they are, where the target cannot rename.
    pub replaces_in_place: bool,
    /// When the snapshot was taken.
    pub snapshot_at: Timestamp,
    /// When the snapshot was complete.
    pub snapshot_finished_at: Option<Timestamp>,
    /// The target as the API shows it.
    pub target: TargetName,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Where it stands.
    pub state: RestoreState,
    /// The link, if it is a download.
    pub download: Option<Download>,
    /// Whether somebody asked to stop it while a worker had it.
    pub cancel_requested: bool,
    /// How much was moved so far.
    pub done: Done,
}

/// The word for a delivery of documents only. A release that does not know it does nothing, rather than to restore
/// everything.
const OF_DOCUMENTS: &str = "documents";

/// A job with what is shown of its snapshot.
const SELECT: &str = "SELECT r.*, s.finished_at AS snapshot_finished_at
     FROM restore_jobs r JOIN snapshots s ON s.id = r.snapshot_id";

fn decode(row: &Row) -> Result<RestoreJob, CatalogError> {
    let row = Decoder::new("restore_jobs", row);
    let delivery = decode_delivery(&row)?;
    Ok(RestoreJob {
        id: row.parse("id")?,
        instance: row.parse("instance_id")?,
        delivery,
        selection: match row.get::<Option<String>>("selection")? {
            Some(_) => row.json("selection")?,
            None => Selection::everything(),
        },
        documents: row.optional_json("documents")?,
        replaces_in_place: row.get("replaces_in_place")?,
        snapshot_at: row.instant("snapshot_at")?,
        snapshot_finished_at: row.optional_instant("snapshot_finished_at")?,
        target: TargetName {
            project: row.parse("target_project_id")?,
            name: row.get("target_name")?,
        },
        created_at: row.instant("created_at")?,
        state: decode_state(&row, &delivery)?,
        download: decode_download(&row)?,
        cancel_requested: row.get("cancel_requested")?,
        done: decode_done(&row)?,
    })
}

fn decode_delivery(row: &Decoder<'_>) -> Result<Delivery, CatalogError> {
    let delivery: String = row.get("delivery")?;
    let snapshot = row.parse("snapshot_id")?;
    let target: Option<InstanceId> = row.parse_optional("target_id")?;
    let seconds: Option<u32> = row.get("pit_seconds")?;
    let oplog: (Option<u32>, Option<u32>) =
        (row.get("pit_oplog_seconds")?, row.get("pit_oplog_increment")?);
    match (delivery.as_str(), target, seconds, oplog) {
        ("automated" | OF_DOCUMENTS, Some(target), None, (None, None)) => {
            Ok(Delivery::Automated { snapshot, target })
        }
        ("download", None, None, (None, None)) => Ok(Delivery::Download { snapshot, moment: None }),
        ("download", None, Some(second), (None, None)) => {
            Ok(Delivery::Download { snapshot, moment: Some(PointInTime::Second(second)) })
        }
        ("download", None, None, (Some(second), Some(increment))) => {
            let moment = PointInTime::Entry(OplogTime::new(second, increment));
            Ok(Delivery::Download { snapshot, moment: Some(moment) })
        }
        ("pointInTime" | OF_DOCUMENTS, Some(target), Some(second), (None, None)) => {
            let moment = PointInTime::Second(second);
            Ok(Delivery::PointInTime { moment, base: snapshot, target })
        }
        ("pointInTime" | OF_DOCUMENTS, Some(target), None, (Some(second), Some(increment))) => {
            let moment = PointInTime::Entry(OplogTime::new(second, increment));
            Ok(Delivery::PointInTime { moment, base: snapshot, target })
        }
        _ => Err(row.corrupt(format!("delivery {delivery:?} contradicts the other columns"))),
    }
}

fn decode_state(row: &Decoder<'_>, delivery: &Delivery) -> Result<RestoreState, CatalogError> {
    let state: String = row.get("state")?;
    let step: Option<String> = row.get("step")?;
    let parse = |step: String| {
        let found = RestoreStep::parse(delivery, &step);
        found.ok_or_else(|| row.corrupt(format!("step {step:?} of {}", delivery.as_str())))
    };
    let step = step.map(parse).transpose()?;
    let finished_at = row.optional_instant("finished_at")?;
    match (state.as_str(), step, finished_at, row.failure()?) {
        ("queued", None, None, None) => Ok(RestoreState::Queued),
        ("running", Some(step), None, None) => Ok(RestoreState::Running { step }),
        ("completed", None, Some(finished_at), None) => Ok(RestoreState::Completed { finished_at }),
        ("failed", None, Some(finished_at), Some(failure)) => {
            Ok(RestoreState::Failed { finished_at, failure })
        }
        ("cancelled", None, Some(finished_at), None) => Ok(RestoreState::Cancelled { finished_at }),
        _ => Err(row.corrupt(format!("state {state:?} contradicts the other columns"))),
    }
}

fn decode_download(row: &Decoder<'_>) -> Result<Option<Download>, CatalogError> {
    let file: Option<String> = row.get("download_file")?;
    let lifetime: Option<i64> = row.get("download_lifetime")?;
    match (file, lifetime, row.optional_instant("expires_at")?) {
        (None, None, None) => Ok(None),
        (Some(file), Some(lifetime), expires_at) => {
            let format = ExportFormat::of_file(&file)
                .ok_or_else(|| row.corrupt(format!("the file {file:?} is of no format")))?;
            let lifetime = SignedDuration::from_secs(lifetime);
            Ok(Some(Download { file, format, lifetime, expires_at }))
        }
        _ => Err(row.corrupt("a download has some of its columns only")),
    }
}

/// The columns that hold a state, but for why it failed.
fn state_columns(state: &RestoreState) -> (&'static str, Option<&'static str>, Option<i64>) {
    let step = match state {
        RestoreState::Running { step } => Some(step.as_str()),
        _ => None,
    };
    (state.as_str(), step, state.finished_at().map(Timestamp::as_second))
}

fn failure_of(state: &RestoreState) -> Option<&Failure> {
    match state {
        RestoreState::Failed { failure, .. } => Some(failure),
        _ => None,
    }
}

fn find(connection: &Connection, id: RestoreJobId) -> Result<Option<RestoreJob>, CatalogError> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE r.id = ?1"))?;
    let mut rows = statement.query([id.to_string()])?;
    rows.next()?.map(decode).transpose()
}

/// The next job that a worker may do.
fn find_claimable_job(
    connection: &Connection,
    now: Timestamp,
) -> Result<Option<String>, CatalogError> {
    let mut statement = connection.prepare_cached(&claimable_job())?;
    Ok(statement.query_row([now.as_second()], |row| row.get(0)).optional()?)
}

pub(crate) fn claimable_job() -> String {
    format!(
        "SELECT r.id FROM restore_jobs r
         WHERE r.state IN ('queued', 'running') AND r.lease_until <= ?1 AND r.quarantined IS NULL
         AND (r.target_id IS NULL OR ({}) OR (r.cancel_requested = 1 AND r.step IS DISTINCT FROM 'swap'))
         ORDER BY (
             SELECT count(*) FROM restore_jobs o
             WHERE o.instance_id = r.instance_id AND o.state = 'running' AND o.state IN ('queued', 'running')
             AND o.id <> r.id),
             r.created_at, r.id LIMIT 1",
        may_touch("r.id", "r.target_id")
    )
}

/// What only some jobs have.
fn insert_details(transaction: &Connection, job: &NewRestoreJob) -> Result<(), CatalogError> {
    if let Some(choice) = &job.documents {
        transaction.execute(
            "UPDATE restore_jobs SET documents = ?2 WHERE id = ?1",
            (job.id.to_string(), to_json(choice)),
        )?;
    }
    if let Delivery::Download { snapshot, .. } = job.delivery {
        transaction.execute(
            "UPDATE restore_jobs SET download_file = ?2, download_lifetime = ?3 WHERE id = ?1",
            (
                job.id.to_string(),
                format!("{}-{snapshot}{}", job.id, job.format.extension()),
                job.download_lifetime.as_secs(),
            ),
        )?;
    }
    Ok(())
}

impl Catalog {
    /// Records that a restore job is wanted.
    pub fn insert_restore_job(&self, job: &NewRestoreJob) -> Result<(), CatalogError> {
        self.transact(|catalog| {
        let transaction = catalog.lock();
        let number: i64 = transaction
            .query_row(
                "UPDATE instances SET restore_job_count = restore_job_count + 1 WHERE id = ?1
                 RETURNING restore_job_count",
                [job.instance.to_string()],
                |row| row.get(0),
            )
            .optional()?
            .ok_or_else(|| CatalogError::Missing(format!("instance {}", job.instance)))?;
        let moment = match job.delivery {
            Delivery::PointInTime { moment, .. } => Some(moment),
            Delivery::Download { moment, .. } => moment,
            Delivery::Automated { .. } => None,
        };
        let (seconds, oplog) = match moment {
            Some(PointInTime::Second(second)) => (Some(second), None),
            Some(PointInTime::Entry(entry)) => (None, Some(entry)),
            None => (None, None),
        };
        transaction.execute(
            "INSERT INTO restore_jobs (id, instance_id, number, delivery, snapshot_id, snapshot_at, target_id,
                 target_project_id, target_name, pit_seconds, pit_oplog_seconds, pit_oplog_increment, state,
                 created_at, selection, replaces_in_place)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'queued', ?13, ?14, ?15)",
            (
                job.id.to_string(),
                job.instance.to_string(),
                number,
                if job.documents.is_some() { OF_DOCUMENTS } else { job.delivery.as_str() },
                job.delivery.snapshot().to_string(),
                job.snapshot_at.as_second(),
                job.delivery.target().map(|target| target.to_string()),
                job.target.project.to_string(),
                &job.target.name,
                seconds,
                oplog.map(|entry| entry.seconds),
                oplog.map(|entry| entry.increment),
                job.created_at.as_second(),
                (!job.selection.is_everything()).then(|| to_json(&job.selection)),
                job.replaces_in_place,
            ),
        )?;
        insert_details(&transaction, job)
        })
    }

    /// The restore job with this id, if the instance has it.
    pub fn find_restore_job(
        &self,
        instance: InstanceId,
        id: RestoreJobId,
    ) -> Result<Option<RestoreJob>, CatalogError> {
        let connection = self.read()?;
        let found = find(&connection, id)?;
        Ok(found.filter(|job| job.instance == instance))
    }

    /// The restore job with this id.
    pub fn load_restore_job(&self, id: RestoreJobId) -> Result<RestoreJob, CatalogError> {
        let connection = self.read()?;
        find(&connection, id)?.ok_or_else(|| CatalogError::Missing(format!("restore job {id}")))
    }

    /// The restore jobs of an instance, newest first; every page costs the same.
    pub fn list_restore_jobs(
        &self,
        instance: InstanceId,
        page: Page,
    ) -> Result<Paged<RestoreJob>, CatalogError> {
        let connection = self.read()?;
        let total: i64 = connection
            .prepare_cached("SELECT restore_job_count FROM instances WHERE id = ?1")?
            .query_row([instance.to_string()], |row| row.get(0))?;
        let mut statement = connection.prepare_cached(&format!(
            "{SELECT} WHERE r.instance_id = ?1 AND r.number BETWEEN ?2 AND ?3 ORDER BY r.number DESC"
        ))?;
        let (first, last) = page.descending(total);
        let items = decode_all(statement.query((instance.to_string(), first, last))?, decode)?;
        Ok(Paged { items, total: total.unsigned_abs() })
    }

    /// Claims a restore job: one that waits, or one whose worker is gone.
    ///
    /// A target that another job or a snapshot is busy with, or that is not up yet, is left alone.
    /// One that is being removed is not: its job fails rather than waits for ever. The instance
    /// with the fewest running jobs comes first. A row that cannot be decoded is set aside; a job
    /// that somebody asked to cancel ends; one of which the process died too often fails.
    pub fn claim_restore_job(
        &self,
        holder: &LeaseHolder,
        now: Timestamp,
    ) -> Result<Option<(Claim<RestoreJobId>, RestoreJob)>, CatalogError> {
        // Who looks in vain must not hold up who writes.
        if find_claimable_job(&*self.read()?, now)?.is_none() {
            return Ok(None);
        }
        self.transact(|catalog| {
            let next = || find_claimable_job(&catalog.lock(), now);
            while let Some(candidate) = next()? {
                let id = candidate.parse().map_err(|_| CatalogError::Corrupt {
                    table: "restore_jobs",
                    id: candidate.clone(),
                    reason: "its id is not an id".to_owned(),
                });
                let found = id.and_then(|id| find(&catalog.lock(), id));
                match found {
                    Ok(Some(job)) => {
                        if let Some(claimed) = catalog.hold_job(job, holder, now)? {
                            return Ok(Some(claimed));
                        }
                    }
                    Ok(None) => {
                        let error = CatalogError::Missing(format!("the snapshot of {candidate}"));
                        set_aside(&catalog.lock(), ("restore_jobs", &candidate), &error)?;
                    }
                    Err(error @ CatalogError::Corrupt { .. }) => {
                        set_aside(&catalog.lock(), ("restore_jobs", &candidate), &error)?;
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(None)
        })
    }

    /// Holds a job for a worker; `None` if it came to its end instead.
    fn hold_job(
        &self,
        job: RestoreJob,
        holder: &LeaseHolder,
        now: Timestamp,
    ) -> Result<Option<(Claim<RestoreJobId>, RestoreJob)>, CatalogError> {
        let state = job.state.after(RestoreEvent::Reclaimed)?;
        let state = match state {
            RestoreState::Queued => state.after(RestoreEvent::StepStarted {
                step: RestoreStep::first(&job.delivery),
                at: now,
            })?,
            resumed => resumed,
        };
        let (word, step, _) = state_columns(&state);
        let (attempt, silent_ends): (i64, i64) = self.lock().query_row(
            "UPDATE restore_jobs SET state = ?2, step = ?3, worker = ?4, attempt = attempt + 1, lease_until = ?5,
                 silent_ends = silent_ends + is_held, is_held = 1
             WHERE id = ?1 RETURNING attempt, silent_ends",
            (job.id.to_string(), word, step, &holder.worker, holder.until(now)),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let claim = Claim { id: job.id, attempt };
        // Whether a swap happened must be found out, whatever somebody wants by now.
        let may_end = !state.is_swapping();
        let event = if may_end && job.cancel_requested {
            RestoreEvent::CancelRequested(now)
        } else if silent_ends >= SILENT_ENDS && (may_end || silent_ends >= 2 * SILENT_ENDS) {
            let at = job.state.step().map_or("its first step", RestoreStep::as_str);
            let reason = format!(
                "the process ended {silent_ends} times in the step {at} of this job without saying why; look at the log before you create it again"
            );
            RestoreEvent::GivenUp { at: now, failure: Failure::new(Cause::Crashed, reason) }
        } else {
            return Ok(Some((claim, RestoreJob { state, ..job })));
        };
        self.record_restore_event(&claim, event)?;
        Ok(None)
    }

    /// Gives a claim back: the job is taken up again from `at` on.
    pub fn release_restore_job(
        &self,
        claim: &Claim<RestoreJobId>,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE restore_jobs SET lease_until = ?3, is_held = 0
             WHERE id = ?1 AND attempt = ?2 AND state = 'running'",
            (claim.id.to_string(), claim.attempt, at.as_second()),
        )?;
        one_row(changed, || CatalogError::LeaseLost(format!("restore job {}", claim.id)))
    }

    /// Keeps a claim for another while and records how far the job is; answers whether somebody
    /// asked to cancel it.
    pub fn renew_restore_job(
        &self,
        claim: &Claim<RestoreJobId>,
        (holder, now): (&LeaseHolder, Timestamp),
        done: &Done,
    ) -> Result<bool, CatalogError> {
        self.lock()
            .query_row(
                "UPDATE restore_jobs SET lease_until = ?3, documents_done = ?4, bytes_done = ?5,
                     bytes_total = ?6, bytes_per_second = ?7, namespace_now = ?8
                 WHERE id = ?1 AND attempt = ?2 AND state = 'running'
                 RETURNING cancel_requested",
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
                |row| row.get(0),
            )
            .optional()?
            .ok_or_else(|| CatalogError::LeaseLost(format!("restore job {}", claim.id)))
    }

    /// Records what happened to a job. The link of a download begins to age when it is delivered.
    pub fn record_restore_event(
        &self,
        claim: &Claim<RestoreJobId>,
        event: RestoreEvent,
    ) -> Result<RestoreState, CatalogError> {
        self.transact(|catalog| {
        let transaction = catalog.lock();
        claim.check(&transaction, ("restore_jobs", "restore job"))?;
        let job = find(&transaction, claim.id)?
            .ok_or_else(|| CatalogError::Missing(format!("restore job {}", claim.id)))?;
        let swap_at = match event {
            RestoreEvent::StepStarted { step: RestoreStep::SWAP, at } => Some(at),
            _ => None,
        };
        let state = job.state.after(event.clone())?;
        let ((word, step, finished_at), failure) = (state_columns(&state), failure_of(&state));
        let expires_at = match (&state, &job.download) {
            (RestoreState::Completed { finished_at }, Some(download)) => {
                finished_at.saturating_add(download.lifetime).ok()
            }
            _ => None,
        };
        let changed = transaction.execute(
            "UPDATE restore_jobs SET state = ?3, step = ?4, finished_at = ?5, failure = ?6,
                 expires_at = coalesce(?7, expires_at), failure_cause = ?8, lease_until = CASE WHEN CAST(?5 AS BIGINT) IS NULL THEN lease_until ELSE 0 END,
                 is_held = CASE WHEN CAST(?5 AS BIGINT) IS NULL THEN is_held ELSE 0 END
             WHERE id = ?1 AND attempt = ?2",
            (
                claim.id.to_string(),
                claim.attempt,
                word,
                step,
                finished_at,
                failure.map(|failure| failure.reason.as_str()),
                expires_at.map(Timestamp::as_second),
                failure.map(|failure| failure.cause.as_str()),
            ),
        )?;
        one_row(changed, || CatalogError::LeaseLost(format!("restore job {}", claim.id)))?;
        if let Some((target, at)) = job.delivery.target().zip(swap_at) {
            transaction.execute(
                "UPDATE oplog_ranges SET ended_by = ?1, ended_at = ?3 WHERE instance_id = ?2
                 AND (ended_by IS NULL OR ended_by IN (
                     SELECT id FROM restore_jobs WHERE state IN ('failed', 'cancelled')))
                 AND first = (SELECT max(first) FROM oplog_ranges WHERE instance_id = ?2)",
                (claim.id.to_string(), target.to_string(), at.as_second()),
            )?;
        }
        drop(transaction);
        let action = match &state {
            RestoreState::Completed { .. } => "restoreCompleted",
            RestoreState::Failed { .. } => "restoreFailed",
            RestoreState::Cancelled { .. } => "restoreCancelled",
            RestoreState::Queued | RestoreState::Running { .. } => return Ok(state),
        };
        let at = state.finished_at().unwrap_or(Timestamp::UNIX_EPOCH);
        let told = (at, failure);
        catalog.record_outcome((action, &claim.id.to_string()), job.instance, told)?;
        Ok(state)
        })
    }

    /// Asks to stop a job: at once while it waits, otherwise through its worker.
    pub fn request_cancel(&self, id: RestoreJobId, at: Timestamp) -> Result<(), CatalogError> {
        self.transact(|catalog| {
            let transaction = catalog.lock();
            let job = find(&transaction, id)?
                .ok_or_else(|| CatalogError::Missing(format!("restore job {id}")))?;
            let state = job.state.after(RestoreEvent::CancelRequested(at))?;
            let changed = if job.state == RestoreState::Queued {
                let (word, step, finished_at) = state_columns(&state);
                transaction.execute(
                    "UPDATE restore_jobs SET state = ?2, step = ?3, finished_at = ?4 WHERE id = ?1",
                    (id.to_string(), word, step, finished_at),
                )?
            } else {
                transaction.execute(
                    "UPDATE restore_jobs SET cancel_requested = 1 WHERE id = ?1",
                    [id.to_string()],
                )?
            };
            one_row(changed, || CatalogError::Missing(format!("restore job {id}")))?;
            Ok(())
        })
    }

    /// The download job with this file.
    pub fn find_download(&self, file: &str) -> Result<Option<RestoreJob>, CatalogError> {
        let connection = self.read()?;
        let mut statement =
            connection.prepare_cached(&format!("{SELECT} WHERE r.download_file = ?1"))?;
        let mut rows = statement.query([file])?;
        rows.next()?.map(decode).transpose()
    }

    /// Whether a job writes to an instance, or waits to; or to the deployment of which it is a part, or
    /// to a part of it.
    pub fn is_restore_target(&self, instance: InstanceId) -> Result<bool, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT 1 FROM restore_jobs WHERE state IN ('queued', 'running') AND quarantined IS NULL
             AND target_id IN (SELECT ?1 UNION SELECT instance_id FROM deployments WHERE placed_on = ?1
                               UNION SELECT placed_on FROM deployments WHERE instance_id = ?1)",
        )?;
        Ok(statement.exists([instance.to_string()])?)
    }

    /// Whether a snapshot of the instance is wanted because a restore changed everything.
    pub fn newest_restore_of(
        &self,
        instance: InstanceId,
    ) -> Result<Option<Timestamp>, CatalogError> {
        let seconds: Option<i64> = self.read()?.query_row(
            "SELECT max(finished_at) FROM restore_jobs WHERE target_id = ?1 AND state = 'completed'",
            [instance.to_string()],
            |row| row.get(0),
        )?;
        Ok(seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()))
    }
}
