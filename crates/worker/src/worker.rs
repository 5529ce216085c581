//! The threads of a worker.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use tidemark_catalog::{Catalog, CatalogError, Instance, LeaseHolder};
use tidemark_deployment::Endpoint;
use tidemark_model::{BackupPolicy, Clock, Secret};
use tidemark_mover::Stop;
use tidemark_vault::Vault;

use crate::captures::Captures;
use crate::troubles::{Trouble, Troubles};
use crate::upkeep::Upkeep;

/// The longest sleep of a thread that waits for work: leases and schedules end without a change.
const ROUND: Duration = Duration::from_secs(1);
/// The shortest time between two rounds, however often something changes.
const PAUSE: Duration = Duration::from_millis(200);
const CLAIM_PAUSE: Duration = Duration::from_millis(20);
/// How long a claim lasts without a heartbeat.
const LEASE: SignedDuration = SignedDuration::from_secs(30);

/// Where the databases of instances are.
pub trait Deployments: Send + Sync {
    /// How to reach an instance; `None` while it does not run.
    fn endpoint(&self, instance: &Instance) -> Option<Endpoint>;
}

/// What a worker needs.
#[derive(Clone)]
pub struct WorkerConfig {
    /// The records.
    pub catalog: Arc<Catalog>,
    /// The snapshots.
    pub vault: Arc<Vault>,
    /// The time.
    pub clock: Clock,
    /// The databases.
    pub deployments: Arc<dyn Deployments>,
    /// How often and how long.
    pub policy: BackupPolicy,
    /// Where files for download are kept.
    pub downloads: PathBuf,
    /// Snapshots that are taken at the same time. Each holds some 60 MiB of batches and chunks,
    /// whatever the size of its data.
    pub parallel_snapshots: usize,
    /// Restore jobs that are done at the same time, with as much memory each.
    pub parallel_restores: usize,
    /// What a test does where a step of a job begins; a server has none.
    pub hook: Option<Hook>,
}

/// Asked with the job's id and its step, whenever a step of a job begins.
pub type Hook = Arc<dyn Fn(&str, &str) -> Fate + Send + Sync>;

/// What becomes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is done.
    Done,
    /// It fails, as a broken connection does or for good.
    Fails {
        /// Whether the same may succeed later.
        is_transient: bool,
    },
    /// The worker ends without another word, as a process that is killed.
    Vanishes,
    /// It panics.
    Panics,
}

impl WorkerConfig {
    /// Asks the hook of a test what becomes of a step.
    pub(crate) fn fate(&self, job: &str, step: &str) -> Fate {
        self.hook.as_ref().map_or(Fate::Done, |hook| hook(job, step))
    }
}

/// What all threads of a worker share.
pub(crate) struct Shared {
    pub(crate) config: WorkerConfig,
    pub(crate) holder: LeaseHolder,
    pub(crate) captures: Captures,
    pub(crate) troubles: Troubles,
    pub(crate) upkeep: Upkeep,
    pub(crate) stop: Stop,
}

/// What a thread does again and again.
type Round = fn(&Arc<Shared>);

/// A running worker.
pub struct Worker {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Worker {
    /// Starts the threads. Claims of an earlier process on the same data folder are taken back.
    pub fn start(config: WorkerConfig) -> Result<Self, CatalogError> {
        config.catalog.release_claims()?;
        let holder =
            LeaseHolder { worker: Secret::random::<8>().expose().to_owned(), duration: LEASE };
        let rounds: [(Round, usize, Duration); 5] = [
            (crate::snapshots::run_round, config.parallel_snapshots.max(1), CLAIM_PAUSE),
            (crate::restores::run_round, config.parallel_restores.max(1), CLAIM_PAUSE),
            (crate::scheduler::run_round, 1, PAUSE),
            (crate::upkeep::run_round, 1, ROUND),
            (crate::captures::run_round, 1, PAUSE),
        ];
        let captures = Captures::new(config.clone());
        let (troubles, stop) = (Troubles::default(), Stop::new());
        let shared = Arc::new(Shared {
            config,
            holder,
            captures,
            troubles,
            upkeep: Upkeep::default(),
            stop,
        });
        let threads = rounds
            .into_iter()
            .flat_map(|(round, count, pause)| std::iter::repeat_n((round, pause), count))
            .map(|round| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || run_rounds(&shared, round))
            })
            .collect();
        Ok(Self { shared, threads })
    }

    /// Tells how it is; outlives the borrow of the worker.
    pub fn watch(&self) -> WorkerWatch {
        WorkerWatch(Arc::clone(&self.shared))
    }

    /// Asks all work to end.
    pub fn request_stop(&self) {
        self.shared.stop.request();
        self.shared.captures.request_stop();
    }

    /// Stops, and waits until `deadline` for what is going on: work in progress is left as it is
    /// and claimed again after the next start. What does not end in time ends with the process.
    pub fn stop(&mut self, deadline: Instant) {
        self.request_stop();
        for thread in self.threads.drain(..) {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
        self.shared.captures.wait_for_end(deadline);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.request_stop();
    }
}

/// Tells how a worker is.
#[derive(Clone)]
pub struct WorkerWatch(Arc<Shared>);

impl WorkerWatch {
    /// What is wrong at the moment.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.0.troubles.list()
    }

    /// Gaps in captured oplogs since the start.
    pub fn gaps(&self) -> u64 {
        self.0.captures.gaps()
    }
}

/// Runs rounds until told to stop; between two of them waits for a change of the catalog. A round
/// that panics is noted, and the next one runs.
fn run_rounds(shared: &Arc<Shared>, (round, pause): (Round, Duration)) {
    while !shared.stop.is_requested() {
        let seen = shared.config.catalog.generation();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| round(shared)));
        if let Err(panic) = outcome {
            let text = panic_text(panic.as_ref());
            tracing::error!(text, "a round of a worker panicked");
            shared.troubles.warn("worker", format!("a part of the worker panicked: {text}"));
        }
        if !shared.stop.is_requested() {
            shared.config.catalog.wait_for_change(seen, ROUND);
            std::thread::sleep(pause);
        }
    }
}

/// What a panic says.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
