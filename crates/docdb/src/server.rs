//! One instance on the network: listening, connections, the stop.
//!
//! Each connection has a thread; storage calls block and so may they. `stop` ends listening,
//! lets every command that is running finish, and waits for all threads.

mod connection;

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use tidemark_model::{Clock, Throttle};

use crate::auth::UserDirectory;
use crate::budget::Budget;
use crate::context::{MOST_CONNECTIONS, Shared, is_admitted};
use crate::cursor::Cursors;
use crate::engine::Engine;
use crate::operations::Operations;
use crate::tls::ServerTls;
use crate::withheld::Withheld;

/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Enough for everything that recurses into 200 levels of nesting; what is not used costs nothing.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// How long clients may take to read their last answers when an instance stops.
const PATIENCE_WITH_CLIENTS: Duration = Duration::from_secs(10);

/// What an instance needs to run.
pub struct ServerConfig {
    /// Its folder.
    pub folder: PathBuf,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The host name that clients are told to connect to.
    pub advertised_host: String,
    /// The port that they are told, if it is another than the one on which it listens.
    pub advertised_port: Option<u16>,
    /// Its users.
    pub users: Arc<dyn UserDirectory>,
    /// The time.
    pub clock: Clock,
    /// What it behaves as if it lacked.
    pub withheld: Withheld,
    /// What it shows to clients; without it they are answered without TLS.
    pub tls: Option<Arc<dyn ServerTls>>,
}

/// Why an instance does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its storage cannot be opened.
    #[error("the instance in {folder} cannot be opened: {reason}")]
    Storage {
        /// The folder.
        folder: PathBuf,
        /// What the storage says.
        reason: String,
    },
    /// Its address cannot be used.
    #[error("the instance cannot listen on {address}; free the port or change the port range")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// A running instance.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
    maintaining: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Server {
    /// Opens the storage and listens.
    pub fn start(config: ServerConfig) -> Result<Self, ServerError> {
        let storage = |error: crate::error::CommandError| ServerError::Storage {
            folder: config.folder.clone(),
            reason: error.message,
        };
        let engine = Engine::open(&config.folder, config.clock.clone()).map_err(storage)?;
        let listen = |source| ServerError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let shared = Arc::new(Shared {
            engine: Arc::clone(&engine),
            cursors: Cursors::default(),
            users: config.users,
            withheld: config.withheld,
            tls: config.tls,
            advertised: format!(
                "{}:{}",
                config.advertised_host,
                config.advertised_port.unwrap_or(address.port())
            ),
            process: ObjectId::new(),
            stopping: AtomicBool::new(false),
            throttle: Throttle::default(),
            messages: Budget::default(),
            operations: Operations::default(),
            started: Instant::now(),
            decoy_key: engine.decoy_key().map_err(storage)?,
            connections: Mutex::default(),
            next_connection: AtomicU64::new(1),
        });
        let (stop, stopped) = mpsc::channel();
        let for_maintaining = Arc::clone(&shared);
        let maintaining = std::thread::spawn(move || {
            engine.maintain(&stopped, || for_maintaining.cursors.close_idle());
        });
        let for_accepting = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || accept(&listener, &for_accepting));
        Ok(Self {
            address,
            shared,
            accepting: Some(accepting),
            maintaining: Some((stop, maintaining)),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether its last write reached the disk.
    pub fn is_writable(&self) -> bool {
        self.shared.engine.is_writable()
    }

    /// Stops: running commands finish, then all connections are closed.
    pub fn stop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // The listener wakes up for one more connection and sees the flag.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        if let Some((stop, maintaining)) = self.maintaining.take() {
            let _ = stop.send(());
            let _ = maintaining.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            break;
        }
        let Ok(stream) = stream else {
            // Out of descriptors, most likely: some will be free again.
            std::thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        if shared.lock_connections().len() >= MOST_CONNECTIONS {
            tracing::warn!(limit = MOST_CONNECTIONS, "an instance has too many connections");
            continue;
        }
        if !is_admitted(&stream, shared) {
            // Closed without a word, as a firewall would.
            continue;
        }
        let Ok(handle) = stream.try_clone() else {
            continue;
        };
        let id = shared.next_connection.fetch_add(1, Ordering::Relaxed);
        shared.lock_connections().insert(id, handle);
        let for_connection = Arc::clone(shared);
        threads.retain(|thread| !thread.is_finished());
        let serve = move || {
            connection::serve(stream, &for_connection, id);
            for_connection.lock_connections().remove(&id);
        };
        match std::thread::Builder::new().stack_size(STACK_BYTES).spawn(serve) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                tracing::error!(%error, "no thread could be started for a connection");
                shared.lock_connections().remove(&id);
            }
        }
    }
    for stream in shared.lock_connections().values() {
        // Reading ends; an answer that is being written still goes out.
        let _ = stream.shutdown(Shutdown::Read);
    }
    let deadline = Instant::now() + PATIENCE_WITH_CLIENTS;
    while threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    for stream in shared.lock_connections().values() {
        // Whoever does not read an answer must not hold up the stop.
        let _ = stream.shutdown(Shutdown::Both);
    }
    for thread in threads {
        let _ = thread.join();
    }
}
