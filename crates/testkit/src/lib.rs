//! Worlds to test in: real parts on temporary folders. For tests only.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot begin fails"
)]

mod proxy;
mod replica_set;
mod time_series;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tidemark_catalog::{
    ApiKey, Backing, Catalog, Instance as Record, InstanceFamily, InstanceSettings, NewOrg,
    NewSecret, Org, Project, ServiceAccount,
};
use tidemark_deployment::{Address, Client, Connection, Endpoint};
use tidemark_docdb::{Grant, Server, ServerConfig, User, UserDirectory};
use tidemark_model::{
    ApiKeyId, Clock, InstanceId, InstanceState, LinkSettings, OrgId, ProjectId, ReadFrom, Role,
    Roles, Secret, SecretId, ServiceAccountId, TlsSettings,
};
use tidemark_vault::{SnapshotOwner, Vault, VaultKey};
use tidemark_wire::ScramCredential;

pub use proxy::{Greeting, Proxy, Rule, Translator, Verdict};
pub use replica_set::{Fault, ReplicaSet};
pub use time_series::TimeSeriesServer;

const PASSWORD: &str = "password";

/// `root` is an administrator; everybody else is the server itself.
struct Root;

impl UserDirectory for Root {
    fn find_user(&self, name: &str) -> Option<User> {
        let role = if name == "root" { "root" } else { "__system" };
        let role = Grant { role: role.into(), database: "admin".into(), collection: None };
        let credential = ScramCredential::derive(PASSWORD, vec![1; 28], 4096);
        Some(User { credential, grants: vec![role] })
    }

    fn admits(&self, _: IpAddr) -> bool {
        true
    }

    fn generation(&self) -> u64 {
        0
    }
}

/// An embedded database in a folder of its own.
pub struct Instance {
    folder: TempDir,
    server: Server,
    client: Option<Client>,
}

impl Instance {
    /// An empty database.
    pub fn start() -> Self {
        Self::start_without("")
    }

    /// An empty database that behaves as if it lacked these abilities and commands.
    pub fn start_without(withheld: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = serve(&folder, withheld);
        Self { folder, server, client: None }
    }

    /// An empty database that is reached through the driver, as an attached deployment.
    pub fn start_attached() -> Self {
        Self::start().attached()
    }

    /// The same one, reached through the driver.
    #[must_use]
    pub fn attached(self) -> Self {
        let client = Client::new(&link_settings(self.address())).unwrap();
        Self { client: Some(client), ..self }
    }

    /// The same database, after a stop and a start, reached directly.
    #[must_use]
    pub fn restart(mut self) -> Self {
        self.server.stop();
        drop(self.server);
        let server = serve(&self.folder, "");
        Self { folder: self.folder, server, client: None }
    }

    /// How to reach it.
    pub fn endpoint(&self) -> Endpoint {
        match &self.client {
            Some(client) => Endpoint::Attached(client.clone()),
            None => self.endpoint_of("server"),
        }
    }

    fn endpoint_of(&self, user: &str) -> Endpoint {
        let (address, user) = (self.server.address().to_string(), user.to_owned());
        Endpoint::Embedded(Address { address, user, password: Secret::new(PASSWORD), pins: None })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// A connection of an administrator.
    pub fn connect_as_administrator(&self) -> Connection {
        Connection::open(&self.endpoint_of("root")).unwrap()
    }

    /// A connection to it.
    pub fn connect(&self) -> Connection {
        Connection::open(&self.endpoint()).unwrap()
    }
}

/// How to reach a database of the testkit, or a proxy in front of one, as an attached deployment.
pub fn link_settings(address: SocketAddr) -> LinkSettings {
    let text = format!("mongodb://server:{PASSWORD}@{address}/?directConnection=true");
    LinkSettings {
        connection_string: Secret::new(text),
        read_from: ReadFrom::Primary,
        read_rate_megabytes: None,
        tls: TlsSettings::default(),
    }
}

fn serve(folder: &TempDir, withheld: &str) -> Server {
    Server::start(ServerConfig {
        folder: folder.path().to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        advertised_host: "127.0.0.1".into(),
        advertised_port: None,
        users: Arc::new(Root),
        clock: Clock::system(),
        withheld: withheld.parse().unwrap(),
        tls: None,
    })
    .unwrap()
}

/// An empty vault; it is gone with its folder.
pub fn vault() -> (TempDir, Arc<Vault>) {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path(), VaultKey::from_bytes([3; 32])).unwrap();
    (folder, vault)
}

/// Whose a snapshot is that a test takes of the instance `i`.
pub fn owner() -> SnapshotOwner {
    SnapshotOwner {
        instance: "i".into(),
        instance_name: "one".into(),
        kind: "onDemand".into(),
        created_at: "2026-01-01T00:00:00Z".into(),
        expires_at: "2026-02-01T00:00:00Z".into(),
    }
}

/// What a catalog with one organization, one project and one instance, `one`, is asked for.
pub struct Tenant {
    /// The organization.
    pub org: OrgId,
    /// The project.
    pub project: ProjectId,
    /// The instance, which is idle.
    pub instance: InstanceId,
    /// The service account; the API key, `public`, has its roles.
    pub account: ServiceAccountId,
    /// Its secret, which works for a year.
    pub secret: SecretId,
}

/// Sets a catalog up; `ha1` is the API key's, and the roles are those in organization and project.
pub fn tenant(
    catalog: &Catalog,
    clock: &Clock,
    ha1: String,
    (org_roles, project_roles): (&[Role], &[Role]),
) -> Tenant {
    let now = clock.now();
    let org = Org {
        id: OrgId::new(now),
        name: "o".into(),
        created_at: now,
        settings: serde_json::Map::new(),
    };
    let project = Project::new(org.id, "p", now);
    let roles = Roles {
        org: org_roles.to_vec(),
        projects: project_roles.iter().map(|role| (project.id, *role)).collect(),
    };
    let key = ApiKey {
        id: ApiKeyId::new(now),
        org: org.id,
        public_key: "public".into(),
        ha1,
        masked_private_key: String::new(),
        description: String::new(),
        roles: roles.clone(),
        created_at: now,
    };
    let account = ServiceAccount {
        id: ServiceAccountId::new(now),
        org: org.id,
        name: "a".into(),
        description: String::new(),
        roles,
        created_at: now,
    };
    let secret = NewSecret {
        id: SecretId::new(now),
        hash: "h".into(),
        masked: "mdb_sa_sk_...".into(),
        created_at: now,
        expires_at: now.saturating_add(SignedDuration::from_hours(24 * 365)).unwrap(),
    };
    let secret_id = secret.id;
    let account_id = account.id;
    catalog
        .insert_org(&NewOrg {
            org: &org,
            projects: std::slice::from_ref(&project),
            keys: &[key],
            accounts: &[(account, secret)],
        })
        .unwrap();
    let instance = idle_instance(project.id, "one", now);
    catalog.insert_instance(&instance).unwrap();
    Tenant {
        org: org.id,
        project: project.id,
        instance: instance.id,
        account: account_id,
        secret: secret_id,
    }
}

/// The record of a serverless instance that is up.
pub fn idle_instance(project: ProjectId, name: &str, created_at: Timestamp) -> Record {
    Record {
        id: InstanceId::new(created_at),
        project,
        name: name.parse().unwrap(),
        family: InstanceFamily::Serverless,
        state: InstanceState::Idle,
        settings: InstanceSettings {
            backing_provider: "AWS".into(),
            region: "US_EAST_1".into(),
            termination_protection: false,
            continuous_backup: true,
            tags: vec![],
            auto_indexing: true,
        },
        created_at,
        changed_at: created_at,
        backing: Backing::Embedded,
        port: Some(27_100),
        trouble: None,
        node: None,
        vault: None,
    }
}
