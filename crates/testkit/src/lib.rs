//! Worlds to test in: real parts on temporary folders. For tests only.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot begin fails"
)]

use std::sync::Arc;

use tempfile::TempDir;
use tidemark_docdb::{Grant, Server, ServerConfig, User, UserDirectory};
use tidemark_model::{Clock, Secret};
use tidemark_mover::{Connection, Endpoint};
use tidemark_vault::{Vault, VaultKey};
use tidemark_wire::ScramCredential;

const PASSWORD: &str = "password";

/// Everybody is an administrator.
struct Root;

impl UserDirectory for Root {
    fn find_user(&self, _: &str) -> Option<User> {
        let role = Grant { role: "root".into(), database: "admin".into() };
        let credential = ScramCredential::derive(PASSWORD, vec![1; 28], 4096);
        Some(User { credential, grants: vec![role] })
    }
}

/// An embedded database in a folder of its own.
pub struct Instance {
    folder: TempDir,
    server: Server,
}

impl Instance {
    /// An empty database.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = serve(&folder);
        Self { folder, server }
    }

    /// The same database, after a stop and a start.
    #[must_use]
    pub fn restart(mut self) -> Self {
        self.server.stop();
        drop(self.server);
        let server = serve(&self.folder);
        Self { folder: self.folder, server }
    }

    /// How to reach it.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: self.server.address().to_string(),
            user: "root".into(),
            password: Secret::new(PASSWORD),
        }
    }

    /// A connection to it.
    pub fn connect(&self) -> Connection {
        Connection::open(&self.endpoint()).unwrap()
    }
}

fn serve(folder: &TempDir) -> Server {
    Server::start(ServerConfig {
        folder: folder.path().to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        advertised_host: "127.0.0.1".into(),
        users: Arc::new(Root),
        clock: Clock::system(),
    })
    .unwrap()
}

/// An empty vault; it is gone with its folder.
pub fn vault() -> (TempDir, Arc<Vault>) {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path(), VaultKey::from_bytes([3; 32])).unwrap();
    (folder, vault)
}
