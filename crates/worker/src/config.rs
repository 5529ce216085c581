//! What a worker works with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidemark_catalog::{Catalog, CatalogError, Instance};
use tidemark_deployment::Endpoint;
use tidemark_model::{BackupPolicy, Clock, InstanceId};
use tidemark_vault::Vault;

use crate::membership::Membership;

/// Where the databases of instances are.
pub trait Deployments: Send + Sync {
    /// How to reach an instance; `None` while it does not run.
    fn endpoint(&self, instance: &Instance) -> Option<Endpoint>;

    /// Whether an instance has an oplog that can be followed.
    fn has_oplog(&self, instance: &Instance) -> bool {
        let _ = instance;
        true
    }
}

/// What a worker needs.
#[derive(Clone)]
pub struct WorkerConfig {
    /// The records.
    pub catalog: Arc<Catalog>,
    /// This process among those that serve the same records.
    pub membership: Arc<Membership>,
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
    /// Where uploaded dumps are kept until they are snapshots.
    pub imports: PathBuf,
    /// How long captured entries may be in the catalog before they are stored in the vault; zero where
    /// they go there at once, as into a folder, where an object costs nothing.
    pub segment_interval: Duration,
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
    /// Proves, for the rest of a transaction, that this node is the one that follows an oplog.
    pub(crate) fn check_capture(
        &self,
        catalog: &Catalog,
        instance: InstanceId,
    ) -> Result<(), CatalogError> {
        if self.membership.is_shared() {
            catalog.check_capture(instance, self.membership.run())?;
        }
        Ok(())
    }

    /// Asks the hook of a test what becomes of a step.
    pub(crate) fn fate(&self, job: &str, step: &str) -> Fate {
        self.hook.as_ref().map_or(Fate::Done, |hook| hook(job, step))
    }
}
