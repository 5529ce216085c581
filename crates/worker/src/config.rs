//! What a worker works with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidemark_catalog::{Catalog, CatalogError, Instance};
use tidemark_deployment::{Endpoint, LinkError};
use tidemark_model::{BackupPolicy, Clock, InstanceId};
use tidemark_mover::{Matches, MoverError};
use tidemark_vault::{Vault, Vaults};

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

    /// What tells the documents that a filter means, as a database would; or why it cannot be asked.
    fn matcher(&self, filter: &bson::Document) -> Result<Matches, String> {
        Err(format!("nobody here can say what {filter} means"))
    }

    /// Starts an empty database for something by that name; or why there is none.
    fn scratch(&self, name: &str) -> Result<Box<dyn Scratch>, String> {
        Err(format!("there is no place for a scratch database {name}"))
    }
}

/// A database that is thrown away: it ends when this is dropped, with everything in it.
pub trait Scratch: Send {
    /// How to reach it.
    fn endpoint(&self) -> Endpoint;
}

/// What a worker needs.
#[derive(Clone)]
pub struct WorkerConfig {
    /// The records.
    pub catalog: Arc<Catalog>,
    /// This process among those that serve the same records.
    pub membership: Arc<Membership>,
    /// The snapshots.
    pub vaults: Vaults,
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
    /// How long captured entries may be in the catalog before they are stored in a vault; zero where they go
    /// there at once, as into a folder, where an object costs nothing.
    pub segment_interval: fn(&Vault) -> Duration,
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
    /// The vault in which the backups of an instance are.
    pub(crate) fn vault_of(&self, instance: InstanceId) -> Result<&Arc<Vault>, MoverError> {
        let name = self
            .catalog
            .vault_of(instance)
            .map_err(|error| unreachable(instance, "looking for its vault", &error.to_string()))?;
        Ok(self.vaults.find(name.as_deref())?)
    }

    /// Whether requests to any vault have their price.
    pub(crate) fn is_paid_by_request(&self) -> bool {
        self.vaults.iter().any(|(_, vault)| vault.is_paid_by_request())
    }

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

/// Something of an instance is not found now, and may be later.
pub(crate) fn unreachable(instance: InstanceId, doing: &str, reason: &str) -> MoverError {
    MoverError::Link(LinkError::Connection {
        address: format!("instance {instance}"),
        doing: doing.to_owned(),
        source: std::io::Error::other(reason.to_owned()),
    })
}
