//! Doing the restore jobs that are wanted, step by step.

use std::fs::File;
use std::io::BufWriter;
use std::time::{Duration, Instant};

use tidemark_catalog::{CatalogError, Claim, RestoreJob};
use tidemark_model::{
    Delivery, InstanceId, InstanceState, OplogTime, PointInTime, RestoreEvent, RestoreJobId,
    RestoreState, RestoreStep,
};
use tidemark_mover::{
    MoverError, Progress, Replay, Restore, RestoreSource, Stop, discard_stage, swap_stage,
    write_archive,
};

use crate::heartbeat::{Interruption, keep_lease};
use crate::worker::Shared;

/// A job that fails for a passing reason is tried again this often.
const ATTEMPTS: i64 = 3;
/// How long a job waits for the capture to reach its moment.
const CAPTURE_PATIENCE: Duration = Duration::from_mins(1);

/// Why a step did not end well.
enum StepError {
    Mover(MoverError),
    Catalog(CatalogError),
}

impl From<MoverError> for StepError {
    fn from(error: MoverError) -> Self {
        Self::Mover(error)
    }
}

impl From<CatalogError> for StepError {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(error)
    }
}

/// Does all jobs that wait.
pub(crate) fn run_round(shared: &Shared) {
    while !shared.stop.is_requested() {
        let now = shared.config.clock.now();
        match shared.config.catalog.claim_restore_job(&shared.holder, now) {
            Ok(Some((claim, job))) => {
                if let Err(error) = run(shared, &claim, &job) {
                    tracing::error!(%error, job = %claim.id, "the outcome of a restore job was not recorded");
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "no restore job could be claimed");
                return;
            }
        }
    }
}

fn run(shared: &Shared, claim: &Claim<RestoreJobId>, job: &RestoreJob) -> Result<(), CatalogError> {
    let catalog = &shared.config.catalog;
    let clock = &shared.config.clock;
    let target = job.delivery.target();
    if let Some(target) = target {
        // After a restart it is UPDATING already. The hosting makes it IDLE when no job wants it.
        let _ = catalog.change_instance_state(
            target,
            (InstanceState::Idle, InstanceState::Updating),
            clock.now(),
        );
    }
    let renew = || catalog.renew_restore_job(claim, &shared.holder, clock.now());
    let running = Running { shared, claim, job };
    let (outcome, interruption) = keep_lease(&shared.stop, renew, |stop| running.do_steps(stop));
    if interruption == Interruption::LeaseLost || (shared.stop.is_requested() && outcome.is_err()) {
        return Ok(());
    }
    let event = match outcome {
        Ok(()) => {
            catalog.record_restore_event(claim, RestoreEvent::Delivered(clock.now()))?;
            tracing::info!(job = %claim.id, delivery = job.delivery.as_str(), "a restore job is complete");
            return Ok(());
        }
        Err(StepError::Catalog(error)) => return Err(error),
        Err(StepError::Mover(MoverError::Stopped)) => RestoreEvent::CancelRequested(clock.now()),
        Err(StepError::Mover(error)) if error.is_transient() && claim.attempt < ATTEMPTS => {
            tracing::warn!(%error, job = %claim.id, "a restore job is tried again");
            return Ok(());
        }
        Err(StepError::Mover(error)) => {
            tracing::error!(%error, job = %claim.id, "a restore job failed");
            RestoreEvent::GivenUp { at: clock.now(), reason: error.to_string() }
        }
    };
    if let Some(Ok(endpoint)) = target.map(|target| shared.captures.endpoint(target))
        && let Err(error) = discard_stage(&endpoint, &claim.id.to_string())
    {
        tracing::warn!(%error, job = %claim.id, "staging collections were left behind");
    }
    catalog.record_restore_event(claim, event)?;
    Ok(())
}

struct Running<'a> {
    shared: &'a Shared,
    claim: &'a Claim<RestoreJobId>,
    job: &'a RestoreJob,
}

impl Running<'_> {
    fn do_steps(&self, stop: &Stop) -> Result<(), StepError> {
        match self.job.delivery {
            Delivery::Download { .. } => self.download(stop),
            Delivery::Automated { target, .. } => self.restore(target, None, stop),
            Delivery::PointInTime { moment, target, .. } => {
                self.restore(target, Some(moment), stop)
            }
        }
    }

    fn begin(&self, step: RestoreStep) -> Result<(), StepError> {
        tracing::debug!(job = %self.claim.id, step = step.as_str(), "a restore step begins");
        let event = RestoreEvent::StepStarted(step);
        self.shared.config.catalog.record_restore_event(self.claim, event)?;
        crash_at(step.as_str());
        Ok(())
    }

    fn source(&self, moment: Option<PointInTime>) -> Result<RestoreSource, StepError> {
        let manifest =
            self.shared.config.vault.load_manifest(&self.job.delivery.snapshot().to_string());
        let manifest = manifest.map_err(MoverError::from)?;
        let replay = moment.map(|moment| Replay {
            instance: self.job.instance.to_string(),
            through: moment.last_position(),
        });
        Ok(RestoreSource { manifest, replay })
    }

    fn restore(
        &self,
        target: InstanceId,
        moment: Option<PointInTime>,
        stop: &Stop,
    ) -> Result<(), StepError> {
        let endpoint = self.shared.captures.endpoint(target)?;
        let job = self.claim.id.to_string();
        if self.job.state == (RestoreState::Running { step: RestoreStep::Swap }) {
            return Ok(swap_stage(&endpoint, &job)?);
        }
        if let Some(moment) = moment {
            self.wait_for_capture(moment.last_position(), stop)?;
        }
        let progress = Progress::default();
        let source = self.source(moment)?;
        let mut restore = Restore::new(
            &self.shared.config.vault,
            endpoint.clone(),
            (&job, source),
            stop,
            &progress,
        );
        self.begin(RestoreStep::Verify)?;
        restore.verify()?;
        self.begin(RestoreStep::Stage)?;
        restore.stage()?;
        self.begin(RestoreStep::Replay)?;
        restore.replay()?;
        self.begin(RestoreStep::Index)?;
        restore.build_indexes()?;
        self.begin(RestoreStep::Compare)?;
        restore.compare()?;
        stop.check()?;
        self.begin(RestoreStep::Swap)?;
        swap_stage(&endpoint, &job)?;
        crash_at("after-swap");
        Ok(())
    }

    /// Waits until everything up to a position is in the vault.
    fn wait_for_capture(&self, through: OplogTime, stop: &Stop) -> Result<(), StepError> {
        let deadline = Instant::now() + CAPTURE_PATIENCE;
        loop {
            stop.check()?;
            let now = self.shared.config.clock.now().as_second();
            let captured = self.shared.captures.run_now(self.job.instance, true);
            // Once the clock is past the second, no entry of it can come any more.
            let is_past = now > i64::from(through.seconds);
            match captured {
                Ok(reached) if is_past || reached >= through => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Ok(reached) if Instant::now() > deadline => {
                    let what = format!("{through}: it is captured through {reached}");
                    return Err(MoverError::OplogGap { what }.into());
                }
                _ => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    fn download(&self, stop: &Stop) -> Result<(), StepError> {
        let config = &self.shared.config;
        let source = self.source(None)?;
        self.begin(RestoreStep::Verify)?;
        config
            .vault
            .check_snapshot(&source.manifest, |_| !stop.is_requested())
            .map_err(MoverError::from)?;
        self.begin(RestoreStep::Pack)?;
        let Some(download) = &self.job.download else {
            let what = "a download job without a link".to_owned();
            return Err(CatalogError::Missing(what).into());
        };
        let path = config.downloads.join(&download.file);
        let temporary = path.with_extension("tmp");
        let failed = |source| MoverError::File { path: path.display().to_string(), source };
        let mut out = BufWriter::new(File::create(&temporary).map_err(failed)?);
        write_archive(&config.vault, &source.manifest, &mut out, stop)?;
        let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&temporary, &path).map_err(failed)?;
        Ok(())
    }
}

/// Ends the process as SIGKILL would, where a test asks for it by `TIDEMARK_CRASH_AT=<step>`.
///
/// A test of recovery must be sure that the step was reached; a kill from outside cannot be.
/// Builds for release do not have this.
fn crash_at(point: &str) {
    let is_wanted = || std::env::var("TIDEMARK_CRASH_AT").is_ok_and(|wanted| wanted == point);
    if cfg!(debug_assertions) && is_wanted() {
        std::process::abort();
    }
}
