//! Being one of the processes that serve the same records.
//!
//! A node says every few seconds that it is there. If it cannot, it takes itself for gone before the others
//! do: what it holds it gives up in time for somebody else to take it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tidemark_catalog::{Catalog, CatalogError, LeaseHolder, Node};
use tidemark_model::{Clock, InstanceId, NodeId, NodeRole, NodeRun};
use tidemark_mover::Stop;

/// How long a node counts as there after it said so.
const LEASE: SignedDuration = SignedDuration::from_secs(10);
const RENEWAL: Duration = Duration::from_secs(2);
/// How often a node looks which others there are.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Without a renewal a node takes itself for gone after so long, before others do.
const OWN_LEASE: Duration = Duration::from_secs(7);
/// A clock that differs less is right: the question takes a while, too.
const TOLERANCE: SignedDuration = SignedDuration::from_millis(300);
/// What the name of a host stands for is looked up again after so long.
const ADDRESS_LIFETIME: Duration = Duration::from_mins(1);
/// A node that has been gone for so long, and on which nothing is, is forgotten.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// Tells which certificate the databases of a node show now, by its fingerprint.
pub type ShownCertificate = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// A node that is about to start.
#[derive(Clone)]
pub struct NewNode {
    /// Its name, the same at every start on one data folder.
    pub id: NodeId,
    /// What it does.
    pub role: NodeRole,
    /// The host under which clients reach its databases.
    pub host: String,
    /// How many databases it has ports for.
    pub ports: u32,
    /// Its vault: where it is, and what tells its key from others.
    pub vault: String,
    /// With which keys it seals, as `Node` has it.
    pub keys: String,
    /// What its databases show to those who connect.
    pub certificate: ShownCertificate,
}

/// This process among those that serve the same records.
pub struct Membership {
    catalog: Arc<Catalog>,
    clock: Clock,
    node: NewNode,
    run: NodeRun,
    holder: LeaseHolder,
    /// When it was last said that it is there. Held for a look.
    renewed_at: Mutex<Instant>,
    /// Whether another process has its name.
    is_replaced: AtomicBool,
    /// What others said last. Held for a look.
    nodes: Mutex<Arc<Vec<Node>>>,
    /// What the names of hosts stand for, and since when. Held for a look and for looking names up.
    addresses: Mutex<HashMap<String, (Vec<IpAddr>, Instant)>>,
    stop: Stop,
    /// Held when it ends.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Membership {
    /// Joins: what earlier runs of the node held is given back.
    pub fn join(
        catalog: Arc<Catalog>,
        clock: Clock,
        node: NewNode,
    ) -> Result<Arc<Self>, CatalogError> {
        // The first question takes longer, because a connection is made for it.
        follow_shared_clock(&catalog, &clock)?;
        follow_shared_clock(&catalog, &clock)?;
        let now = clock.now();
        let run = NodeRun::new(now);
        let holder = LeaseHolder { worker: run.to_string(), duration: LEASE };
        // Nobody else looks at a file: what is recorded there does not end.
        let alive_until = if catalog.is_shared() {
            now.saturating_add(LEASE).unwrap_or(now)
        } else {
            Timestamp::MAX
        };
        catalog.join_node(&Node {
            id: node.id,
            run,
            role: node.role,
            host: node.host.clone(),
            ports: node.ports,
            vault: node.vault.clone(),
            keys: node.keys.clone(),
            certificate: (node.certificate)(),
            started_at: now,
            alive_until,
        })?;
        let membership = Arc::new(Self {
            nodes: Mutex::new(Arc::new(catalog.list_nodes()?)),
            addresses: Mutex::default(),
            catalog,
            clock,
            node,
            run,
            holder,
            renewed_at: Mutex::new(Instant::now()),
            is_replaced: AtomicBool::new(false),
            stop: Stop::new(),
            thread: Mutex::default(),
        });
        if membership.catalog.is_shared() {
            // On a thread of its own: names may take long.
            let for_names = Arc::clone(&membership);
            std::thread::spawn(move || {
                while !for_names.stop.is_requested() {
                    for_names.look_names_up();
                    std::thread::sleep(Duration::from_millis(500));
                }
            });
            let for_thread = Arc::clone(&membership);
            let thread = std::thread::spawn(move || for_thread.keep());
            *lock(&membership.thread) = Some(thread);
        }
        Ok(membership)
    }

    /// The only node, for tests: each time another start of the same one.
    ///
    /// # Panics
    ///
    /// When it cannot be recorded.
    #[doc(hidden)]
    #[expect(clippy::expect_used, reason = "a test that cannot go on fails")]
    pub fn alone(catalog: &Arc<Catalog>, clock: &Clock) -> Arc<Self> {
        let node = NewNode {
            id: NodeId::from_bytes([1; 12]),
            role: NodeRole::All,
            host: "127.0.0.1".to_owned(),
            ports: 1,
            vault: String::new(),
            keys: String::new(),
            certificate: Arc::new(|| None),
        };
        Self::join(Arc::clone(catalog), clock.clone(), node).expect("a node that is recorded")
    }

    /// Says that it is there until it ends.
    fn keep(&self) {
        let (mut renewed_at, mut looked_at) = (Instant::now(), Instant::now());
        while !self.stop.is_requested() {
            // Who reads what others change is told at least so often.
            self.catalog.wait_for_change(self.catalog.generation(), Duration::from_millis(500));
            if self.stop.is_requested() {
                return;
            }
            if renewed_at.elapsed() < RENEWAL {
                // Who has just joined is to have its share of what comes next. Changes come more often than
                // that, and none of them is worth a question.
                if looked_at.elapsed() >= LOOK_INTERVAL {
                    looked_at = Instant::now();
                    let _ = self.refresh();
                }
                continue;
            }
            // What is said at this instant is true from this instant on.
            renewed_at = Instant::now();
            match self.renew() {
                Ok(()) => *lock(&self.renewed_at) = renewed_at,
                Err(CatalogError::LeaseLost(_)) => self.note_loss(),
                Err(error) => tracing::warn!(%error, "that this node is there could not be said"),
            }
        }
    }

    /// Finds out why nothing is recorded of this node.
    fn note_loss(&self) {
        let is_replaced = self.refresh().is_ok()
            && self.nodes().iter().any(|node| node.id == self.node.id && node.run != self.run);
        if !is_replaced {
            // Not what another node would leave: a database that answers that there is nothing is not taken at
            // its word.
            tracing::error!(node = %self.node.id, "the records do not know this node: are they the right ones? It waits");
        } else if !self.is_replaced.swap(true, Ordering::SeqCst) {
            tracing::error!(node = %self.node.id, "another process has the name of this node: was its data folder copied? It does nothing any more; stop it, and remove the file `node` from the copy");
        }
    }

    /// Whether what has no record is over, rather than what a database that lost its records does not know of:
    /// it is a day old, or nobody else has the records.
    pub fn is_forgotten(&self, made_at: Timestamp) -> bool {
        let day = SignedDuration::from_hours(24);
        !self.is_shared() || made_at.saturating_add(day).is_ok_and(|end| end < self.clock.now())
    }

    fn renew(&self) -> Result<(), CatalogError> {
        follow_shared_clock(&self.catalog, &self.clock)?;
        let certificate = (self.node.certificate)();
        let until = (&self.holder, self.clock.now());
        self.catalog.renew_node(self.node.id, until, certificate.as_deref())?;
        self.refresh()
    }

    /// Looks which nodes there are now.
    pub fn refresh(&self) -> Result<(), CatalogError> {
        let nodes = self.catalog.list_nodes()?;
        *lock(&self.nodes) = Arc::new(nodes);
        Ok(())
    }

    /// Its name.
    pub fn id(&self) -> NodeId {
        self.node.id
    }

    /// The name of this start.
    pub fn run(&self) -> NodeRun {
        self.run
    }

    /// Whether others may serve the same records.
    pub fn is_shared(&self) -> bool {
        self.catalog.is_shared()
    }

    /// Whether it may do what only one node does.
    pub fn is_there(&self) -> bool {
        !self.is_shared()
            || (!self.is_replaced.load(Ordering::SeqCst) && self.unheard_for() < OWN_LEASE)
    }

    /// How long ago it said that it is there.
    pub fn unheard_for(&self) -> Duration {
        if self.is_replaced.load(Ordering::SeqCst) {
            return Duration::MAX;
        }
        lock(&self.renewed_at).elapsed()
    }

    /// All nodes, as they were a few seconds ago at most.
    pub fn nodes(&self) -> Arc<Vec<Node>> {
        Arc::clone(&lock(&self.nodes))
    }

    /// A node that counts as there.
    pub fn find_alive(&self, id: NodeId) -> Option<Node> {
        let now = self.clock.now();
        self.nodes().iter().find(|node| node.id == id && node.is_alive(now)).cloned()
    }

    /// Whether a node that works is under an address, as far as its host says: its links to the databases of
    /// other nodes come from there. Names are looked up once a minute.
    pub fn is_of_worker(&self, address: IpAddr) -> bool {
        if !self.is_shared() {
            return false;
        }
        let known = lock(&self.addresses);
        self.workers().iter().any(|node| match node.host.parse::<IpAddr>() {
            Ok(own) => own == address,
            Err(_) => known.get(&node.host).is_some_and(|(found, _)| found.contains(&address)),
        })
    }

    /// Looks the names of hosts up that were not looked up for a while; one that is not found stands for what
    /// it stood for.
    fn look_names_up(&self) {
        for node in self.workers() {
            let is_fresh = |(_, at): &(Vec<IpAddr>, Instant)| at.elapsed() < ADDRESS_LIFETIME;
            let is_known = lock(&self.addresses).get(&node.host).is_some_and(is_fresh);
            if is_known || node.host.parse::<IpAddr>().is_ok() {
                continue;
            }
            if let Ok(found) = (node.host.as_str(), 0).to_socket_addrs() {
                let found = found.map(|found| found.ip()).collect();
                lock(&self.addresses).insert(node.host, (found, Instant::now()));
            }
        }
    }

    /// The nodes that count as there and work.
    pub fn workers(&self) -> Vec<Node> {
        let now = self.clock.now();
        let nodes = self.nodes();
        let working = nodes.iter().filter(|node| node.is_alive(now) && node.role.works());
        working.cloned().collect()
    }

    /// Whether this node, of all that work, is the one that looks after something. Others come to the same
    /// answer, as far as they know of the same nodes.
    pub fn is_chosen_for(&self, id: InstanceId) -> bool {
        if !self.is_shared() {
            return true;
        }
        let rank = |node: NodeId| {
            let mut hasher = DefaultHasher::new();
            (node.bytes(), id.bytes()).hash(&mut hasher);
            hasher.finish()
        };
        let chosen = self.workers().into_iter().max_by_key(|node| rank(node.id));
        self.is_there() && chosen.is_some_and(|chosen| chosen.id == self.node.id)
    }

    /// Whether a duty is this node's.
    pub fn has_duty(&self, name: &str) -> bool {
        if !self.is_shared() {
            return true;
        }
        let held = self.is_there()
            && self
                .catalog
                .hold_duty(name, self.run, self.clock.now())
                .inspect_err(
                    |error| tracing::warn!(%error, name, "whose duty this is is not known"),
                )
                .unwrap_or(false);
        held && self.is_there()
    }

    /// Forgets nodes that have been gone for long, and what nodes count that is over.
    pub fn tidy(&self) -> Result<(), CatalogError> {
        let now = self.clock.now();
        let ago = |ago: SignedDuration| now.saturating_sub(ago).unwrap_or(now);
        self.catalog.forget_nodes(ago(FORGOTTEN_AFTER))?;
        self.catalog.forget_nonces(now)?;
        self.catalog.forget_buckets(ago(SignedDuration::from_hours(1)))?;
        Ok(())
    }

    /// Says that it ends: what it holds is free at once.
    pub fn leave(&self) {
        self.stop.request();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        if self.is_shared()
            && let Err(error) = self.catalog.leave_node(self.run, self.clock.now())
        {
            tracing::warn!(%error, "that this node ends could not be said; the others notice");
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.stop.request();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the clock of this process by the one that all nodes share.
fn follow_shared_clock(catalog: &Catalog, clock: &Clock) -> Result<(), CatalogError> {
    let asked_at = clock.uncorrected();
    let Some(shared) = catalog.shared_clock()? else { return Ok(()) };
    let answered_at = clock.uncorrected();
    let took = answered_at.duration_since(asked_at);
    let middle = asked_at.saturating_add(took / 2).unwrap_or(asked_at);
    let ahead = shared.duration_since(middle);
    // What may be the way there and back is no difference.
    let correction =
        if ahead.abs() < TOLERANCE.max(took / 2) { SignedDuration::ZERO } else { ahead };
    clock.correct(correction);
    Ok(())
}
