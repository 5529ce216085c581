//! Following the oplogs of all instances, each on a thread of its own.
//!
//! One deployment that does not answer holds up nobody else: a thread reads with a deadline, waits
//! longer after each failure, and others wait for its rounds with deadlines of their own. Nothing
//! is held while a connection is used.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidemark_catalog::{Catalog, Instance};
use tidemark_deployment::{Connection, Endpoint, LinkError, Patience};
use tidemark_model::{InstanceId, InstanceState, OplogSpan, OplogTime};
use tidemark_mover::{
    Capture, CaptureOutcome, Look, MoverError, RangeEnd, Stop, discard_stage, forget_swap,
    list_stages,
};

use crate::worker::{Shared, WorkerConfig};

/// How often each oplog is read.
const INTERVAL: Duration = Duration::from_secs(2);
/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How long others wait for a round.
const ROUND_PATIENCE: Duration = Duration::from_mins(1);
/// How long a deployment may take for an answer.
const PATIENCE: Patience =
    Patience { connecting: Duration::from_secs(5), answer: Duration::from_secs(30) };
/// How often what restores left behind is looked for where that costs nothing, and everywhere.
const TIDY_INTERVAL: Duration = Duration::from_secs(5);
const SEARCH_INTERVAL: Duration = Duration::from_hours(1);

/// What the thread of one instance and those who wait for it share.
#[derive(Default)]
struct Slot {
    state: Mutex<SlotState>,
    /// Rung when a round is wanted, when one is over, and at the end.
    changed: Condvar,
}

#[derive(Default)]
struct SlotState {
    /// Rounds that were asked for, and that are over.
    wanted: u64,
    done: u64,
    /// How the last round ended: through where everything is captured, or why not.
    last: Option<Result<OplogTime, String>>,
    is_over: bool,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The captures of all instances.
pub struct Captures {
    config: WorkerConfig,
    /// Held for looking a slot up.
    slots: Mutex<HashMap<InstanceId, Arc<Slot>>>,
    stop: Stop,
    running: Arc<()>,
    /// Ranges that ended since the start because what follows was not there any more.
    gaps: AtomicU64,
}

impl Captures {
    pub(crate) fn new(config: WorkerConfig) -> Self {
        Self {
            config,
            slots: Mutex::default(),
            stop: Stop::new(),
            running: Arc::new(()),
            gaps: AtomicU64::new(0),
        }
    }

    /// Gaps in captured oplogs since the start.
    pub(crate) fn gaps(&self) -> u64 {
        self.gaps.load(Ordering::Relaxed)
    }

    pub(crate) fn request_stop(&self) {
        self.stop.request();
        for slot in self.lock().values() {
            slot.lock().is_over = true;
            slot.changed.notify_all();
        }
    }

    /// Waits for the threads to end, at most until `deadline`.
    pub(crate) fn wait_for_end(&self, deadline: Instant) {
        while Arc::strong_count(&self.running) > 1 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceId, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record of an instance.
    pub(crate) fn load_instance(&self, instance: InstanceId) -> Result<Instance, MoverError> {
        let loaded = self.config.catalog.load_instance(instance);
        loaded.map_err(|error| unreachable(instance, &error.to_string()))
    }

    /// How to reach an instance.
    pub(crate) fn endpoint(&self, instance: InstanceId) -> Result<Endpoint, MoverError> {
        let found = self.load_instance(instance)?;
        let endpoint = self.config.deployments.endpoint(&found);
        endpoint.ok_or_else(|| unreachable(instance, "it does not run"))
    }

    /// Reads what is new in one oplog and stores it whatever it is; answers through where.
    pub(crate) fn run_now(
        &self,
        instance: InstanceId,
        stop: &Stop,
    ) -> Result<OplogTime, MoverError> {
        self.endpoint(instance)?;
        let slot = Arc::clone(self.lock().entry(instance).or_default());
        let deadline = Instant::now() + ROUND_PATIENCE;
        let mut state = slot.lock();
        state.wanted += 1;
        let ticket = state.wanted;
        slot.changed.notify_all();
        while state.done < ticket {
            stop.check()?;
            if state.is_over || Instant::now() > deadline {
                return Err(unreachable(instance, "its oplog could not be read in time"));
            }
            let wait = Duration::from_millis(200);
            let waited = slot.changed.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        match &state.last {
            Some(Ok(through)) => Ok(*through),
            Some(Err(reason)) => Err(unreachable(instance, reason)),
            None => Err(unreachable(instance, "its oplog was not read")),
        }
    }
}

fn unreachable(instance: InstanceId, reason: &str) -> MoverError {
    MoverError::Link(LinkError::Connection {
        address: format!("instance {instance}"),
        doing: "looking for its database".to_owned(),
        source: std::io::Error::other(reason.to_owned()),
    })
}

fn record(
    catalog: &Catalog,
    instance: InstanceId,
    outcome: CaptureOutcome,
) -> Result<(), tidemark_catalog::CatalogError> {
    match outcome {
        CaptureOutcome::CaughtUp { from, through } => {
            catalog.extend_oplog_range(instance, OplogSpan { first: from, last: through })
        }
        CaptureOutcome::Began { begins_at, .. } => catalog.begin_oplog_range(instance, begins_at),
    }
}

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
    let runs = |instance: &&Instance| {
        matches!(instance.state, InstanceState::Idle | InstanceState::Updating)
    };
    let wanted: Vec<InstanceId> = instances.iter().filter(runs).map(|i| i.id).collect();
    let mut slots = shared.captures.lock();
    slots.retain(|id, slot| {
        let is_wanted = wanted.contains(id);
        if !is_wanted {
            slot.lock().is_over = true;
            slot.changed.notify_all();
            shared.troubles.clear(&trouble(*id));
        }
        is_wanted
    });
    for id in wanted {
        let slot = slots.entry(id).or_default();
        // The thread has one, the map the other.
        if Arc::strong_count(slot) == 1 {
            let (slot, shared) = (Arc::clone(slot), Arc::clone(shared));
            std::thread::spawn(move || follow(&shared, id, &slot));
        }
    }
}

fn trouble(instance: InstanceId) -> String {
    format!("capture of {instance}")
}

/// Captures one instance until it is over.
fn follow(shared: &Shared, instance: InstanceId, slot: &Slot) {
    let _running = Arc::clone(&shared.captures.running);
    let mut follower =
        Follower { shared, instance, capture: None, tidied_at: None, searched_at: None };
    let mut failures = 0;
    loop {
        let wait = if failures == 0 {
            INTERVAL
        } else {
            LONGEST_WAIT.min(INTERVAL * (1 << failures.min(5)))
        };
        let until = Instant::now() + wait;
        let mut state = slot.lock();
        while !state.is_over && state.wanted == state.done && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            let waited = slot.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.is_over {
            return;
        }
        let (ticket, flush) = (state.wanted, state.wanted != state.done);
        drop(state);
        let outcome = crate::jobs::catch_panic(|| follower.run_round(flush));
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
        let mut state = slot.lock();
        state.done = ticket;
        state.last = Some(outcome);
        drop(state);
        slot.changed.notify_all();
    }
}

/// The capture of one instance.
struct Follower<'a> {
    shared: &'a Shared,
    instance: InstanceId,
    /// `None` before the first round and after one that failed: what is stored is read anew.
    capture: Option<Capture>,
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

    fn capture(&mut self, endpoint: &Endpoint, flush: bool) -> Result<OplogTime, MoverError> {
        let vault = &self.shared.config.vault;
        let mut capture = match self.capture.take() {
            Some(capture) => capture,
            None => Capture::resume(vault, &self.instance.to_string())?,
        };
        let mut connection = Connection::open_patiently(endpoint, PATIENCE)?;
        loop {
            let stop = &self.shared.captures.stop;
            let outcome = capture.run_round(&mut connection, vault, flush, stop)?;
            if let CaptureOutcome::Began { begins_at, after } = outcome {
                self.tell(begins_at, after);
            }
            record(&self.shared.config.catalog, self.instance, outcome)
                .map_err(|error| MoverError::OplogGap { what: format!("the catalog ({error})") })?;
            if !capture.is_over() {
                break;
            }
        }
        let through = capture.stored_through().unwrap_or_default();
        self.capture = Some(capture);
        Ok(through)
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
                self.shared.captures.gaps.fetch_add(1, Ordering::Relaxed);
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
                    Err(tidemark_catalog::CatalogError::Missing(_)) => true,
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
