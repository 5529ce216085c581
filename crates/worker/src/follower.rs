//! The thread that follows the oplog of one instance.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemark_catalog::{CaptureAnswer, CatalogError};
use tidemark_deployment::{Connection, Endpoint, Patience};
use tidemark_model::{InstanceId, OplogSpan, OplogTime};
use tidemark_mover::{
    Capture, CaptureOutcome, Look, MoverError, RangeEnd, discard_stage, forget_swap, list_stages,
};

use crate::captures::Slot;
use crate::config::WorkerConfig;
use crate::jobs::catch_panic;
use crate::shared::Shared;
use crate::tail::Tail;

/// How often each oplog is read.
const INTERVAL: Duration = Duration::from_secs(2);
/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How long a deployment may take for an answer.
const PATIENCE: Patience =
    Patience { connecting: Duration::from_secs(5), answer: Duration::from_secs(30) };
/// How often what restores left behind is looked for where that costs nothing, and everywhere.
const TIDY_INTERVAL: Duration = Duration::from_secs(5);
const SEARCH_INTERVAL: Duration = Duration::from_hours(1);

/// Sees to it that every instance that runs has a thread.
pub(crate) fn run_round(shared: &Arc<Shared>) {
    let instances = match shared.config.catalog.list_all_instances() {
        Ok(instances) => instances,
        Err(error) => {
            tracing::error!(%error, "the instances to capture could not be listed");
            return shared.troubles.fail("captures", format!("oplogs are not captured: {error}"));
        }
    };
    shared.troubles.clear("captures");
    let deployments = &shared.config.deployments;
    let running = instances
        .iter()
        .filter(|instance| instance.state.runs() && deployments.has_oplog(instance));
    let wanted: Vec<InstanceId> = running.map(|instance| instance.id).collect();
    let Some(wanted) = own_share(shared, wanted) else { return };
    let (lacking, ended) = shared.captures.keep_only(&wanted);
    for id in ended {
        shared.troubles.clear(&trouble(id));
    }
    for (id, place) in lacking {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || follow(&shared, id, &place));
    }
}

/// Which of the instances are followed by this node, where several may; nothing if that is not known at the
/// moment. Each has the same share; one that has more gives the rest back, so that who joins finds some.
fn own_share(shared: &Shared, wanted: Vec<InstanceId>) -> Option<Vec<InstanceId>> {
    let (catalog, membership) = (&shared.config.catalog, &shared.config.membership);
    if !membership.is_shared() {
        return Some(wanted);
    }
    if !membership.is_there() {
        return Some(Vec::new());
    }
    let share = wanted.len().div_ceil(membership.workers().len().max(1));
    let now = shared.config.clock.now();
    let claimed = catalog.claim_captures(membership.run(), (&wanted, share), now);
    let mut mine = match claimed {
        Ok(mine) => mine,
        Err(error) => {
            tracing::warn!(%error, "which oplogs this node follows is not known");
            return None;
        }
    };
    let rest = mine.split_off(share.min(mine.len()));
    for id in rest {
        if let Err(error) = catalog.release_capture(id, membership.run()) {
            tracing::warn!(%error, instance = %id, "a capture could not be given to another node");
        }
    }
    Some(mine)
}

/// Has the rounds done that other nodes ask for.
pub(crate) fn answer_others(shared: &Arc<Shared>) {
    let membership = &shared.config.membership;
    if !membership.is_shared() {
        return;
    }
    match shared.config.catalog.list_wanted_captures(membership.run()) {
        Ok(asked) => {
            for (instance, number) in asked {
                if let Some(slot) = shared.captures.find(instance) {
                    slot.ask(number);
                }
            }
        }
        Err(error) => tracing::warn!(%error, "what other nodes ask for is not known"),
    }
}

fn trouble(instance: InstanceId) -> String {
    format!("capture of {instance}")
}

/// Captures one instance until it is over.
fn follow(shared: &Shared, instance: InstanceId, slot: &Slot) {
    let _running = shared.captures.running();
    let mut follower = Follower {
        shared,
        instance,
        capture: None,
        tail: Tail::new(&shared.config, instance),
        told: None,
        tidied_at: None,
        searched_at: None,
    };
    let mut failures = 0;
    loop {
        let wait = if failures == 0 {
            INTERVAL
        } else {
            LONGEST_WAIT.min(INTERVAL * (1 << failures.min(5)))
        };
        let Some(round) = slot.next_round(wait) else {
            return shared.troubles.clear(&trouble(instance));
        };
        let outcome = catch_panic(|| follower.run_round(round.flush));
        let outcome = outcome.unwrap_or_else(|panic| {
            follower.capture = None;
            Err(panic)
        });
        match &outcome {
            Ok(_) => {
                failures = 0;
                shared.troubles.clear(&trouble(instance));
            }
            Err(reason) => {
                failures += 1;
                tracing::warn!(reason, %instance, failures, "an oplog could not be captured");
                if failures > 2 {
                    let text =
                        format!("the oplog of instance {instance} is not captured: {reason}");
                    shared.troubles.warn(trouble(instance), text);
                }
            }
        }
        if let Some(number) = round.asked {
            let answer = CaptureAnswer { outcome: outcome.clone() };
            let of = (instance, shared.config.membership.run());
            if let Err(error) = shared.config.catalog.answer_capture(of, number, &answer) {
                tracing::warn!(%error, %instance, "another node was not told that an oplog was read");
            }
        }
        slot.end_round(&round, outcome);
    }
}

/// Records what was captured, unless another node follows the oplog by now.
fn record(
    config: &WorkerConfig,
    instance: InstanceId,
    outcome: CaptureOutcome,
) -> Result<(), CatalogError> {
    // All at once, before a new range begins: after a crash in between nothing would say where this
    // one ended.
    config.catalog.transact(|catalog| {
        config.check_capture(catalog, instance)?;
        match outcome {
            CaptureOutcome::CaughtUp { from, through, swapped_at } => {
                catalog.extend_oplog_range(instance, OplogSpan { first: from, last: through })?;
                swapped_at.map_or(Ok(()), |at| catalog.end_oplog_range(instance, at))
            }
            CaptureOutcome::Began { begins_at, .. } => {
                catalog.begin_oplog_range(instance, begins_at)
            }
        }
    })
}

/// Why an oplog was not read on.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error(transparent)]
    Mover(#[from] MoverError),
    /// It was read, and the catalog does not know.
    #[error("the catalog was not told what was captured: {0}")]
    Untold(CatalogError),
}

/// The capture of one instance.
struct Follower<'a> {
    shared: &'a Shared,
    instance: InstanceId,
    /// `None` before the first round and after one that failed: what is stored is read anew.
    capture: Option<Capture>,
    /// What it captured that is not in the vault yet.
    tail: Tail<'a>,
    /// Through where the catalog was told.
    told: Option<OplogTime>,
    tidied_at: Option<Instant>,
    searched_at: Option<Instant>,
}

impl Follower<'_> {
    fn run_round(&mut self, flush: bool) -> Result<OplogTime, String> {
        let captures = &self.shared.captures;
        let endpoint = captures.endpoint(self.instance).map_err(|error| error.to_string())?;
        let through = self.capture(&endpoint, flush).map_err(|error| error.to_string())?;
        let is_due = |at: Option<Instant>, interval| at.is_none_or(|at| at.elapsed() > interval);
        let look = if is_due(self.searched_at, SEARCH_INTERVAL) {
            self.searched_at = Some(Instant::now());
            Some(Look::Everywhere)
        } else {
            is_due(self.tidied_at, TIDY_INTERVAL).then_some(Look::AtMarkers)
        };
        if let Some(look) = look {
            self.tidied_at = Some(Instant::now());
            if let Err(error) = self.tidy(&endpoint, look) {
                tracing::warn!(%error, instance = %self.instance, "what restores left behind could not be removed");
            }
        }
        Ok(through)
    }

    fn capture(&mut self, endpoint: &Endpoint, flush: bool) -> Result<OplogTime, Unread> {
        let vault = self.shared.config.vault_of(self.instance)?;
        let mut capture = if let Some(capture) = self.capture.take() {
            capture
        } else {
            self.tail.resume()?;
            Capture::resume(vault, &self.instance.to_string())?
        };
        let outcome = self.read_on(endpoint, &mut capture, flush);
        let through = capture.stored_through().unwrap_or_default();
        // Where it stands is known, unless the catalog was not told: a bucket that is away stops nothing.
        if !matches!(outcome, Err(Unread::Untold(_))) {
            self.capture = Some(capture);
        }
        outcome?;
        self.tail.end_round(flush)?;
        Ok(through)
    }

    fn read_on(
        &mut self,
        endpoint: &Endpoint,
        capture: &mut Capture,
        flush: bool,
    ) -> Result<(), Unread> {
        let opened = Connection::open_patiently(endpoint, PATIENCE);
        let mut connection = opened.map_err(MoverError::from)?;
        loop {
            let stop = self.shared.captures.stop();
            let outcome = capture.run_round(&mut connection, &self.tail, flush, stop)?;
            if let CaptureOutcome::Began { begins_at, after } = outcome {
                self.tell(begins_at, after);
            }
            // What was told already need not be told again.
            let is_told = matches!(outcome, CaptureOutcome::CaughtUp { from, through, swapped_at: None }
                if from == through && self.told == Some(through));
            if !is_told {
                self.told = None;
                record(&self.shared.config, self.instance, outcome).map_err(Unread::Untold)?;
                self.told = capture.stored_through();
            }
            if !capture.is_over() {
                return Ok(());
            }
        }
    }

    fn tell(&self, begins_at: OplogTime, after: RangeEnd) {
        let instance = self.instance;
        match after {
            RangeEnd::Nothing => {
                tracing::info!(%instance, %begins_at, "the capture of an oplog begins");
            }
            RangeEnd::Restore => {
                tracing::info!(%instance, %begins_at, "a restore replaced the data; the capture begins anew");
            }
            RangeEnd::Gap => {
                self.shared.captures.count_gap();
                tracing::warn!(%instance, %begins_at, "a gap: captured entries do not lead on; a snapshot is taken at once");
            }
        }
    }

    /// Removes what restores left behind whose jobs are over or not known.
    fn tidy(&self, endpoint: &Endpoint, look: Look) -> Result<(), MoverError> {
        for job in list_stages(endpoint, look)? {
            let is_over = match job.parse() {
                Ok(id) => match self.shared.config.catalog.load_restore_job(id) {
                    Ok(job) => job.state.is_final(),
                    Err(CatalogError::Missing(_)) => {
                        self.shared.config.membership.is_forgotten(id.made_at())
                    }
                    // Unknown: it stays.
                    Err(_) => false,
                },
                Err(_) => true,
            };
            if is_over {
                discard_stage(endpoint, &job)?;
                forget_swap(endpoint, &job)?;
            }
        }
        Ok(())
    }
}
