//! Restore drills: the newest backup, or any other, brought back into a scratch database and compared.
//!
//! What is expected is what the vault says; what is found is read back as a client reads it. The scratch
//! database is on this node and ends with the drill, however that ends. A drill whose worker died begins
//! anew.

use std::sync::Arc;

use bson::{Bson, Document, doc};
use jiff::Timestamp;
use serde_json::{Value, json};
use tidemark_actions::restore_jobs::CreateRestoreJobError;
use tidemark_catalog::{CatalogError, Claim, Drill, Instance, SignedReport};
use tidemark_deployment::{Connection, Endpoint};
use tidemark_model::{
    BackupPoint, Cause, CheckResult, ContentProof, DrillCheck, DrillEvent, DrillId, DrillReport,
    DrillStep, Failure, MOST_DOCUMENTS, NotRestored, OplogTime, ProvenCollection, TRACE_TARGET,
    format_instant, to_hex,
};
use tidemark_mover::{Attempt, MoverError, Progress, Proof, RestoreSource, Stop, prove};
use tidemark_vault::DocumentSet;

use crate::config::unreachable;
use crate::filling::{bring_back, restorable, selection_of};
use crate::heartbeat::{Interruption, work_under_lease};
use crate::jobs::{ATTEMPTS, catch_panic, done_of, next_try, record_until_done};
use crate::moments::{MomentError, Moments};
use crate::report_key;
use crate::shared::Shared;
use crate::steps::{StepError, enter_step};

/// Documents that a check finds are kept up to so many bytes.
const MOST_FOUND_BYTES: usize = 256 * 1024;

/// Does all drills that wait.
pub(crate) fn run_round(shared: &Arc<Shared>) {
    while !shared.stop.is_requested() {
        let now = shared.config.clock.now();
        match shared.config.catalog.claim_drill(&shared.holder, now) {
            Ok(Some((claim, drill))) => {
                shared.troubles.clear("drills");
                let span = tracing::info_span!(
                    target: TRACE_TARGET, "drill", "tidemark.drill" = %claim.id,
                    "tidemark.attempt" = claim.attempt, "tidemark.instance" = %drill.wanted.instance,
                );
                if let Err(error) = span.in_scope(|| run(shared, &claim, &drill)) {
                    tracing::error!(%error, drill = %claim.id, "the outcome of a drill was not recorded");
                }
            }
            Ok(None) => return shared.troubles.clear("drills"),
            Err(error) => {
                tracing::error!(%error, "drills cannot be claimed");
                return shared.troubles.fail("drills", format!("drills: {error}"));
            }
        }
    }
}

fn run(shared: &Arc<Shared>, claim: &Claim<DrillId>, drill: &Drill) -> Result<(), CatalogError> {
    let (catalog, clock) = (&shared.config.catalog, &shared.config.clock);
    let progress = Progress::default();
    let renew = || {
        let done = done_of(&progress);
        catalog.renew_drill(claim, (&shared.holder, clock.now()), &done).map(|()| false)
    };
    let running = Running { shared, claim, drill, progress: &progress, started_at: clock.now() };
    let (outcome, interruption) =
        work_under_lease((shared, "drill"), renew, |stop| catch_panic(|| running.do_steps(stop)));
    if interruption == Interruption::LeaseLost {
        return Ok(());
    }
    if matches!(outcome, Ok(Ok(_))) {
        // How much it was at the end; whether the lease still holds, the record of the end finds out.
        let _ = renew();
    }
    let now = clock.now();
    // What is not given back counts as a process that ended without a word.
    let release = |at| {
        let record = || catalog.release_drill(claim, at);
        match record_until_done(shared, &format!("drill {}", claim.id), record) {
            Err(CatalogError::LeaseLost(_)) => Ok(()),
            outcome => outcome,
        }
    };
    let (event, report) = match outcome {
        Ok(Ok(report)) => match failure_of(&report) {
            None => (DrillEvent::Proven(now), Some(report)),
            Some(failure) => (DrillEvent::GivenUp { at: now, failure }, Some(report)),
        },
        Ok(Err(StepError::Catalog(CatalogError::LeaseLost(_)) | StepError::Vanished)) => {
            return Ok(());
        }
        Ok(Err(_)) if shared.stop.is_requested() => return release(now),
        Ok(Err(error)) if error.is_transient() && claim.attempt < ATTEMPTS => {
            tracing::warn!(%error, drill = %claim.id, "a drill is tried again");
            return release(next_try(now, claim.attempt));
        }
        Ok(Err(error)) => (DrillEvent::GivenUp { at: now, failure: error.to_failure() }, None),
        Err(panic) => (DrillEvent::GivenUp { at: now, failure: Failure::of_panic(&panic) }, None),
    };
    if let DrillEvent::GivenUp { failure: Failure { cause, reason }, .. } = &event {
        tracing::error!(reason, cause = cause.as_str(), drill = %claim.id, "a drill failed");
    }
    record_until_done(shared, &format!("drill {}", claim.id), || {
        let signed = report.as_ref().map(|report| sign(shared, report)).transpose()?;
        catalog.record_drill_event(claim, event.clone(), signed.as_ref()).map(drop)
    })
}

/// Why a drill failed that was done to its end, if it did.
fn failure_of(report: &DrillReport) -> Option<Failure> {
    let reason = report.reason.as_ref()?;
    let cause = if report.collections.is_empty() && !report.not_restored.is_empty() {
        Cause::Unsupported
    } else if report.collections.iter().all(|collection| collection.is_equal) {
        Cause::CheckFailed
    } else {
        Cause::Different
    };
    Some(Failure::new(cause, reason))
}

fn sign(shared: &Shared, report: &DrillReport) -> Result<SignedReport, CatalogError> {
    let text = json!(report).to_string();
    let signature = report_key::sign(&shared.config.catalog, text.as_bytes())?;
    Ok(SignedReport { text, signature })
}

struct Running<'a> {
    shared: &'a Arc<Shared>,
    claim: &'a Claim<DrillId>,
    drill: &'a Drill,
    progress: &'a Progress,
    started_at: Timestamp,
}

impl Running<'_> {
    fn begin(&self, step: DrillStep) -> Result<(), StepError> {
        enter_step(&self.shared.config, &self.claim.id.to_string(), step.as_str())?;
        let event = DrillEvent::StepStarted(step);
        self.shared.config.catalog.record_drill_event(self.claim, event, None)?;
        Ok(())
    }

    fn do_steps(&self, stop: &Stop) -> Result<DrillReport, StepError> {
        let config = &self.shared.config;
        let instance = config.catalog.load_instance(self.drill.wanted.instance)?;
        self.begin(DrillStep::Verify)?;
        let wanted = &self.drill.wanted;
        let point = match wanted.moment {
            None => BackupPoint::Snapshot(wanted.snapshot),
            Some(moment) => BackupPoint::Moment(moment, Some(wanted.snapshot)),
        };
        let moments = Moments::of(self.shared);
        let backup =
            moments.source(&instance, point, stop).map_err(|error| step_error(&instance, error))?;
        let scratch = config
            .deployments
            .scratch(&self.claim.id.to_string())
            .map_err(|reason| unreachable(instance.id, "starting a scratch database", &reason))?;
        let (manifest, not_restored) = restorable(&backup.manifest);
        let shows = match &backup.replay {
            Some(replay) => Some(replay.plan.reaches),
            None => backup.manifest.mode.consistent_at(),
        };
        if manifest.collections.is_empty() && !not_restored.is_empty() {
            let reason = "the scratch database can hold nothing of it".to_owned();
            let nothing = (Vec::new(), Some(reason));
            return Ok(self.report((&instance, shows), nothing, (not_restored, Vec::new())));
        }
        let selection = selection_of(&manifest, &not_restored)?;
        let source = RestoreSource { manifest, replay: backup.replay.clone(), selection };
        let attempt = Attempt { job: self.claim.id.to_string(), number: self.claim.attempt };
        let (from, to) = ((&backup.vault, source), (&scratch.endpoint(), attempt));
        let is_verified = || self.begin(DrillStep::Restore);
        let expected = bring_back(from, to, (stop, self.progress), is_verified)?;
        self.begin(DrillStep::Compare)?;
        let proofs = prove(&scratch.endpoint(), expected, (stop, self.progress))?;
        self.begin(DrillStep::Check)?;
        let checks = self.drill.wanted.checks.iter();
        let checks: Vec<CheckResult> =
            checks.map(|check| ask(&scratch.endpoint(), check)).collect();
        Ok(self.report((&instance, shows), (proofs, None), (not_restored, checks)))
    }

    fn report(
        &self,
        (instance, shows): (&Instance, Option<OplogTime>),
        (proofs, why): (Vec<Proof>, Option<String>),
        (not_restored, checks): (Vec<NotRestored>, Vec<CheckResult>),
    ) -> DrillReport {
        let different: Vec<&str> =
            proofs.iter().filter(|p| !p.is_equal()).map(|p| p.namespace.as_str()).collect();
        let failed: Vec<&str> =
            checks.iter().filter(|c| !c.holds).map(|c| c.check.name.as_str()).collect();
        let reason = why.or(match (different.as_slice(), failed.as_slice()) {
            ([], []) => None,
            ([], failed) => Some(format!("checks do not hold: {}", failed.join(", "))),
            (different, _) => Some(format!("came back different: {}", different.join(", "))),
        });
        DrillReport {
            version: 1,
            drill_id: self.claim.id.to_string(),
            outcome: if reason.is_none() { "proven" } else { "failed" }.to_owned(),
            reason,
            instance_id: instance.id,
            instance_name: instance.name.to_string(),
            snapshot_id: self.drill.wanted.snapshot.to_string(),
            shows,
            started_at: format_instant(self.started_at),
            finished_at: format_instant(self.shared.config.clock.now()),
            restored_by: format!("tidemark {}", env!("CARGO_PKG_VERSION")),
            collections: proofs.into_iter().map(describe).collect(),
            not_restored,
            checks,
        }
    }
}

fn describe(proof: Proof) -> ProvenCollection {
    let content = |set: &DocumentSet| ContentProof {
        documents: set.documents,
        bytes: set.bytes,
        hash: to_hex(&set.hash.map(u64::to_be_bytes).concat()),
    };
    ProvenCollection {
        expected: content(&proof.expected),
        found: content(&proof.found),
        has_indexes: proof.has_indexes,
        is_equal: proof.is_equal(),
        namespace: proof.namespace,
    }
}

/// Why a backup cannot be brought back: whether it may be later is kept.
pub(crate) fn step_error(instance: &Instance, error: MomentError) -> StepError {
    match error {
        MomentError::Mover(error) => error.into(),
        MomentError::Unknown(CreateRestoreJobError::Catalog(error)) => error.into(),
        MomentError::NotYet => unreachable(instance.id, "capturing its oplog", "it is late").into(),
        MomentError::Unknown(error) => MoverError::OutOfReach { what: error.to_string() }.into(),
    }
}

/// Asks a check of the user's.
fn ask(endpoint: &Endpoint, check: &DrillCheck) -> CheckResult {
    let (found, holds) = match (find(endpoint, check), &check.documents) {
        (Err(reason), _) => (json!({ "error": reason }), false),
        (Ok((count, documents)), Some(expected)) => {
            let holds = count == expected.len() as u64 && is_same(expected, &documents);
            (json!(documents), holds)
        }
        (Ok((count, _)), None) => {
            let is_enough = |least: u64| count >= least;
            let holds = check.count.map_or_else(
                || check.at_least.is_some_and(is_enough),
                |expected| count == expected,
            );
            (json!(count), holds)
        }
    };
    CheckResult { check: check.clone(), found, holds }
}

/// Whether documents are the expected ones: of the same fields in the same order, numbers by their value.
fn is_same(expected: &[Value], found: &[Value]) -> bool {
    let read = |value: &Value| Bson::try_from(value.clone()).ok();
    let is_equal = |(a, b): (&Value, &Value)| match (read(a), read(b)) {
        (Some(a), Some(b)) => are_equal(&a, &b),
        _ => false,
    };
    expected.len() == found.len() && expected.iter().zip(found).all(is_equal)
}

fn are_equal(a: &Bson, b: &Bson) -> bool {
    match (a, b) {
        (Bson::Document(a), Bson::Document(b)) => {
            let is_field =
                |((a, x), (b, y)): ((&String, &Bson), (&String, &Bson))| a == b && are_equal(x, y);
            a.len() == b.len() && a.iter().zip(b).all(is_field)
        }
        (Bson::Array(a), Bson::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| are_equal(a, b))
        }
        _ => a == b || tidemark_mover::compare_ids(a, b) == Some(std::cmp::Ordering::Equal),
    }
}

/// How many documents a check finds, and the documents themselves where they are compared.
fn find(endpoint: &Endpoint, check: &DrillCheck) -> Result<(u64, Vec<Value>), String> {
    let (database, _) = check.namespace.split_once('.').unwrap_or((&check.namespace, ""));
    let command = command_of(check)?;
    let mut connection = Connection::open(endpoint).map_err(|error| error.to_string())?;
    let (mut count, mut bytes, mut found) = (0, 0, Vec::new());
    let is_compared = check.documents.is_some();
    connection
        .for_each(database, command, |raw| {
            count += 1;
            bytes += raw.as_bytes().len();
            if is_compared && bytes <= MOST_FOUND_BYTES && found.len() <= MOST_DOCUMENTS {
                let document = Document::try_from(raw).map_err(|error| MoverError::Lookup {
                    what: format!("a document is damaged: {error}"),
                })?;
                found.push(Bson::Document(document).into_relaxed_extjson());
            }
            Ok::<_, MoverError>(())
        })
        .map_err(|error| error.to_string())?;
    Ok((count, found))
}

fn command_of(check: &DrillCheck) -> Result<Document, String> {
    let (_, collection) = check.namespace.split_once('.').unwrap_or(("", &check.namespace));
    let document = |value: &Value| match Bson::try_from(value.clone()) {
        Ok(Bson::Document(document)) => Ok(document),
        _ => Err("a filter and each stage of a pipeline is an object in Extended JSON".to_owned()),
    };
    if let Some(stages) = &check.pipeline {
        let stages = stages.iter().map(document).collect::<Result<Vec<_>, _>>()?;
        return Ok(doc! { "aggregate": collection, "pipeline": stages, "cursor": {} });
    }
    let filter = check.filter.as_ref().map(document).transpose()?.unwrap_or_default();
    let mut command = doc! { "find": collection, "filter": filter };
    if check.documents.is_some() {
        command.insert("sort", doc! { "_id": 1 });
    } else {
        command.insert("projection", doc! { "_id": 1 });
    }
    Ok(command)
}
