//! Running the databases of instances, as the catalog wants them.
//!
//! A reconciler: it looks at what instances should be and what runs, and does the difference. A
//! state that clients wait for stays visible for a moment, because they fail when it is skipped.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tidemark_catalog::{Catalog, CatalogError, Instance};
use tidemark_docdb::{Server, ServerConfig, ServerError};
use tidemark_model::{Clock, InstanceId, InstanceState};
use tidemark_mover::Endpoint;
use tidemark_worker::Deployments;

use crate::config::InstancesSection;
use crate::users::{InstanceUsers, InternalUser};

const ROUND: Duration = Duration::from_millis(100);
/// How long a passing state is shown at least, in seconds.
///
/// Instants are whole seconds, so two of them are at least one.
const VISIBLE_SECONDS: i64 = 2;

/// Why an instance could not be brought to its state.
#[derive(Debug, thiserror::Error)]
enum HostingError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(
        "all ports from instances.first_port to instances.last_port are taken; widen the range"
    )]
    NoPort,
    #[error("the folder {path} cannot be changed: {source}")]
    Folder { path: PathBuf, source: std::io::Error },
}

/// The databases that run.
pub(crate) struct Hosting {
    catalog: Arc<Catalog>,
    clock: Clock,
    config: InstancesSection,
    folder: PathBuf,
    internal: Arc<InternalUser>,
    running: Mutex<HashMap<InstanceId, Server>>,
    is_ready: AtomicBool,
    is_stopping: AtomicBool,
}

impl Hosting {
    pub(crate) fn new(
        catalog: Arc<Catalog>,
        clock: Clock,
        config: InstancesSection,
        folder: PathBuf,
    ) -> Arc<Self> {
        Arc::new(Self {
            catalog,
            clock,
            config,
            folder,
            internal: Arc::new(InternalUser::new()),
            running: Mutex::default(),
            is_ready: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        })
    }

    /// Runs rounds on a thread of its own until `stop`.
    pub(crate) fn start(self: &Arc<Self>) -> JoinHandle<()> {
        let hosting = Arc::clone(self);
        std::thread::spawn(move || {
            while !hosting.is_stopping.load(Ordering::SeqCst) {
                hosting.run_round();
                std::thread::sleep(ROUND);
            }
        })
    }

    /// Whether every instance was looked at once.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::SeqCst)
    }

    /// The instances whose last write did not reach the disk; they go on trying.
    pub(crate) fn unwritable(&self) -> Vec<InstanceId> {
        let running = self.lock();
        running.iter().filter(|(_, server)| !server.is_writable()).map(|(id, _)| *id).collect()
    }

    /// Asks the rounds to end.
    pub(crate) fn request_stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
    }

    /// Stops all databases: running commands finish.
    pub(crate) fn stop_all(&self) {
        let running = std::mem::take(&mut *self.lock());
        std::thread::scope(|scope| {
            for server in running.into_values() {
                scope.spawn(|| drop(server));
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceId, Server>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings every instance one step closer to what it should be.
    pub(crate) fn run_round(&self) {
        let instances = match self.catalog.list_all_instances() {
            Ok(instances) => instances,
            Err(error) => {
                tracing::error!(%error, "the instances could not be listed");
                return;
            }
        };
        self.remove_strangers(&instances);
        for instance in &instances {
            if let Err(error) = self.reconcile(instance) {
                tracing::error!(%error, instance = %instance.id, "an instance could not be brought to its state");
            }
        }
        self.is_ready.store(true, Ordering::SeqCst);
    }

    /// Stops what runs for an instance that the catalog does not have: a reset took it away.
    fn remove_strangers(&self, instances: &[Instance]) {
        // What runs has a port on record; without one it is another instance with the same id.
        let with_port = instances.iter().filter(|instance| instance.port.is_some());
        let known: HashSet<InstanceId> = with_port.map(|instance| instance.id).collect();
        let strangers: Vec<InstanceId> =
            self.lock().keys().filter(|id| !known.contains(id)).copied().collect();
        for id in strangers {
            let server = self.lock().remove(&id);
            drop(server);
            if let Err(error) = self.remove_folder(id) {
                tracing::error!(%error, instance = %id, "a folder was left behind");
            }
        }
    }

    fn reconcile(&self, instance: &Instance) -> Result<(), HostingError> {
        let now = self.clock.now();
        let was_visible = now.as_second() - instance.changed_at.as_second() >= VISIBLE_SECONDS;
        let change =
            |to| self.catalog.change_instance_state(instance.id, (instance.state, to), now);
        match instance.state {
            InstanceState::Creating => {
                self.ensure_running(instance)?;
                if was_visible {
                    change(InstanceState::Idle)?;
                }
            }
            InstanceState::Idle => self.ensure_running(instance)?,
            InstanceState::Updating => {
                self.ensure_running(instance)?;
                if was_visible && !self.catalog.is_restore_target(instance.id)? {
                    change(InstanceState::Idle)?;
                }
            }
            InstanceState::Deleting => {
                let server = self.lock().remove(&instance.id);
                // Its clients may take a while; the others go on.
                drop(server);
                self.remove_folder(instance.id)?;
                if was_visible {
                    self.catalog.retire_instance(instance.id, now)?;
                }
            }
            InstanceState::Deleted => {}
        }
        Ok(())
    }

    fn ensure_running(&self, instance: &Instance) -> Result<(), HostingError> {
        if self.lock().contains_key(&instance.id) {
            return Ok(());
        }
        let server = match instance.port {
            Some(port) => self.start_on(instance, port)?,
            None => self.start_on_free_port(instance)?,
        };
        tracing::info!(instance = %instance.id, address = %server.address(), "an instance runs");
        self.lock().insert(instance.id, server);
        Ok(())
    }

    fn start_on_free_port(&self, instance: &Instance) -> Result<Server, HostingError> {
        let used = self.catalog.used_ports()?;
        for port in
            (self.config.first_port..=self.config.last_port).filter(|port| !used.contains(port))
        {
            match self.start_on(instance, port) {
                Ok(server) => {
                    self.catalog.set_instance_port(instance.id, port)?;
                    return Ok(server);
                }
                // Somebody else's program has it.
                Err(HostingError::Server(ServerError::Listen { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Err(HostingError::NoPort)
    }

    fn start_on(&self, instance: &Instance, port: u16) -> Result<Server, HostingError> {
        let users = InstanceUsers {
            catalog: Arc::clone(&self.catalog),
            internal: Arc::clone(&self.internal),
            instance: instance.clone(),
            clock: self.clock.clone(),
        };
        Ok(Server::start(ServerConfig {
            folder: self.folder_of(instance.id),
            listen: SocketAddr::new(self.config.host, port),
            advertised_host: self.config.advertised(),
            users: Arc::new(users),
            clock: self.clock.clone(),
        })?)
    }

    fn folder_of(&self, instance: InstanceId) -> PathBuf {
        self.folder.join(instance.to_string())
    }

    fn remove_folder(&self, instance: InstanceId) -> Result<(), HostingError> {
        let path = self.folder_of(instance);
        match std::fs::remove_dir_all(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(HostingError::Folder { path, source })
            }
            _ => Ok(()),
        }
    }
}

impl Deployments for Hosting {
    fn endpoint(&self, instance: &Instance) -> Option<Endpoint> {
        let running = self.lock();
        let server = running.get(&instance.id)?;
        let mut address = server.address();
        if address.ip().is_unspecified() {
            address.set_ip(std::net::IpAddr::from([127, 0, 0, 1]));
        }
        Some(Endpoint {
            address: address.to_string(),
            user: self.internal.name.clone(),
            password: self.internal.password.clone(),
        })
    }
}
