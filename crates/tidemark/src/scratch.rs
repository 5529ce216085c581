//! Scratch databases: engines that listen on this machine only and end with everything in them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemark_deployment::{Address, Endpoint};
use tidemark_docdb::{Server, ServerConfig, Withheld};
use tidemark_model::{Clock, Secret};
use tidemark_worker::Scratch;

use crate::one_user::OneUser;

const USER: &str = "scratch";
/// What stages a restore is seen by the servers' own users only.
const ROLE: &str = "__system";

/// A scratch database.
pub(crate) struct ScratchEngine {
    /// Stopped before its folder goes.
    server: Server,
    folder: PathBuf,
    password: Secret,
}

impl ScratchEngine {
    /// Starts an empty one in a folder; what was left there is removed.
    pub(crate) fn start(folder: PathBuf, clock: Clock) -> Result<Self, String> {
        remove(&folder)?;
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
        let password = Secret::random::<32>();
        let host = Ipv4Addr::LOCALHOST;
        let server = Server::start(ServerConfig {
            folder: folder.clone(),
            listen: SocketAddr::from((host, 0)),
            advertised_host: host.to_string(),
            advertised_port: None,
            users: Arc::new(OneUser::new(USER.to_owned(), &password, ROLE)),
            clock,
            withheld: Withheld::nothing(),
            tls: None,
        });
        let server = server.map_err(|error| error.to_string())?;
        Ok(Self { server, folder, password })
    }
}

impl Scratch for ScratchEngine {
    fn endpoint(&self) -> Endpoint {
        Endpoint::Embedded(Address {
            address: self.server.address().to_string(),
            user: USER.to_owned(),
            password: self.password.clone(),
            pins: None,
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
