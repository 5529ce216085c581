//! Running the databases of instances, as the catalog wants them.
//!
//! A reconciler: it looks at what instances should be and what runs, and does the difference. A
//! state that clients wait for stays visible for a moment, because they fail when it is skipped.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use tidemark_actions::instances;
use tidemark_catalog::{Backing, Catalog, CatalogError, Instance, InstanceTrouble};
use tidemark_deployment::{Address, Endpoint, Pins};
use tidemark_docdb::{Matcher, Server, ServerConfig, ServerError, ServerTls, Withheld};
use tidemark_model::{Clock, InstanceEvent, InstanceId, InstanceName, InstanceState, ProjectId};
use tidemark_mover::Matches;
use tidemark_vault::VaultKey;
use tidemark_worker::{Deployments, Membership, Scratch};

use crate::attached::Attached;
use crate::config::{InstancesSection, NodesSection};
use crate::scratch::{Reach, ScratchEngine};
use crate::sharing_out::SharingOut;
use crate::tls::Certificates;
use crate::users::{InstanceUsers, InternalUser, Known};

/// The wait after the first failure, doubled.
const ROUND: Duration = Duration::from_millis(100);
/// How often it is looked whether others may have this node's databases.
const FENCE_INTERVAL: Duration = Duration::from_millis(250);
/// So much before they may, they are stopped: clients have ten seconds to read their last answers, and
/// clocks may differ.
const FENCE_MARGIN: Duration = Duration::from_secs(5);
/// The longest sleep between two rounds.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);
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
    #[error(
        "its data in {path} is gone; copy it back, or begin anew from its snapshots with POST /api/tidemark/v1/groups/{project}/instances/{name}/rehost"
    )]
    DataLost { path: PathBuf, project: ProjectId, name: InstanceName },
    #[error("the folder {path} cannot be changed: {source}")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("it is on another node by now")]
    Elsewhere,
}

/// An instance that could not be brought to its state.
struct Failing {
    reason: String,
    times: u32,
    again_at: Instant,
}

/// The file that every database has in its folder.
const DATA_FILE: &str = "data.mdb";
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A port that somebody else has for so many tries is given up for another one.
const PORT_TRIES: u32 = 6;

/// Where and how databases run.
#[derive(Clone)]
pub(crate) struct HostingConfig {
    pub(crate) instances: InstancesSection,
    pub(crate) nodes: NodesSection,
    /// The folder of all their folders.
    pub(crate) folder: PathBuf,
    /// Where scratch databases are.
    pub(crate) scratch_folder: PathBuf,
    /// How long backups of a removed one are kept.
    pub(crate) retention_after_delete: SignedDuration,
    /// What they show to clients, if they speak TLS.
    pub(crate) certificates: Option<Arc<Certificates>>,
}

/// The databases that run.
pub(crate) struct Hosting {
    catalog: Arc<Catalog>,
    clock: Clock,
    config: HostingConfig,
    membership: Arc<Membership>,
    internal: Arc<InternalUser>,
    /// Held for lookups, and for putting a database in or taking one out.
    running: Mutex<HashMap<InstanceId, Server>>,
    /// Instances that could not be brought to their state: why, how often, and when to try again.
    /// Held for lookups.
    failing: Mutex<HashMap<InstanceId, Failing>>,
    /// The deployments that are not here.
    attached: Arc<Attached>,
    is_ready: AtomicBool,
    is_stopping: AtomicBool,
}

impl Hosting {
    pub(crate) fn new(
        catalog: Arc<Catalog>,
        clock: Clock,
        config: HostingConfig,
        (membership, key): (Arc<Membership>, &VaultKey),
        attached: Arc<Attached>,
    ) -> Arc<Self> {
        Arc::new(Self {
            catalog,
            clock,
            config,
            membership,
            failing: Mutex::default(),
            internal: Arc::new(InternalUser::new(key)),
            running: Mutex::default(),
            attached,
            is_ready: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        })
    }

    /// Runs rounds on a thread of its own until `stop`.
    pub(crate) fn start(self: &Arc<Self>) -> JoinHandle<()> {
        let hosting = Arc::clone(self);
        std::thread::spawn(move || {
            while !hosting.is_stopping() {
                let seen = hosting.catalog.generation();
                let began = Instant::now();
                hosting.run_round();
                // However many instances there are, looking at them takes a part of the time only.
                std::thread::sleep((began.elapsed() * 2).min(LONGEST_SLEEP));
                // States that are shown for a moment end without a change.
                hosting.catalog.wait_for_change(seen, LONGEST_SLEEP);
            }
        })
    }

    /// Stops all databases when others may have them soon, whatever the rounds wait for.
    pub(crate) fn start_fence(self: &Arc<Self>) {
        if !self.membership.is_shared() {
            return;
        }
        let hosting = Arc::clone(self);
        std::thread::spawn(move || {
            while !hosting.is_stopping() {
                if hosting.is_cut_off() {
                    hosting.stop_serving();
                }
                std::thread::sleep(FENCE_INTERVAL);
            }
        });
    }

    /// Whether every instance was looked at once.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::SeqCst)
    }

    /// What is wrong with instances, as sentences.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let unwritable: Vec<String> = {
            let running = self.lock();
            let unwritable = running.iter().filter(|(_, server)| !server.is_writable());
            unwritable.map(|(id, _)| id.to_string()).collect()
        };
        if !unwritable.is_empty() {
            complaints.push(format!(
                "the last write of these instances did not reach the disk; is it full? {}",
                unwritable.join(", ")
            ));
        }
        for (id, failing) in &*self.lock_failing() {
            complaints.push(format!("instance {id} is not served: {}", failing.reason));
        }
        complaints
    }

    fn lock_failing(&self) -> MutexGuard<'_, HashMap<InstanceId, Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the rounds to end.
    pub(crate) fn request_stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        self.attached.request_stop();
    }

    /// Whether the rounds were asked to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
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
        if self.is_cut_off() {
            return self.stop_serving();
        }
        let mut instances = match self.catalog.list_all_instances() {
            Ok(instances) => instances,
            Err(error) => {
                tracing::error!(%error, "the instances could not be listed");
                return;
            }
        };
        if self.membership.is_shared() {
            self.share_out(&mut instances);
        }
        self.remove_strangers(&instances);
        self.attached.run_round(&instances);
        let embedded = instances
            .iter()
            .filter(|instance| instance.backing == Backing::Embedded && self.is_here(instance));
        for instance in embedded {
            if self.is_stopping() {
                return;
            }
            let waits = |failing: &Failing| failing.again_at > Instant::now();
            if self.lock_failing().get(&instance.id).is_some_and(waits) {
                continue;
            }
            match self.reconcile(instance) {
                Ok(()) => drop(self.lock_failing().remove(&instance.id)),
                Err(error) => self.note_failure(instance, &error),
            }
        }
        self.is_ready.store(true, Ordering::SeqCst);
    }

    /// Notes that an instance could not be brought to its state; the next try comes later each time.
    fn note_failure(&self, instance: &Instance, error: &HostingError) {
        let id = instance.id;
        let trouble = match error {
            HostingError::DataLost { .. } => InstanceTrouble::DataLost,
            error => InstanceTrouble::NotStarted(error.to_string()),
        };
        let should_serve = instance.state.runs() || instance.state == InstanceState::Repairing;
        // What is wrong may become something else while it is repaired. Records that cannot be read or written
        // for a moment say nothing of the database.
        if should_serve
            && !matches!(error, HostingError::Catalog(_))
            && instance.trouble.as_ref() != Some(&trouble)
            && let Err(error) = self.catalog.set_instance_trouble(id, &trouble, self.clock.now())
        {
            tracing::error!(%error, instance = %id, "that an instance is not served was not recorded");
        }
        let mut failing = self.lock_failing();
        let times = failing.get(&id).map_or(0, |failing| failing.times) + 1;
        let wait = LONGEST_WAIT.min(ROUND * (1 << times.min(9)));
        let reason = error.to_string();
        tracing::error!(reason, instance = %id, times, "an instance could not be brought to its state");
        failing.insert(id, Failing { reason, times, again_at: Instant::now() + wait });
    }

    /// Stops what runs for an instance that the catalog does not have, because a reset took it away, or that
    /// is on another node.
    fn remove_strangers(&self, instances: &[Instance]) {
        // What runs has a port on record; without one it is another instance with the same id.
        let known: HashMap<InstanceId, &Instance> = instances
            .iter()
            .filter(|instance| instance.port.is_some() && self.is_here(instance))
            .map(|instance| (instance.id, instance))
            .collect();
        let strangers: Vec<InstanceId> =
            self.lock().keys().filter(|id| !known.contains_key(id)).copied().collect();
        for id in strangers {
            if let Err(error) = self.remove_stranger(id) {
                tracing::error!(%error, instance = %id, "a folder was left behind");
            }
        }
    }

    fn remove_stranger(&self, id: InstanceId) -> Result<(), HostingError> {
        if !self.membership.is_shared() {
            drop(self.lock().remove(&id));
            return self.remove_folder(id);
        }
        // A database that has no record of it may have lost its records: it goes on until somebody says
        // that it is elsewhere.
        let record = match self.catalog.load_instance(id) {
            Err(CatalogError::Missing(_)) => return Ok(()),
            outcome => outcome?,
        };
        // One without its port began anew, even if it is here again.
        let served = self.lock().get(&id).map(|server| server.address().port());
        if record.state != InstanceState::Deleted && self.is_here(&record) && record.port == served
        {
            return Ok(());
        }
        let server = self.lock().remove(&id);
        drop(server);
        // It may hold what nobody else has.
        self.set_folder_aside(id)
    }

    fn reconcile(&self, instance: &Instance) -> Result<(), HostingError> {
        let now = self.clock.now();
        let was_visible = now.as_second() - instance.changed_at.as_second() >= VISIBLE_SECONDS;
        match instance.state {
            InstanceState::Creating => {
                self.ensure_running(instance)?;
                if was_visible {
                    self.catalog.record_instance_event(instance.id, InstanceEvent::Served, now)?;
                }
            }
            InstanceState::Idle => self.ensure_running(instance)?,
            InstanceState::Updating => {
                self.ensure_running(instance)?;
                if was_visible {
                    instances::settle(&self.catalog, instance.id, now)?;
                }
            }
            InstanceState::Repairing => {
                self.take_back(instance)?;
                self.ensure_running(instance)?;
                instances::repair(&self.catalog, instance.id, now)?;
            }
            InstanceState::Deleting => {
                let server = self.lock().remove(&instance.id);
                // Its clients may take a while; the others go on.
                drop(server);
                self.remove_folder(instance.id)?;
                if was_visible {
                    let retention = self.config.retention_after_delete;
                    self.catalog.retire_instance(instance.id, now, retention)?;
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
        let folder = self.folder_of(instance.id);
        if instance.port.is_none() && self.membership.is_shared() {
            // It was here before, and began anew.
            self.set_folder_aside(instance.id)?;
        }
        // What has a port had data. An empty database must not pass for it.
        if instance.port.is_some() && !folder.join(DATA_FILE).exists() {
            let (project, name) = (instance.project, instance.name.clone());
            return Err(HostingError::DataLost { path: folder, project, name });
        }
        let tries = self.lock_failing().get(&instance.id).map_or(0, |failing| failing.times);
        let server = match instance.port {
            Some(port) => match self.start_on(instance, port) {
                // Somebody else's program has it and keeps it: the next connection string names
                // another one.
                Err(HostingError::Server(ServerError::Listen { .. })) if tries >= PORT_TRIES => {
                    tracing::warn!(instance = %instance.id, port, "the port of an instance is taken; it gets another one");
                    self.start_on_free_port(instance)?
                }
                outcome => outcome?,
            },
            None => self.start_on_free_port(instance)?,
        };
        tracing::info!(instance = %instance.id, address = %server.address(), "an instance runs");
        self.lock().insert(instance.id, server);
        if self.is_stopping() || self.is_cut_off() {
            // Nothing listens any more; whoever stops may have been faster.
            let server = self.lock().remove(&instance.id);
            drop(server);
        }
        Ok(())
    }

    fn start_on_free_port(&self, instance: &Instance) -> Result<Server, HostingError> {
        let used = self.catalog.used_ports(instance.node)?;
        let InstancesSection { first_port, last_port, .. } = self.config.instances;
        for port in (first_port..=last_port).filter(|port| !used.contains(port)) {
            match self.start_on(instance, port) {
                Ok(server) => {
                    let recorded = self.catalog.set_instance_port(instance.id, port, instance.node);
                    return match recorded {
                        Err(CatalogError::Missing(_)) if self.membership.is_shared() => {
                            Err(HostingError::Elsewhere)
                        }
                        outcome => Ok(outcome.map(|()| server)?),
                    };
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
            known: Known::default(),
            membership: Arc::clone(&self.membership),
        };
        Ok(Server::start(ServerConfig {
            folder: self.folder_of(instance.id),
            listen: SocketAddr::new(self.config.instances.host, port),
            advertised_host: self.config.instances.advertised(),
            advertised_port: None,
            users: Arc::new(users),
            clock: self.clock.clone(),
            withheld: Withheld::nothing(),
            tls: self.config.certificates.clone().map(|tls| tls as Arc<dyn ServerTls>),
        })?)
    }

    fn folder_of(&self, instance: InstanceId) -> PathBuf {
        self.config.folder.join(instance.to_string())
    }

    /// Keeps the folder of an instance that is not here any more under another name, if there is one.
    fn set_folder_aside(&self, instance: InstanceId) -> Result<(), HostingError> {
        let path = self.folder_of(instance);
        let aside = path.with_extension(format!("aside-{}", self.clock.now().as_millisecond()));
        match std::fs::rename(&path, &aside) {
            Ok(()) => {
                tracing::warn!(%instance, folder = %aside.display(), "what this node had of an instance that began anew is kept aside; remove it when nothing of it is needed");
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(HostingError::Folder { path, source }),
        }
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

/// Where several nodes serve the same records.
impl Hosting {
    /// Whether an instance inside Tidemark is on this node.
    fn is_here(&self, instance: &Instance) -> bool {
        !self.membership.is_shared() || instance.node == Some(self.membership.id())
    }

    /// Whether this node counts as lost, or is about to: others may have its instances.
    fn is_cut_off(&self) -> bool {
        // Others wait for the lease besides.
        let limit = Duration::from_secs(u64::from(self.config.nodes.lost_after_seconds));
        self.membership.is_shared()
            && self.membership.unheard_for() >= limit.saturating_sub(FENCE_MARGIN)
    }

    /// Stops all databases until it is known again that they are this node's.
    fn stop_serving(&self) {
        if !self.lock().is_empty() {
            tracing::error!(
                "the records could not be reached for long: other nodes take this one for lost, so it stops its databases"
            );
            self.stop_all();
        }
    }

    /// How other nodes' instances are reached.
    fn endpoint_elsewhere(&self, instance: &Instance) -> Option<Endpoint> {
        let node = self.membership.find_alive(instance.node?)?;
        let (port, host) = (instance.port?, node.host);
        let address =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        self.address(address, node.certificate)
    }

    /// How a database is reached that shows this certificate, if it speaks TLS.
    /// Starts an empty engine that is reached as instances are.
    pub(crate) fn open_scratch(&self, name: &str) -> Result<ScratchEngine, String> {
        let pin = |own: &Arc<Certificates>| {
            let pins = Pins::new(vec![own.fingerprint()]).map_err(|error| error.to_string())?;
            Ok::<_, String>((Arc::clone(own) as Arc<dyn ServerTls>, pins))
        };
        let reach = Reach {
            listen: self.config.instances.host,
            host: self.config.instances.advertised(),
            tls: self.config.certificates.as_ref().map(pin).transpose()?,
        };
        ScratchEngine::start(self.config.scratch_folder.join(name), self.clock.clone(), reach)
    }

    fn address(&self, address: String, certificate: Option<String>) -> Option<Endpoint> {
        let pins = certificate.map(|certificate| Pins::new(vec![certificate])).transpose();
        let pins =
            pins.inspect_err(|error| tracing::error!(%error, "no link with TLS is possible"));
        let (user, password) = (self.internal.name.clone(), self.internal.password.clone());
        Some(Endpoint::Embedded(Address { address, user, password, pins: pins.ok()? }))
    }

    /// Takes instances that are on no node, and looks after those whose node is gone.
    fn share_out(&self, instances: &mut [Instance]) {
        let has_data = |id: InstanceId| self.folder_of(id).join(DATA_FILE).exists();
        let sharing = SharingOut {
            catalog: &self.catalog,
            membership: &self.membership,
            now: self.clock.now(),
            limits: &self.config.nodes,
            retention_after_delete: self.config.retention_after_delete,
            has_data: &has_data,
        };
        sharing.run(instances);
    }

    /// Says that a lost instance is on this node after all, before its database is started.
    fn take_back(&self, instance: &Instance) -> Result<(), HostingError> {
        if instance.trouble != Some(InstanceTrouble::NodeLost) {
            return Ok(());
        }
        if self.catalog.take_back(instance.id, self.membership.id())? {
            Ok(())
        } else {
            Err(HostingError::Elsewhere)
        }
    }
}

impl Deployments for Hosting {
    fn endpoint(&self, instance: &Instance) -> Option<Endpoint> {
        if instance.backing == Backing::Attached {
            return self.attached.endpoint(instance.id);
        }
        if !self.is_here(instance) {
            return self.endpoint_elsewhere(instance);
        }
        let running = self.lock();
        let server = running.get(&instance.id)?;
        let mut address = server.address();
        if address.ip().is_unspecified() {
            address.set_ip(std::net::IpAddr::from([127, 0, 0, 1]));
        }
        let shown = self.config.certificates.as_ref().map(|own| own.fingerprint());
        self.address(address.to_string(), shown)
    }

    fn matcher(&self, filter: &bson::Document) -> Result<Matches, String> {
        let matcher = Matcher::parse(filter)?;
        Ok(Box::new(move |document| matcher.matches(document)))
    }

    fn scratch(&self, name: &str) -> Result<Box<dyn Scratch>, String> {
        let folder = self.config.scratch_folder.join(name);
        Ok(Box::new(ScratchEngine::start(folder, self.clock.clone(), Reach::here())?))
    }

    fn has_oplog(&self, instance: &Instance) -> bool {
        instance.backing == Backing::Embedded || self.attached.has_oplog(instance.id)
    }
}
