//! Doing the restore jobs that are wanted, step by step.

use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tidemark_catalog::{CatalogError, Claim, RestoreJob};
use tidemark_model::{
    Captured, Delivery, DocumentChoice, DownloadStep, Failure, InstanceEvent, InstanceId, Material,
    OplogTime, PointInTime, ReplaceStep, RestoreEvent, RestoreJobId, RestorePlan, RestoreStep,
    SnapshotId, TRACE_TARGET, format_instant, plan_restore,
};
use tidemark_mover::{
    Attempt, DocumentRestore, MoverError, Progress, Replay, Restore, RestoreSource, Stop,
    SynthesisRequest, discard_attempt, discard_stage, export, filter_of, forget_swap, select,
    swap_stage, synthesize, was_swapped,
};

use tidemark_vault::{Manifest, SnapshotWriter, Vault};

use crate::drills::step_error;
use crate::heartbeat::{Interruption, work_under_lease};
use crate::jobs::{ATTEMPTS, catch_panic, done_of, next_try, record_until_done};
use crate::moments::Moments;
use crate::shared::Shared;
use crate::steps::{StepError, enter_step};
use crate::tail;

/// How long a job waits for the capture to reach its moment.
const CAPTURE_PATIENCE: Duration = Duration::from_mins(1);

/// Does all jobs that wait.
pub(crate) fn run_round(shared: &Arc<Shared>) {
    while !shared.stop.is_requested() {
        let now = shared.config.clock.now();
        match shared.config.catalog.claim_restore_job(&shared.holder, now) {
            Ok(Some((claim, job))) => {
                shared.troubles.clear("restores");
                let span = tracing::info_span!(
                    target: TRACE_TARGET, "restore", "tidemark.job" = %claim.id,
                    "tidemark.attempt" = claim.attempt, "tidemark.delivery" = job.delivery.as_str(),
                );
                if let Err(error) = span.in_scope(|| run(shared, &claim, &job)) {
                    tracing::error!(%error, job = %claim.id, "the outcome of a restore job was not recorded");
                }
            }
            Ok(None) => return shared.troubles.clear("restores"),
            Err(error) => {
                tracing::error!(%error, "no restore job could be claimed");
                return shared
                    .troubles
                    .fail("restores", format!("no restore job can be done: {error}"));
            }
        }
    }
}

fn run(
    shared: &Arc<Shared>,
    claim: &Claim<RestoreJobId>,
    job: &RestoreJob,
) -> Result<(), CatalogError> {
    let catalog = &shared.config.catalog;
    let clock = &shared.config.clock;
    if let Some(target) = job.delivery.target() {
        // After a restart it is UPDATING already. The hosting makes it IDLE when no job wants it.
        let _ = catalog.record_instance_event(target, InstanceEvent::ChangeBegun, clock.now());
    }
    let progress = Progress::default();
    let renew = || {
        let done = done_of(&progress);
        catalog.renew_restore_job(claim, (&shared.holder, clock.now()), &done)
    };
    let running = Running { shared, claim, job, progress: &progress };
    let (outcome, interruption) =
        work_under_lease((shared, "restore"), renew, |stop| catch_panic(|| running.do_steps(stop)));
    if interruption == Interruption::LeaseLost {
        return give_up_stage(shared, claim, job);
    }
    if matches!(outcome, Ok(Ok(()))) {
        // How much it was at the end; whether the lease still holds, the record of the end finds out.
        let _ = renew();
    }
    let now = clock.now();
    let event = match outcome {
        Ok(Ok(())) => RestoreEvent::Delivered(now),
        Ok(Err(StepError::Catalog(CatalogError::LeaseLost(_)))) => {
            return give_up_stage(shared, claim, job);
        }
        Ok(Err(StepError::Vanished)) => return Ok(()),
        Ok(Err(_)) if shared.stop.is_requested() => return release(shared, (claim, job), now),
        Ok(Err(StepError::Mover(MoverError::Stopped))) => RestoreEvent::CancelRequested(now),
        // A swap that began is gone on with, however often the target does not answer: given up, it would
        // be half done.
        Ok(Err(error))
            if error.is_transient() && (claim.attempt < ATTEMPTS || is_swapping(shared, claim)) =>
        {
            tracing::warn!(%error, job = %claim.id, "a restore job is tried again");
            return release(shared, (claim, job), next_try(now, claim.attempt));
        }
        Ok(Err(error)) => RestoreEvent::GivenUp { at: now, failure: error.to_failure() },
        Err(panic) => RestoreEvent::GivenUp { at: now, failure: Failure::of_panic(&panic) },
    };
    match truth_about_swap(shared, (claim, job), event) {
        Ok(event) => finish(shared, (claim, job), event),
        Err(error) => {
            tracing::warn!(%error, job = %claim.id, "whether a swap has happened is not known, it is asked again");
            release(shared, (claim, job), next_try(now, claim.attempt))
        }
    }
}

/// Gives a job back, to be gone on with from `at` on.
fn release(
    shared: &Shared,
    (claim, job): (&Claim<RestoreJobId>, &RestoreJob),
    at: Timestamp,
) -> Result<(), CatalogError> {
    let record = || shared.config.catalog.release_restore_job(claim, at);
    match record_until_done(shared, &format!("restore job {}", claim.id), record) {
        Err(CatalogError::LeaseLost(_)) => give_up_stage(shared, claim, job),
        outcome => outcome,
    }
}

/// Whether a job has begun with its swap. Unknown is taken for begun.
fn is_swapping(shared: &Shared, claim: &Claim<RestoreJobId>) -> bool {
    let job = shared.config.catalog.load_restore_job(claim.id);
    job.map_or(true, |job| job.state.is_swapping())
}

/// What is to be recorded of a job that may have been swapped in: whatever went wrong, it is
/// delivered if the swap is on record.
fn truth_about_swap(
    shared: &Shared,
    (claim, job): (&Claim<RestoreJobId>, &RestoreJob),
    event: RestoreEvent,
) -> Result<RestoreEvent, StepError> {
    let is_bad = !matches!(event, RestoreEvent::Delivered(_));
    let Some(target) = job.delivery.target().filter(|_| is_bad) else { return Ok(event) };
    if !shared.config.catalog.load_restore_job(claim.id)?.state.is_swapping() {
        return Ok(event);
    }
    let swapped = was_swapped(&shared.captures.endpoint(target)?, &claim.id.to_string())?;
    Ok(if swapped { RestoreEvent::Delivered(shared.config.clock.now()) } else { event })
}

/// Records how a job ended, and removes what it left on its target.
fn finish(
    shared: &Shared,
    (claim, job): (&Claim<RestoreJobId>, &RestoreJob),
    event: RestoreEvent,
) -> Result<(), CatalogError> {
    let target = job.delivery.target().map(|target| shared.captures.endpoint(target));
    let id = claim.id.to_string();
    match &event {
        RestoreEvent::GivenUp { failure, .. } => {
            let Failure { cause, reason } = failure;
            tracing::error!(reason, cause = cause.as_str(), job = id, "a restore job failed");
        }
        RestoreEvent::Delivered(_) => {
            tracing::info!(job = id, delivery = job.delivery.as_str(), "a restore job is complete");
        }
        _ => {}
    }
    let record = || shared.config.catalog.record_restore_event(claim, event.clone()).map(drop);
    match record_until_done(shared, &format!("restore job {id}"), record) {
        // Another worker has the job: what that one staged is not to be touched.
        Err(CatalogError::LeaseLost(_)) => return give_up_stage(shared, claim, job),
        outcome => outcome?,
    }
    let Some(Ok(endpoint)) = &target else { return Ok(()) };
    // The record of the swap has told what it had to.
    let removed = discard_stage(endpoint, &id).and_then(|()| forget_swap(endpoint, &id));
    if let Err(error) = removed {
        tracing::warn!(%error, job = id, "something of a restore was left behind; it is removed later");
    }
    Ok(())
}

/// Removes what this attempt staged, after another worker took the job; unless that one is about
/// to swap it in.
fn give_up_stage(
    shared: &Shared,
    claim: &Claim<RestoreJobId>,
    job: &RestoreJob,
) -> Result<(), CatalogError> {
    let Some(target) = job.delivery.target() else { return Ok(()) };
    match shared.config.catalog.load_restore_job(claim.id) {
        Ok(present) if present.state.is_swapping() => return Ok(()),
        // Nobody goes on with a job that is not there any more.
        Ok(_) | Err(CatalogError::Missing(_)) => {}
        Err(error) => return Err(error),
    }
    let attempt = Attempt { job: claim.id.to_string(), number: claim.attempt };
    let removed =
        shared.captures.endpoint(target).and_then(|endpoint| discard_attempt(&endpoint, &attempt));
    if let Err(error) = removed {
        tracing::warn!(%error, job = %claim.id, "what an attempt staged was left behind; it is removed later");
    }
    Ok(())
}

struct Running<'a> {
    shared: &'a Arc<Shared>,
    claim: &'a Claim<RestoreJobId>,
    job: &'a RestoreJob,
    progress: &'a Progress,
}

impl Running<'_> {
    fn do_steps(&self, stop: &Stop) -> Result<(), StepError> {
        if let (Some(choice), Some(target)) = (&self.job.documents, self.job.delivery.target()) {
            return self.restore_documents(choice, target, stop);
        }
        match self.job.delivery {
            Delivery::Download { moment, .. } => self.download(moment, stop),
            Delivery::Automated { target, .. } => self.restore(target, None, stop),
            Delivery::PointInTime { moment, target, .. } => {
                self.restore(target, Some(moment), stop)
            }
        }
    }

    fn begin(&self, step: impl Into<RestoreStep>) -> Result<(), StepError> {
        let step = step.into();
        tracing::debug!(job = %self.claim.id, step = step.as_str(), "a restore step begins");
        let event = RestoreEvent::StepStarted { step, at: self.shared.config.clock.now() };
        self.shared.config.catalog.record_restore_event(self.claim, event)?;
        enter_step(&self.shared.config, &self.claim.id.to_string(), step.as_str())
    }

    /// The vault that holds what is restored.
    fn vault(&self) -> Result<&Arc<Vault>, MoverError> {
        self.shared.config.vault_of(self.job.instance)
    }

    fn source(&self, moment: Option<PointInTime>, stop: &Stop) -> Result<RestoreSource, StepError> {
        let snapshot = self.job.delivery.snapshot();
        let manifest = self.vault()?.load_manifest(&snapshot.to_string());
        let manifest = manifest.map_err(MoverError::from)?;
        let plan = moment.map(|moment| self.plan(moment, snapshot, stop)).transpose()?;
        if plan.is_some() {
            tail::store(&self.shared.config, self.job.instance)?;
        }
        let replay = plan.map(|plan| Replay { instance: self.job.instance.to_string(), plan });
        Ok(RestoreSource { manifest, replay, selection: self.job.selection.clone() })
    }

    /// Plans how the moment is reached, after the oplog through it was captured.
    fn plan(
        &self,
        moment: PointInTime,
        base: SnapshotId,
        stop: &Stop,
    ) -> Result<RestorePlan, StepError> {
        let catalog = &self.shared.config.catalog;
        let bases = catalog.list_bases(self.job.instance)?;
        let plan = |captured: &[Captured]| {
            plan_restore(moment, Some(base), &Material { captured, bases: &bases })
        };
        // What the vault has may be enough: then the source need not run.
        if let Ok(plan) = plan(&catalog.list_captured(self.job.instance)?) {
            return Ok(plan);
        }
        self.wait_for_capture(moment.last_position(), stop)?;
        let mut captured = catalog.list_captured(self.job.instance)?;
        if let Some(newest) = captured.last_mut() {
            *newest = newest.through(moment.last_position());
        }
        Ok(plan(&captured).map_err(MoverError::from)?)
    }

    fn restore(
        &self,
        target: InstanceId,
        moment: Option<PointInTime>,
        stop: &Stop,
    ) -> Result<(), StepError> {
        let endpoint = self.shared.captures.endpoint(target)?;
        let job = self.claim.id.to_string();
        if self.job.state.is_swapping() {
            return Ok(swap_stage(&endpoint, &job)?);
        }
        let source = self.source(moment, stop)?;
        let attempt = Attempt { job: job.clone(), number: self.claim.attempt };
        let mut restore =
            Restore::new(self.vault()?, endpoint.clone(), (attempt, source), stop, self.progress);
        if self.job.replaces_in_place {
            restore = restore.allow_replacing_in_place();
        }
        self.begin(ReplaceStep::Verify)?;
        let verified = restore.verify()?;
        self.begin(ReplaceStep::Stage)?;
        restore.stage(&verified)?;
        self.begin(ReplaceStep::Replay)?;
        restore.replay(&verified)?;
        self.begin(ReplaceStep::Index)?;
        restore.build_indexes()?;
        self.begin(ReplaceStep::Compare)?;
        restore.compare()?;
        stop.check()?;
        self.begin(ReplaceStep::Swap)?;
        swap_stage(&endpoint, &job)?;
        enter_step(&self.shared.config, &job, "after-swap")
    }

    /// Brings documents back into a collection as it is.
    fn restore_documents(
        &self,
        choice: &DocumentChoice,
        target: InstanceId,
        stop: &Stop,
    ) -> Result<(), StepError> {
        let config = &self.shared.config;
        let endpoint = self.shared.captures.endpoint(target)?;
        let instance = config.catalog.load_instance(self.job.instance)?;
        self.begin(ReplaceStep::Verify)?;
        let point = self.job.delivery.point();
        let opened = Moments::of(self.shared).open(&instance, point, stop);
        let opened = opened.map_err(|error| step_error(&instance, error))?;
        let filter = filter_of(choice)?;
        let matches = config.deployments.matcher(&filter);
        let matches = matches.map_err(|what| MoverError::Lookup { what })?;
        let restore = DocumentRestore {
            vault: &opened.vault,
            manifest: &opened.manifest,
            choice,
            matches: &matches,
            endpoint: &endpoint,
            stop,
            progress: self.progress,
        };
        let found = restore.look()?;
        restore.check(&found)?;
        self.progress.expect(found.bytes);
        self.begin(ReplaceStep::Write)?;
        restore.write().map_err(|error| match error {
            error if error.is_transient() => error,
            MoverError::Stopped => MoverError::Stopped,
            error => MoverError::Halfway {
                reason: error.to_string(),
                documents: self.progress.documents(),
            },
        })?;
        Ok(())
    }

    /// Makes the snapshot of a moment in the vault, without storing a manifest.
    fn make(
        &self,
        base: Manifest,
        replay: Replay,
        stop: &Stop,
    ) -> Result<(Manifest, SnapshotWriter), StepError> {
        let request = SynthesisRequest {
            owner: base.owner.clone(),
            snapshot: self.claim.id.to_string(),
            taken_at: format_instant(self.shared.config.clock.now()),
            base,
            replay,
        };
        let made = synthesize(self.vault()?, &request, stop, self.progress)?;
        Ok(made.keep_readable(stop)?)
    }

    /// Waits until everything up to a position is in the vault.
    fn wait_for_capture(&self, through: OplogTime, stop: &Stop) -> Result<(), StepError> {
        let deadline = Instant::now() + CAPTURE_PATIENCE;
        loop {
            stop.check()?;
            let now = self.shared.config.clock.now().as_second();
            let captured = self.shared.captures.run_now(self.job.instance, stop);
            // Once the clock is past the second, no entry of it can come any more.
            let is_past = now > i64::from(through.seconds);
            match captured {
                Ok(reached) if is_past || reached >= through => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    let what = format!("{through}: {error}");
                    return Err(MoverError::OplogGap { what }.into());
                }
                Ok(reached) if Instant::now() > deadline => {
                    let what = format!("{through}: it is captured through {reached}");
                    return Err(MoverError::OplogGap { what }.into());
                }
                _ => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    fn download(&self, moment: Option<PointInTime>, stop: &Stop) -> Result<(), StepError> {
        let config = &self.shared.config;
        let RestoreSource { manifest, replay, selection } = self.source(moment, stop)?;
        self.begin(DownloadStep::Verify)?;
        let vault = self.vault()?;
        vault.check_snapshot(&manifest, |_| !stop.is_requested()).map_err(MoverError::from)?;
        self.begin(DownloadStep::Pack)?;
        // What is made for a moment stays in the vault as long as its writer does.
        let (manifest, _made) = match replay {
            None => (manifest, None),
            Some(replay) => {
                let (manifest, writer) = self.make(manifest, replay, stop)?;
                (manifest, Some(writer))
            }
        };
        let manifest = select(manifest, &selection)?;
        let Some(download) = &self.job.download else {
            let what = "a download job without a link".to_owned();
            return Err(CatalogError::Missing(what).into());
        };
        let watch = (stop, self.progress);
        if vault.is_paid_by_request() {
            // Whichever node is asked for it finds it there.
            let mut out = vault.create_file(&download.file);
            export((vault, &manifest), download.format, &mut out, watch)?;
            stop.check()?;
            // One that an earlier attempt made is as good.
            out.finish().map_err(MoverError::from)?;
            return Ok(());
        }
        let path = config.downloads.join(&download.file);
        let temporary = path.with_extension("tmp");
        let failed = |source| MoverError::File { path: path.display().to_string(), source };
        let mut out = BufWriter::new(File::create(&temporary).map_err(failed)?);
        export((vault, &manifest), download.format, &mut out, watch)?;
        let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&temporary, &path).map_err(failed)?;
        Ok(())
    }
}
