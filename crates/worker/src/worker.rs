//! The threads of a worker.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::SignedDuration;
use tidemark_catalog::{Catalog, CatalogError, Instance, LeaseHolder};
use tidemark_model::{BackupPolicy, Clock, Secret};
use tidemark_mover::{Endpoint, Stop};
use tidemark_vault::Vault;

use crate::captures::Captures;

/// How often each thread looks for work.
const ROUND: Duration = Duration::from_millis(200);
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
}

/// What all threads of a worker share.
pub(crate) struct Shared {
    pub(crate) config: WorkerConfig,
    pub(crate) holder: LeaseHolder,
    pub(crate) captures: Captures,
    pub(crate) stop: Stop,
}

/// What a thread does again and again.
type Round = fn(&Shared);

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
        let captures = Captures::new(config.clone());
        let shared = Arc::new(Shared { config, holder, captures, stop: Stop::new() });
        let rounds: [(&str, Round); 4] = [
            ("snapshots", crate::snapshots::run_round),
            ("restores", crate::restores::run_round),
            ("scheduler", crate::scheduler::run_round),
            ("capture", crate::captures::run_round),
        ];
        let threads = rounds
            .into_iter()
            .map(|(name, round)| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    while !shared.stop.is_requested() {
                        round(&shared);
                        std::thread::sleep(ROUND);
                    }
                    tracing::debug!(thread = name, "a worker thread ended");
                })
            })
            .collect();
        Ok(Self { shared, threads })
    }

    /// Stops: work in progress is left as it is and claimed again after the next start.
    pub fn stop(&mut self) {
        self.shared.stop.request();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}
