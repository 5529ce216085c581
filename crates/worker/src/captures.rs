//! Following the oplogs of all instances, each on a thread of its own.
//!
//! One deployment that does not answer holds up nobody else: a thread reads with a deadline, waits
//! longer after each failure, and others wait for its rounds with deadlines of their own. Nothing
//! is held while a connection is used.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidemark_catalog::{Catalog, CatalogError, Instance};
use tidemark_deployment::Endpoint;
use tidemark_model::{InstanceId, OplogTime};
use tidemark_mover::{MoverError, Stop};

use crate::config::{WorkerConfig, unreachable};

/// How long others wait for a round.
pub(crate) const ROUND_PATIENCE: Duration = Duration::from_mins(1);

/// How often another node is asked whether it is done.
const ASK_INTERVAL: Duration = Duration::from_millis(100);

/// What the thread of one instance and those who wait for it share.
#[derive(Default)]
pub(crate) struct Slot {
    /// Held for looking and noting; a round is done without it.
    state: Mutex<SlotState>,
    /// Rung when a round is wanted, when one is over, and at the end.
    changed: Condvar,
}

#[derive(Default)]
struct SlotState {
    /// Rounds that were asked for, and that are over.
    wanted: u64,
    done: u64,
    /// The number by which another node asked for a round that no round has answered yet.
    asked: Option<i64>,
    /// How the last round ended: through where everything is captured, or why not.
    last: Option<Result<OplogTime, String>>,
    is_over: bool,
    /// Whether a thread does the rounds. Who waits for one may be here before the thread is.
    has_thread: bool,
}

/// A slot as the one thread that does its rounds has it: the place is free when it is dropped.
pub(crate) struct Place(Arc<Slot>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.lock().has_thread = false;
    }
}

impl Deref for Place {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        &self.0
    }
}

/// A round that a thread is to do.
pub(crate) struct Round {
    ticket: u64,
    /// Whether somebody waits for it, so that everything is to be stored.
    pub(crate) flush: bool,
    /// The number by which another node asked for it.
    pub(crate) asked: Option<i64>,
}

impl Slot {
    /// Waits until a round is wanted, or `wait` is over; `None` at the end.
    pub(crate) fn next_round(&self, wait: Duration) -> Option<Round> {
        let until = Instant::now() + wait;
        let mut state = self.lock();
        while !state.is_over && state.wanted == state.done && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let flush = state.wanted != state.done;
        let round = Round { ticket: state.wanted, flush, asked: state.asked.take() };
        (!state.is_over).then_some(round)
    }

    /// Wants a round for another node.
    pub(crate) fn ask(&self, number: i64) {
        let mut state = self.lock();
        if state.asked.is_none_or(|asked| asked < number) {
            state.asked = Some(number);
            state.wanted += 1;
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Tells those who wait how a round ended.
    pub(crate) fn end_round(&self, round: &Round, outcome: Result<OplogTime, String>) {
        let mut state = self.lock();
        state.done = round.ticket;
        state.last = Some(outcome);
        drop(state);
        self.changed.notify_all();
    }

    /// The place of its thread, if it is free.
    fn take_place(self: &Arc<Self>) -> Option<Place> {
        let had_thread = std::mem::replace(&mut self.lock().has_thread, true);
        (!had_thread).then(|| Place(Arc::clone(self)))
    }

    fn end(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }

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

/// What is being done when an instance is not found.
const LOOKING: &str = "looking for its database";

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
            slot.end();
        }
    }

    pub(crate) fn count_gap(&self) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
    }

    /// What ends the work of all threads.
    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// What a thread holds for as long as it runs.
    pub(crate) fn running(&self) -> Arc<()> {
        Arc::clone(&self.running)
    }

    /// Ends the threads of other instances than these; answers the instances that lack a thread,
    /// with what a thread needs, and those whose thread ends.
    pub(crate) fn keep_only(
        &self,
        wanted: &[InstanceId],
    ) -> (Vec<(InstanceId, Place)>, Vec<InstanceId>) {
        let wanted_ids: HashSet<&InstanceId> = wanted.iter().collect();
        let mut slots = self.lock();
        let mut ended = Vec::new();
        slots.retain(|id, slot| {
            let is_wanted = wanted_ids.contains(id);
            if !is_wanted {
                slot.end();
                ended.push(*id);
            }
            // One whose thread has not ended stays: until then there is no other thread.
            is_wanted || slot.lock().has_thread
        });
        let place = |id: &InstanceId| {
            let slot = slots.entry(*id).or_default();
            let is_over = slot.lock().is_over;
            if is_over && !slot.lock().has_thread {
                *slot = Arc::default();
            } else if is_over {
                return None;
            }
            Some((*id, slot.take_place()?))
        };
        (wanted.iter().filter_map(place).collect(), ended)
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
        loaded.map_err(|error| unreachable(instance, LOOKING, &error.to_string()))
    }

    /// How to reach an instance.
    pub(crate) fn endpoint(&self, instance: InstanceId) -> Result<Endpoint, MoverError> {
        let found = self.load_instance(instance)?;
        let endpoint = self.config.deployments.endpoint(&found);
        endpoint.ok_or_else(|| unreachable(instance, LOOKING, "it does not run"))
    }

    /// Reads what is new in one oplog and stores it whatever it is; answers through where.
    pub(crate) fn run_now(
        &self,
        instance: InstanceId,
        stop: &Stop,
    ) -> Result<OplogTime, MoverError> {
        self.endpoint(instance)?;
        let deadline = Instant::now() + ROUND_PATIENCE;
        let slot = self.find(instance);
        let slot = match slot {
            Some(slot) => slot,
            None if self.config.membership.is_shared() => {
                return ask_others(&self.config.catalog, instance, deadline, stop);
            }
            None => Arc::clone(self.lock().entry(instance).or_default()),
        };
        let mut state = slot.lock();
        state.wanted += 1;
        let ticket = state.wanted;
        slot.changed.notify_all();
        while state.done < ticket {
            stop.check()?;
            if state.is_over || Instant::now() > deadline {
                return Err(unreachable(instance, LOOKING, "its oplog could not be read in time"));
            }
            let wait = Duration::from_millis(200);
            let waited = slot.changed.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        match &state.last {
            Some(Ok(through)) => Ok(*through),
            Some(Err(reason)) => Err(unreachable(instance, LOOKING, reason)),
            None => Err(unreachable(instance, LOOKING, "its oplog was not read")),
        }
    }
}

impl Captures {
    /// The slot of an instance, if its oplog is followed here.
    pub(crate) fn find(&self, instance: InstanceId) -> Option<Arc<Slot>> {
        self.lock().get(&instance).filter(|slot| !slot.lock().is_over).cloned()
    }
}

/// Has whoever follows an oplog store what is new, whichever node that is.
pub(crate) fn ask_others(
    catalog: &Catalog,
    instance: InstanceId,
    deadline: Instant,
    stop: &Stop,
) -> Result<OplogTime, MoverError> {
    let failed = |error: CatalogError| unreachable(instance, LOOKING, &error.to_string());
    let number = catalog.want_capture(instance).map_err(failed)?;
    loop {
        stop.check()?;
        if let Some(answer) = catalog.find_capture_answer(instance, number).map_err(failed)? {
            return answer.outcome.map_err(|reason| unreachable(instance, LOOKING, &reason));
        }
        if Instant::now() > deadline {
            return Err(unreachable(instance, LOOKING, "no node read its oplog in time"));
        }
        std::thread::sleep(ASK_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use tidemark_catalog::Catalog;
    use tidemark_deployment::Address;
    use tidemark_model::{BackupPolicy, Clock, Secret};

    use super::*;
    use crate::{Deployments, Membership};

    struct Somewhere;

    impl Deployments for Somewhere {
        fn endpoint(&self, _: &Instance) -> Option<Endpoint> {
            let (address, user) = ("127.0.0.1:1".to_owned(), "server".to_owned());
            Some(Endpoint::Embedded(Address {
                address,
                user,
                password: Secret::new("x"),
                pins: None,
            }))
        }
    }

    #[test]
    fn a_round_that_is_wanted_before_there_is_a_thread_is_done() {
        let (folder, vault) = tidemark_testkit::vault();
        let (clock, catalog) = (Clock::system(), Arc::new(Catalog::in_memory().unwrap()));
        let tenant = tidemark_testkit::tenant(&catalog, &clock, String::new(), (&[], &[]));
        let captures = Captures::new(WorkerConfig {
            membership: Membership::alone(&catalog, &clock),
            catalog,
            vaults: vault.into(),
            clock,
            deployments: Arc::new(Somewhere),
            policy: BackupPolicy::default(),
            downloads: folder.path().join("downloads"),
            imports: folder.path().join("imports"),
            segment_interval: |_| Duration::ZERO,
            parallel_snapshots: 1,
            parallel_restores: 1,
            hook: None,
        });
        let through = OplogTime::new(7, 1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| captures.run_now(tenant.instance, &Stop::new()));
            while captures.lock().get(&tenant.instance).is_none_or(|slot| slot.lock().wanted == 0) {
                std::thread::yield_now();
            }
            let (mut lacking, _) = captures.keep_only(&[tenant.instance]);
            let (_, place) = lacking.pop().expect("nobody does the round");
            assert!(captures.keep_only(&[tenant.instance]).0.is_empty(), "two do the rounds");
            let round = place.next_round(Duration::ZERO).unwrap();
            place.end_round(&round, Ok(through));
            assert_eq!(waiting.join().unwrap().unwrap(), through);
            drop(place);
            assert_eq!(captures.keep_only(&[tenant.instance]).0.len(), 1, "the place is not free");
        });
    }
}
