//! Scratch databases: engines that listen on this machine only and end with everything in them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemark_deployment::{Address, Endpoint, Pins};
use tidemark_docdb::{Server, ServerConfig, ServerTls, Withheld};
use tidemark_model::{Clock, Secret};
use tidemark_worker::Scratch;

use crate::one_user::{FewUsers, OneUser};

const USER: &str = "scratch";
/// What stages a restore is seen by the servers' own users only.
const ROLE: &str = "__system";
/// Who reads, and nothing else.
const READER: &str = "reader";
const READER_ROLE: &str = "backup";

/// A scratch database.
pub(crate) struct ScratchEngine {
    /// Stopped before its folder goes.
    server: Server,
    folder: PathBuf,
    password: Secret,
    reader_password: Secret,
    pins: Option<Pins>,
    host: String,
}

/// Where a scratch database is reached.
#[derive(Clone)]
pub(crate) struct Reach {
    /// The address on which it listens.
    pub(crate) listen: IpAddr,
    /// The host under which it is reached from elsewhere.
    pub(crate) host: String,
    /// Its certificates, and what they are known by, if it speaks TLS.
    pub(crate) tls: Option<(Arc<dyn ServerTls>, Pins)>,
}

impl Reach {
    /// On this machine only.
    pub(crate) fn here() -> Self {
        let here = Ipv4Addr::LOCALHOST;
        Self { listen: here.into(), host: here.to_string(), tls: None }
    }
}

impl ScratchEngine {
    /// Starts an empty one in a folder; what was left there is removed.
    pub(crate) fn start(folder: PathBuf, clock: Clock, reach: Reach) -> Result<Self, String> {
        remove(&folder)?;
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
        let password = Secret::random::<32>();
        let reader_password = Secret::random::<32>();
        let users = FewUsers(vec![
            OneUser::new(USER.to_owned(), &password, ROLE),
            OneUser::new(READER.to_owned(), &reader_password, READER_ROLE),
        ]);
        let (tls, pins) = reach.tls.unzip();
        let server = Server::start(ServerConfig {
            folder: folder.clone(),
            listen: SocketAddr::new(reach.listen, 0),
            advertised_host: reach.host.clone(),
            advertised_port: None,
            users: Arc::new(users),
            clock,
            withheld: Withheld::nothing(),
            tls,
        });
        let server = server.map_err(|error| error.to_string())?;
        Ok(Self { server, folder, password, reader_password, pins, host: reach.host })
    }

    /// How somebody else reads what is in it, and changes nothing.
    pub(crate) fn reader(&self) -> String {
        let (port, password) = (self.server.address().port(), self.reader_password.expose());
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let tls = if self.pins.is_some() { "&tls=true" } else { "" };
        format!("mongodb://{READER}:{password}@{host}:{port}/?directConnection=true{tls}")
    }
}

impl Scratch for ScratchEngine {
    fn endpoint(&self) -> Endpoint {
        let address = self.server.address();
        let here: IpAddr = Ipv4Addr::LOCALHOST.into();
        let ip = if address.ip().is_unspecified() { here } else { address.ip() };
        Endpoint::Embedded(Address {
            address: SocketAddr::new(ip, address.port()).to_string(),
            user: USER.to_owned(),
            password: self.password.clone(),
            pins: self.pins.clone(),
        })
    }
}

impl Drop for ScratchEngine {
    fn drop(&mut self) {
        self.server.stop();
        if let Err(error) = remove(&self.folder) {
            tracing::warn!(error, "a scratch database was left behind; it goes at the next start");
        }
    }
}

/// Removes what scratch databases of an earlier run left.
pub(crate) fn remove(folder: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{} cannot be removed: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}
