//! The configuration: a TOML file, then the environment, then flags.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use serde::Deserialize;
use tidemark_alerts::{Channel, Mail, Security, Severity, Target};
use tidemark_catalog::{Catalog, CatalogError};
use tidemark_model::Secret;
use tidemark_model::{
    NodeRole, NodeRoleError, Place, PlacementRule, VaultRule, is_database_prefix,
};
use tidemark_vault::{CachePlace, KeyError, Location, LocationError, VaultKey};
use toml::{Table, Value};

use crate::bootstrap;

/// What environment variables of the configuration begin with.
const ENVIRONMENT_PREFIX: &str = "TIDEMARK_";
/// The vault's key itself, where it shall not stand in a file of this machine.
const KEY_VARIABLE: &str = "TIDEMARK_VAULT_KEY";
/// Variables with that beginning that are no keys.
const OTHER_VARIABLES: &[&str] = &["TIDEMARK_CRASH_AT", KEY_VARIABLE];

/// The least of `nodes.lost_after_seconds`: a node's lease, and time to start again.
const SHORTEST_LOSS: u32 = 15;

/// Keys for which their section alone is short.
const SHORT: &[(&str, &str)] = &[("vault", "vault.location"), ("catalog", "catalog.location")];

/// A key of the configuration.
pub(crate) struct Key {
    /// `section.key`, or `key` at the top.
    pub(crate) path: &'static str,
    pub(crate) flag: &'static str,
    pub(crate) help: &'static str,
}

const fn key(path: &'static str, flag: &'static str, help: &'static str) -> Key {
    Key { path, flag, help }
}

/// Every key, with its flag.
pub(crate) const KEYS: &[Key] = &[
    key("data_dir", "data-dir", "Where everything is kept"),
    key(
        "role",
        "role",
        "What this node does, where several serve the same records: api, worker or all [all]",
    ),
    key("server.listen", "listen", "Where the API listens [127.0.0.1:8080]"),
    key("server.public_url", "server-public-url", "The address in links, if clients use another"),
    key(
        "server.sunset",
        "server-sunset",
        "What switched-off operations do: ignore or enforce [ignore]",
    ),
    key(
        "server.rate_limits",
        "server-rate-limits",
        "What happens at the documented rate limits: off, report or enforce [report]",
    ),
    key(
        "server.trust_forwarded_for",
        "server-trust-forwarded-for",
        "Whether X-Forwarded-For of a proxy names the client: true or false [false]",
    ),
    key(
        "server.audit_file",
        "server-audit-file",
        "Where who did what is written as well, a line of JSON each [nowhere]",
    ),
    key(
        "server.largest_body_bytes",
        "server-largest-body-bytes",
        "The largest request body [1048576]",
    ),
    key("server.deadline_seconds", "server-deadline-seconds", "How long a request may take [30]"),
    key(
        "server.drain_seconds",
        "server-drain-seconds",
        "How long it goes on answering at the end, while /readyz says that it stops [0]",
    ),
    key(
        "server.shutdown_seconds",
        "server-shutdown-seconds",
        "How long running requests may finish at the end [20]",
    ),
    key("instances.host", "instances-host", "The address on which instances listen [127.0.0.1]"),
    key(
        "instances.advertised_host",
        "instances-advertised-host",
        "The host in connection strings [the address above]",
    ),
    key("instances.first_port", "instances-first-port", "The first port for instances [27100]"),
    key("instances.last_port", "instances-last-port", "The last port for instances [27999]"),
    key(
        "backup.snapshot_interval_minutes",
        "backup-snapshot-interval-minutes",
        "Time between snapshots [360]",
    ),
    key(
        "backup.snapshot_retention_hours",
        "backup-snapshot-retention-hours",
        "How long snapshots are kept [840]",
    ),
    key(
        "backup.oplog_retention_hours",
        "backup-oplog-retention-hours",
        "How far back moments can be restored [72]",
    ),
    key(
        "backup.full_read_interval_hours",
        "backup-full-read-interval-hours",
        "How long snapshots of attached deployments are made in the vault until one is read again; 0 for never [168]",
    ),
    key(
        "backup.download_lifetime_minutes",
        "backup-download-lifetime-minutes",
        "How long download links work [60]",
    ),
    key(
        "backup.retain_after_delete_hours",
        "backup-retain-after-delete-hours",
        "How long backups of a deleted instance are kept [168]",
    ),
    key(
        "backup.parallel_snapshots",
        "backup-parallel-snapshots",
        "Snapshots that are taken at the same time [2]",
    ),
    key(
        "backup.parallel_restores",
        "backup-parallel-restores",
        "Restore jobs that are done at the same time [2]",
    ),
    key(
        "nodes.lost_after_seconds",
        "nodes-lost-after-seconds",
        "How long a node may not be heard of before its instances count as lost with it [120]",
    ),
    key(
        "nodes.rehost_after_seconds",
        "nodes-rehost-after-seconds",
        "After how long they begin anew on another node by themselves; 0 for never [0]",
    ),
    key(
        "tls.certificate_key_file",
        "tls-certificate-key-file",
        "The certificate of this server and its key, as PEM: the API and instances speak TLS; read again when it changes",
    ),
    key(
        "tls.client_ca_file",
        "tls-client-ca-file",
        "Who must have signed the certificates of the API's clients; without it they need none",
    ),
    key("tls.instances", "tls-instances", "Whether instances speak TLS too: true or false [true]"),
    key(
        "catalog.location",
        "catalog",
        "Where records are kept: a file, or postgres://USER@HOST/DATABASE [catalog.sqlite in the data folder]",
    ),
    key(
        "vault.location",
        "vault",
        "Where snapshots are kept: a folder, s3://BUCKET/PREFIX, gs:// or az:// [vault in the data folder]",
    ),
    key("vault.folder", "vault-folder", "The same, for a folder only"),
    key(
        "vault.cache_folder",
        "vault-cache-folder",
        "Where parts of a vault in a bucket are kept at hand [cache in the data folder]",
    ),
    key("vault.cache_megabytes", "vault-cache-megabytes", "How many of them; 0 for none [1024]"),
    key(
        "vault.immutable_hours",
        "vault-immutable-hours",
        "For how long nobody can remove what is written, Tidemark included; never shortened again [0]",
    ),
    key("vault.key_file", "vault-key-file", "The vault's key [vault.key in the data folder]"),
    key(
        "dev.seed_file",
        "dev-seed-file",
        "What an empty server begins with, as a JSON file; `--dev` resets to it [one of each kind]",
    ),
    key("log.filter", "log-filter", "What is logged [info]"),
];

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("the configuration file {path} cannot be read: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the configuration file {path} is not TOML: {reason}")]
    Syntax { path: PathBuf, reason: String },
    #[error("the configuration is wrong: {0}")]
    Invalid(String),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(
        "name the folder where everything is kept: --data-dir DIR, TIDEMARK_DATA_DIR, or data_dir in the file"
    )]
    NoDataDir,
    #[error(
        "the variable {0} names no key of the configuration; `tidemark serve --help` lists them"
    )]
    UnknownVariable(String),
}

/// The whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    pub(crate) nodes: NodesSection,
    #[serde(default)]
    pub(crate) server: ServerSection,
    #[serde(default)]
    pub(crate) instances: InstancesSection,
    #[serde(default)]
    pub(crate) backup: BackupSection,
    #[serde(default)]
    pub(crate) catalog: CatalogSection,
    #[serde(default)]
    pub(crate) vault: VaultSection,
    #[serde(default)]
    pub(crate) dev: DevSection,
    #[serde(default)]
    pub(crate) tls: TlsSection,
    #[serde(default)]
    pub(crate) log: LogSection,
    /// Where new instances are kept: the first one that is for an instance counts.
    #[serde(default)]
    pub(crate) placement: Vec<PlacementSection>,
    /// Vaults beside the common one, for the projects that they name.
    #[serde(default)]
    pub(crate) vaults: Vec<NamedVaultSection>,
    /// Ways on which people are told what went wrong.
    #[serde(default)]
    pub(crate) alerts: Vec<AlertSection>,
}

/// A way on which people are told what went wrong. Only in the file: there may be many.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlertSection {
    name: String,
    /// `slack`, `discord`, `telegram`, `teams`, `json` or `mail`.
    kind: String,
    /// The address of a webhook, or a file with it: it is a secret.
    url: Option<String>,
    url_file: Option<PathBuf>,
    /// Of Telegram.
    chat: Option<String>,
    /// `warning` or `critical`.
    least: Option<String>,
    /// By id.
    #[serde(default)]
    projects: Vec<String>,
    /// Of mail.
    host: Option<String>,
    port: Option<u16>,
    /// `tls`, `starttls` or `none`.
    security: Option<String>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    from: Option<String>,
    #[serde(default)]
    to: Vec<String>,
}

impl AlertSection {
    /// The channel that it describes.
    fn channel(&self) -> Result<Channel, String> {
        let least = match self.least.as_deref() {
            None | Some("warning") => Severity::Warning,
            Some("critical") => Severity::Critical,
            Some(other) => return Err(format!("least is {other:?}, and not warning or critical")),
        };
        let target = match (self.kind.as_str(), &self.url, &self.url_file) {
            ("mail", None, None) => Target::Mail(self.mail()?),
            ("mail", ..) => return Err("mail has a host and no url".to_owned()),
            (kind, Some(url), None) => Target::webhook(kind, url.clone(), self.chat.clone())?,
            (kind, None, Some(file)) => {
                Target::webhook(kind, read_secret(file)?, self.chat.clone())?
            }
            _ => return Err("give url or url_file".to_owned()),
        };
        let projects = self.projects.clone();
        Ok(Channel { name: self.name.clone(), target, least, projects })
    }

    fn mail(&self) -> Result<Mail, String> {
        let given = |name: &str, value: &Option<String>| {
            value.clone().ok_or_else(|| format!("mail needs {name}"))
        };
        let (security, port) = match self.security.as_deref() {
            None | Some("tls") => (Security::Tls, 465),
            Some("starttls") => (Security::StartTls, 587),
            Some("none") => (Security::None, 25),
            Some(other) => {
                return Err(format!("security is {other:?}, and not tls, starttls or none"));
            }
        };
        let login = match (&self.user, &self.password_file) {
            (Some(user), Some(file)) => Some((user.clone(), Secret::new(read_secret(file)?))),
            (None, None) => None,
            _ => return Err("give user and password_file, or neither".to_owned()),
        };
        let mail = Mail {
            host: given("host", &self.host)?,
            port: self.port.unwrap_or(port),
            security,
            login,
            from: given("from", &self.from)?,
            to: self.to.clone(),
        };
        mail.check().map(|()| mail)
    }
}

/// A secret in a file of its own.
fn read_secret(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// A vault of some projects. Only in the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamedVaultSection {
    name: String,
    location: String,
    key_file: Option<PathBuf>,
    cache_megabytes: Option<u64>,
    #[serde(default)]
    immutable_hours: u32,
    /// By id or name.
    #[serde(default)]
    projects: Vec<String>,
}

/// A rule of where new instances are kept. Only in the file: there may be many.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlacementSection {
    /// Only for a project, by id or name.
    project: Option<String>,
    /// Only for a name, or for names that begin so where it ends with `*`.
    name: Option<String>,
    backing: PlacementBacking,
    /// The attached deployment, and its project if that is another one.
    deployment: Option<String>,
    deployment_project: Option<String>,
    /// What the names of databases begin with, before the name of the instance.
    #[serde(default)]
    database_prefix: String,
}

/// `backing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PlacementBacking {
    Embedded,
    Attached,
}

impl PlacementSection {
    fn rule(&self) -> Result<PlacementRule, ConfigError> {
        let invalid = |text: &str| ConfigError::Invalid(format!("in [[placement]] {text}"));
        let place = match (self.backing, &self.deployment) {
            (PlacementBacking::Embedded, None) => Place::Embedded,
            (PlacementBacking::Embedded, Some(_)) => {
                return Err(invalid("deployment is only for backing = \"attached\""));
            }
            (PlacementBacking::Attached, None) => {
                return Err(invalid("deployment names the attached deployment; it is missing"));
            }
            (PlacementBacking::Attached, Some(name)) => Place::Deployment {
                name: name.clone(),
                project: self.deployment_project.clone(),
                prefix: self.database_prefix.clone(),
            },
        };
        if !is_database_prefix(&self.database_prefix) {
            return Err(invalid("database_prefix may hold ASCII letters, digits, _ and - only"));
        }
        Ok(PlacementRule { project: self.project.clone(), name: self.name.clone(), place })
    }
}

/// `sunset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SunsetSetting {
    Ignore,
    Enforce,
}

/// `rate_limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RateLimitSetting {
    Off,
    Report,
    Enforce,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServerSection {
    pub(crate) listen: SocketAddr,
    pub(crate) public_url: Option<String>,
    pub(crate) sunset: SunsetSetting,
    pub(crate) rate_limits: RateLimitSetting,
    pub(crate) trust_forwarded_for: bool,
    pub(crate) audit_file: Option<PathBuf>,
    pub(crate) largest_body_bytes: usize,
    pub(crate) deadline_seconds: u64,
    pub(crate) drain_seconds: u64,
    pub(crate) shutdown_seconds: u64,
}

impl Default for ServerSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: None,
            sunset: SunsetSetting::Ignore,
            rate_limits: RateLimitSetting::Report,
            trust_forwarded_for: false,
            audit_file: None,
            largest_body_bytes: 1024 * 1024,
            deadline_seconds: 30,
            drain_seconds: 0,
            shutdown_seconds: 20,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct InstancesSection {
    pub(crate) host: IpAddr,
    pub(crate) advertised_host: Option<String>,
    pub(crate) first_port: u16,
    pub(crate) last_port: u16,
}

impl Default for InstancesSection {
    fn default() -> Self {
        Self {
            host: IpAddr::from([127, 0, 0, 1]),
            advertised_host: None,
            first_port: 27_100,
            last_port: 27_999,
        }
    }
}

impl InstancesSection {
    /// The host that clients are told.
    pub(crate) fn advertised(&self) -> String {
        self.advertised_host.clone().unwrap_or_else(|| self.host.to_string())
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BackupSection {
    pub(crate) snapshot_interval_minutes: u32,
    pub(crate) snapshot_retention_hours: u32,
    pub(crate) oplog_retention_hours: u32,
    pub(crate) full_read_interval_hours: u32,
    pub(crate) download_lifetime_minutes: u32,
    pub(crate) retain_after_delete_hours: u32,
    pub(crate) parallel_snapshots: usize,
    pub(crate) parallel_restores: usize,
}

impl Default for BackupSection {
    fn default() -> Self {
        Self {
            snapshot_interval_minutes: 360,
            snapshot_retention_hours: 840,
            oplog_retention_hours: 72,
            full_read_interval_hours: 168,
            download_lifetime_minutes: 60,
            retain_after_delete_hours: 168,
            parallel_snapshots: 2,
            parallel_restores: 2,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NodesSection {
    pub(crate) lost_after_seconds: u32,
    pub(crate) rehost_after_seconds: u32,
}

impl Default for NodesSection {
    fn default() -> Self {
        Self { lost_after_seconds: 120, rehost_after_seconds: 0 }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CatalogSection {
    location: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct VaultSection {
    location: Option<String>,
    folder: Option<PathBuf>,
    key_file: Option<PathBuf>,
    cache_folder: Option<PathBuf>,
    cache_megabytes: Option<u64>,
    pub(crate) immutable_hours: u32,
    /// Which of the named vaults it is, if it is one.
    #[serde(skip)]
    name: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TlsSection {
    pub(crate) certificate_key_file: Option<PathBuf>,
    pub(crate) client_ca_file: Option<PathBuf>,
    pub(crate) instances: bool,
}

impl Default for TlsSection {
    fn default() -> Self {
        Self { certificate_key_file: None, client_ca_file: None, instances: true }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DevSection {
    pub(crate) seed_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogSection {
    pub(crate) filter: String,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { filter: "info".to_owned() }
    }
}

impl Config {
    /// Reads the file, then the environment, then the flags; later ones win.
    pub(crate) fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flag: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut table = match file {
            Some(path) => read_file(path)?,
            None => Table::new(),
        };
        // `vault = "s3://…"` is short for its location.
        for (short, whole) in SHORT {
            if let Some(Value::String(location)) = table.get(*short).cloned() {
                table.remove(*short);
                set(&mut table, whole, &location);
            }
        }
        for (name, value) in environment {
            let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else {
                continue;
            };
            let is_other = |known: &[&str]| known.contains(&name.as_str());
            if is_other(OTHER_VARIABLES) || is_other(tidemark_cli::CLIENT_VARIABLES) {
                continue;
            }
            let path = whole_path(&rest.to_ascii_lowercase().replace("__", "."));
            let is_key = |path: &str| KEYS.iter().any(|key| key.path == path);
            // A secret that stands in a file.
            let of_file = path.strip_suffix("_file").map(whole_path).filter(|path| is_key(path));
            if let Some(of_file) = of_file.filter(|_| !is_key(&path)) {
                let read = std::fs::read_to_string(&value);
                let file = PathBuf::from(&value);
                let text = read.map_err(|source| ConfigError::File { path: file, source })?;
                set(&mut table, &of_file, text.trim());
                continue;
            }
            if !is_key(&path) {
                // Without a section it is somebody else's variable.
                if rest.contains("__") {
                    return Err(ConfigError::UnknownVariable(name));
                }
                continue;
            }
            set(&mut table, &path, &value);
        }
        for key in KEYS {
            if let Some(value) = flag(key.flag) {
                set(&mut table, key.path, &value);
            }
        }
        if !table.contains_key("data_dir") {
            return Err(ConfigError::NoDataDir);
        }
        for key in KEYS {
            read_as_people_write(&mut table, key.path)?;
        }
        let config = Self::deserialize(Value::Table(table))
            // Its display names the key, in a line of its own.
            .map_err(|error| ConfigError::Invalid(error.to_string().trim().replace('\n', " ")))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let invalid = |text: &str| Err(ConfigError::Invalid(text.to_owned()));
        if self.instances.first_port == 0 || self.instances.first_port > self.instances.last_port {
            return invalid(
                "instances.first_port must be at least 1 and at most instances.last_port",
            );
        }
        if self.backup.snapshot_interval_minutes == 0 || self.backup.snapshot_retention_hours == 0 {
            return invalid(
                "backup.snapshot_interval_minutes and backup.snapshot_retention_hours must be at least 1",
            );
        }
        if self.tls.client_ca_file.is_some() && self.tls.certificate_key_file.is_none() {
            return invalid(
                "tls.client_ca_file asks clients for certificates; give tls.certificate_key_file too",
            );
        }
        if self.vault.location.is_some() && self.vault.folder.is_some() {
            return invalid("vault and vault.folder both say where the vault is; give one of them");
        }
        if self.nodes.lost_after_seconds < SHORTEST_LOSS {
            return Err(ConfigError::Invalid(format!(
                "nodes.lost_after_seconds must be at least {SHORTEST_LOSS}: a node that starts again is no lost one"
            )));
        }
        let after = self.nodes.rehost_after_seconds;
        if after != 0 && after < self.nodes.lost_after_seconds {
            return invalid(
                "nodes.rehost_after_seconds must be 0, or at least nodes.lost_after_seconds",
            );
        }
        self.check_lock()?;
        let location = self.vault_location()?;
        let is_alone = self.catalog.location.as_deref().is_none_or(is_file);
        if is_alone && self.role()? != NodeRole::All {
            return invalid(
                "role is for nodes that share their records: give catalog = \"postgres://…\" too",
            );
        }
        if !is_alone && matches!(location, Location::Folder(_)) && self.role()? != NodeRole::All {
            return invalid(
                "several nodes need a vault that all of them reach: give vault = \"s3://…\"",
            );
        }
        self.placement_rules()?;
        self.check_vaults(is_alone)
    }

    /// Refuses a lock that would hold for no time.
    fn check_lock(&self) -> Result<(), ConfigError> {
        if self.vault_location()?.has_lock() && self.vault.immutable_hours == 0 {
            let told = "lock=… in the vault's address needs vault.immutable_hours: for how long";
            return Err(ConfigError::Invalid(told.to_owned()));
        }
        Ok(())
    }

    /// Checks the named vaults.
    fn check_vaults(&self, is_alone: bool) -> Result<(), ConfigError> {
        let invalid = |text: String| Err(ConfigError::Invalid(format!("in [[vaults]] {text}")));
        let common = self.vault_location()?;
        let is_shared =
            !is_alone && (self.role()? != NodeRole::All || !matches!(common, Location::Folder(_)));
        let mut places = vec![common.identity()];
        // Whoever retires the keys of one vault must not take those of another one away.
        let mut key_files = vec![whole(&self.vault_key_file())];
        let (mut names, mut projects) = (BTreeSet::new(), BTreeSet::new());
        for vault in &self.vaults {
            let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if vault.name.is_empty() || !vault.name.chars().all(is_letter) {
                let told = "a name has lower-case letters, digits and - only";
                return invalid(format!("{told}; {:?} is another one", vault.name));
            }
            if !names.insert(&vault.name) {
                return invalid(format!("two vaults are called {}", vault.name));
            }
            if let Some(project) = vault.projects.iter().find(|project| !projects.insert(*project))
            {
                return invalid(format!("project {project} has two vaults"));
            }
            let own = self.for_vault(&vault.name)?;
            own.check_lock()?;
            let location = own.vault_location()?;
            if places.contains(&location.identity()) {
                return invalid(format!("{} is where another vault is: {location}", vault.name));
            }
            let key_file = whole(&own.vault_key_file());
            if key_files.contains(&key_file) {
                let told = "has the key file of another vault; give each its own with key_file";
                return invalid(format!("{} {told}: {}", vault.name, key_file.display()));
            }
            if is_shared && matches!(location, Location::Folder(_)) {
                return invalid(format!("{} must be a bucket that all nodes reach", vault.name));
            }
            places.push(location.identity());
            key_files.push(key_file);
        }
        Ok(())
    }

    /// The ways on which people are told what went wrong.
    pub(crate) fn alert_channels(&self) -> Result<Vec<Channel>, ConfigError> {
        let mut names = BTreeSet::new();
        let channel = |section: &AlertSection| {
            let found = section.channel().and_then(|channel| {
                let is_new = names.insert(section.name.clone());
                if is_new { Ok(channel) } else { Err("there are two of this name".to_owned()) }
            });
            found.map_err(|text| {
                ConfigError::Invalid(format!("in [[alerts]] {}: {text}", section.name))
            })
        };
        self.alerts.iter().map(channel).collect()
    }

    /// The names of the vaults beside the common one.
    pub(crate) fn vault_names(&self) -> impl Iterator<Item = &str> {
        self.vaults.iter().map(|vault| vault.name.as_str())
    }

    /// The name of the vault that was chosen, if it is not the common one.
    pub(crate) fn vault_name(&self) -> Option<&str> {
        self.vault.name.as_deref()
    }

    /// The vaults beside the common one, unless one was chosen.
    pub(crate) fn other_vaults(&self) -> impl Iterator<Item = &str> {
        self.vault_names().filter(|_| self.vault.name.is_none())
    }

    /// Which projects have a vault of their own.
    pub(crate) fn vault_rules(&self) -> Vec<VaultRule> {
        let rule = |vault: &NamedVaultSection| VaultRule {
            vault: vault.name.clone(),
            projects: vault.projects.clone(),
        };
        self.vaults.iter().map(rule).collect()
    }

    /// The same configuration with a named vault in place of the common one.
    pub(crate) fn for_vault(&self, name: &str) -> Result<Self, ConfigError> {
        let unknown = || ConfigError::Invalid(format!("no section [[vaults]] has the name {name}"));
        let found = self.vaults.iter().find(|vault| vault.name == name).ok_or_else(unknown)?;
        let key_file = || self.data_dir.join(format!("{name}.key"));
        let vault = VaultSection {
            location: Some(found.location.clone()),
            folder: None,
            key_file: Some(found.key_file.clone().unwrap_or_else(key_file)),
            cache_folder: Some(self.data_dir.join("caches").join(name)),
            cache_megabytes: found.cache_megabytes,
            immutable_hours: found.immutable_hours,
            name: Some(name.to_owned()),
        };
        Ok(Self { vault, ..self.clone() })
    }

    /// What this node does.
    pub(crate) fn role(&self) -> Result<NodeRole, ConfigError> {
        let role = self.role.as_deref().map_or(Ok(NodeRole::All), str::parse);
        role.map_err(|error: NodeRoleError| ConfigError::Invalid(error.to_string()))
    }

    /// Where new instances are kept.
    pub(crate) fn placement_rules(&self) -> Result<Vec<PlacementRule>, ConfigError> {
        self.placement.iter().map(PlacementSection::rule).collect()
    }

    /// Opens the records.
    pub(crate) fn open_catalog(&self) -> Result<Catalog, CatalogError> {
        open_catalog_of(&self.data_dir, self.catalog.location.as_deref())
    }

    /// Opens the records, if they are there.
    pub(crate) fn find_catalog(&self) -> Result<Option<Catalog>, CatalogError> {
        find_catalog_of(&self.data_dir, self.catalog.location.as_deref())
    }

    /// Where snapshots are kept.
    pub(crate) fn vault_location(&self) -> Result<Location, ConfigError> {
        let invalid = |error: LocationError| ConfigError::Invalid(error.to_string());
        match (&self.vault.location, &self.vault.folder) {
            (Some(location), _) => Location::parse(location).map_err(invalid),
            (None, Some(folder)) => Ok(Location::Folder(folder.clone())),
            (None, None) => Ok(Location::Folder(self.data_dir.join("vault"))),
        }
    }

    /// Where parts of a bucket are kept, if they are.
    pub(crate) fn vault_cache(&self) -> Option<CachePlace> {
        let folder = self.vault.cache_folder.clone();
        let place = CachePlace {
            folder: folder.unwrap_or_else(|| self.data_dir.join("cache")),
            limit_bytes: self.vault.cache_megabytes.unwrap_or(1_024) << 20,
        };
        Some(place).filter(|place| place.limit_bytes > 0)
    }

    /// The vault's key: what the variable says, or else what the file holds, which is made for a new vault.
    pub(crate) fn vault_key(&self) -> Result<VaultKey, ConfigError> {
        match self.key_of_variable()? {
            Some(key) => Ok(key),
            None => Ok(VaultKey::load_or_create(&self.vault_key_file(), self.vault_location()?)?),
        }
    }

    /// The key of a vault that is there, and the file that it is in, if it is in one.
    pub(crate) fn vault_key_to_change(&self) -> Result<(VaultKey, Option<PathBuf>), ConfigError> {
        let is_in_file = self.key_of_variable()?.is_none();
        Ok((self.present_vault_key()?, is_in_file.then(|| self.vault_key_file())))
    }

    /// The key of a vault that is there.
    pub(crate) fn present_vault_key(&self) -> Result<VaultKey, ConfigError> {
        match self.key_of_variable()? {
            Some(key) => Ok(key),
            None => Ok(VaultKey::load(&self.vault_key_file())?),
        }
    }

    /// What the variable says; it is about the common vault.
    fn key_of_variable(&self) -> Result<Option<VaultKey>, ConfigError> {
        if self.vault.name.is_some() { Ok(None) } else { key_of_variable() }
    }

    /// The file of the vault's key.
    pub(crate) fn vault_key_file(&self) -> PathBuf {
        self.vault.key_file.clone().unwrap_or_else(|| self.data_dir.join("vault.key"))
    }
}

/// A path as the system knows it, as far as it is there.
fn whole(path: &Path) -> PathBuf {
    std::fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}

/// Opens the records of a server for a command with a flag for where they are; nothing if they are not
/// there.
pub(crate) fn find_catalog(matches: &ArgMatches) -> Result<Option<Catalog>, CatalogError> {
    let flag = |name: &str| matches.get_one::<String>(name).cloned();
    let variable = || std::env::var("TIDEMARK_CATALOG").ok();
    let data_dir = flag("data-dir").unwrap_or_default();
    find_catalog_of(Path::new(&data_dir), flag("catalog").or_else(variable).as_deref())
}

/// The same of a data folder, or where they are said to be.
fn find_catalog_of(data_dir: &Path, place: Option<&str>) -> Result<Option<Catalog>, CatalogError> {
    match place {
        None if !data_dir.join(bootstrap::CATALOG).exists() => Ok(None),
        place => open_catalog_of(data_dir, place).map(Some),
    }
}

/// The file in which records are, if they are in one.
pub(crate) fn catalog_file(place: &str) -> Option<&Path> {
    let is_server = ["postgres://", "postgresql://"].iter().any(|begin| place.starts_with(begin));
    (!is_server).then(|| Path::new(place.strip_prefix("sqlite:").unwrap_or(place)))
}

fn is_file(place: &str) -> bool {
    catalog_file(place).is_some()
}

/// Opens the records in a place.
pub(crate) fn open_catalog(place: &str) -> Result<Catalog, CatalogError> {
    match catalog_file(place) {
        Some(file) => Catalog::open(file),
        None => Catalog::connect(place),
    }
}

/// Opens the records of a data folder, or where they are said to be.
fn open_catalog_of(data_dir: &Path, place: Option<&str>) -> Result<Catalog, CatalogError> {
    match place {
        Some(place) => open_catalog(place),
        None => Catalog::open(&data_dir.join(bootstrap::CATALOG)),
    }
}

fn key_of_variable() -> Result<Option<VaultKey>, ConfigError> {
    let Ok(text) = std::env::var(KEY_VARIABLE) else { return Ok(None) };
    let told = || format!("{KEY_VARIABLE} holds no vault key: give it what the key file holds");
    VaultKey::parse(&text).map(Some).ok_or_else(|| ConfigError::Invalid(told()))
}

/// A path as the keys have it: what is said in one word stands for its location.
fn whole_path(path: &str) -> String {
    let whole = SHORT.iter().find(|(short, _)| *short == path);
    whole.map_or(path, |(_, whole)| whole).to_owned()
}

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
    text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        reason: match error.span() {
            Some(span) => format!("line {}: {}", line_of(&text, span.start), error.message()),
            None => error.message().to_owned(),
        },
    })
}

/// The number of the line in which a byte is.
fn line_of(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1
}

/// Units of time as people write them, in seconds.
const UNITS: &[(&str, u64)] = &[("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)];

/// Makes of a text what its key takes: of `6h` the number of minutes, of `localhost:8080` an
/// address. Other values stay as they are.
fn read_as_people_write(table: &mut Table, path: &str) -> Result<(), ConfigError> {
    let Some((section, key)) = path.split_once('.') else { return Ok(()) };
    let found = table.get_mut(section).and_then(|section| section.as_table_mut());
    let Some(value) = found.and_then(|section| section.get_mut(key)) else { return Ok(()) };
    let Value::String(text) = &*value else { return Ok(()) };
    let unit = match key.rsplit('_').next() {
        Some("seconds") => 1,
        Some("minutes") => 60,
        Some("hours") => 3_600,
        _ if path == "server.listen" => {
            *value = Value::String(resolve(text)?.to_string());
            return Ok(());
        }
        _ => return Ok(()),
    };
    let invalid = || {
        let unit = key.rsplit('_').next().unwrap_or_default();
        ConfigError::Invalid(format!(
            "{path} is {text:?}; write whole {unit} or a duration of whole {unit}, as 90m, 6h or 7d"
        ))
    };
    let (digits, suffix) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = UNITS.iter().find(|(name, _)| *name == suffix.trim()).ok_or_else(invalid)?.1;
    let seconds = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(factor));
    let seconds = seconds.filter(|seconds| seconds % unit == 0).ok_or_else(invalid)?;
    *value = Value::Integer(i64::try_from(seconds / unit).map_err(|_| invalid())?);
    Ok(())
}

/// The address of a text, whose host may be a name.
fn resolve(text: &str) -> Result<SocketAddr, ConfigError> {
    let invalid = |cause: String| {
        ConfigError::Invalid(format!(
            "{cause}: write an address and a port, as 127.0.0.1:8080 or localhost:8080, in `server.listen`"
        ))
    };
    let mut found =
        text.to_socket_addrs().map_err(|error| invalid(format!("{text:?}: {error}")))?;
    found.next().ok_or_else(|| invalid(format!("{text:?} names no address")))
}

/// Sets a key; a text that is a number or a flag in TOML becomes one.
fn set(table: &mut Table, path: &str, text: &str) {
    let parsed =
        format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    let value = match parsed {
        Some(value @ (Value::Integer(_) | Value::Boolean(_))) => value,
        _ => Value::String(text.to_owned()),
    };
    match path.split_once('.') {
        None => drop(table.insert(path.to_owned(), value)),
        Some((section, key)) => {
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Some(section) = section.as_table_mut() {
                section.insert(key.to_owned(), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(
        file: &str,
        environment: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tidemark.toml");
        std::fs::write(&path, file).unwrap();
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(Some(&path), environment, |name| {
            flags.iter().find(|(flag, _)| *flag == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let file =
            "data_dir = \"/a\"\n[server]\nlisten = \"127.0.0.1:1\"\n[instances]\nfirst_port = 5";
        let config = load(
            file,
            &[("TIDEMARK_SERVER__LISTEN", "127.0.0.1:2"), ("TIDEMARK_INSTANCES__FIRST_PORT", "6")],
            &[("listen", "127.0.0.1:3")],
        )
        .unwrap();
        assert_eq!((config.server.listen.port(), config.instances.first_port), (3, 6));
        assert_eq!(config.data_dir, PathBuf::from("/a"));
    }

    #[test]
    fn unknown_keys_are_refused_wherever_they_stand() {
        assert!(load("data_dir = \"/a\"\nnonsense = 1", &[], &[]).is_err());
        assert!(load("data_dir = \"/a\"\n[server]\nnonsense = 1", &[], &[]).is_err());
        assert!(load("data_dir = \"/a\"", &[("TIDEMARK_SERVER__NONSENSE", "1")], &[]).is_err());
    }

    #[test]
    fn durations_and_addresses_are_read_as_people_write_them() {
        let config = load(
            "data_dir = \"d\"\n[backup]\nsnapshot_interval_minutes = \"6h\"",
            &[("TIDEMARK_BACKUP__OPLOG_RETENTION_HOURS", "3d")],
            &[("listen", "localhost:8080")],
        )
        .unwrap();
        assert_eq!(config.backup.snapshot_interval_minutes, 360);
        assert_eq!(config.backup.oplog_retention_hours, 72);
        assert!(config.server.listen.ip().is_loopback());
        for bad in ["6x", "h", "90s", "", "-1h"] {
            let flags = [("data-dir", "d"), ("backup-snapshot-interval-minutes", bad)];
            let error = load("", &[], &flags).unwrap_err().to_string();
            assert!(error.contains("90m, 6h or 7d"), "{bad}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        let none = load("", &[], &[]).unwrap_err().to_string();
        assert!(none.contains("--data-dir DIR"), "{none}");
        let syntax = load("data_dir = \"d\"\nx = = 1", &[], &[]).unwrap_err().to_string();
        assert!(syntax.contains("line 2"), "{syntax}");
        let other = [("TIDEMARK_BENCH_FOLDER", "x"), ("TIDEMARK_DATA_DIR", "/e")];
        assert_eq!(load("", &other, &[]).unwrap().data_dir, PathBuf::from("/e"));
    }

    #[test]
    fn the_documented_keys_are_those_that_there_are() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/configuration.md");
        let rows: Vec<String> = KEYS
            .iter()
            .map(|key| format!("| `{}` | `--{}` | {} |\n", key.path, key.flag, key.help))
            .collect();
        let found = std::fs::read_to_string(file).unwrap();
        let (head, rest) = found.split_once("|---|---|---|\n").unwrap();
        let (_, tail) = rest.split_once("\n\n").unwrap();
        let wanted = format!("{head}|---|---|---|\n{}\n{tail}", rows.concat());
        if std::env::var_os("TIDEMARK_WRITE_DOCS").is_some() {
            std::fs::write(file, &wanted).unwrap();
        }
        assert_eq!(std::fs::read_to_string(file).unwrap(), wanted);
    }

    #[test]
    fn every_key_can_be_set_by_its_path() {
        let samples = [
            ("listen", "1.2.3.4:5"),
            ("sunset", "enforce"),
            ("host", "0.0.0.0"),
            ("rate_limits", "off"),
            ("trust_forwarded_for", "true"),
            ("role", "all"),
            ("instances", "false"),
            ("lost_after_seconds", "60"),
            ("rehost_after_seconds", "600"),
        ];
        for key in KEYS {
            let name = key.path.rsplit('.').next().unwrap();
            let sample =
                samples.iter().find(|(known, _)| *known == name).map_or("7", |(_, value)| *value);
            let flags = [("data-dir", "/a"), ("instances-first-port", "1"), (key.flag, sample)];
            let flags: Vec<_> = flags.into_iter().rev().collect();
            let config = load("", &[], &flags);
            let is_typed_text = [
                "data_dir",
                "public_url",
                "advertised_host",
                "folder",
                "cache_folder",
                "location",
                "key_file",
                "client_ca_file",
                "audit_file",
                "certificate_key_file",
                "seed_file",
                "filter",
            ]
            .contains(&name);
            assert!(config.is_ok() || is_typed_text, "{}: {:?}", key.path, config.err());
        }
    }

    #[test]
    fn a_variable_may_name_a_file_with_the_value() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "postgres://u:p@h/d\n").unwrap();
        let named = file.display().to_string();
        let environment = [("TIDEMARK_CATALOG_FILE", named.as_str()), ("TIDEMARK_VAULT", "s3://b")];
        let config = load("data_dir = \"/a\"", &environment, &[]).unwrap();
        assert_eq!(config.catalog.location.as_deref(), Some("postgres://u:p@h/d"));
        // Keys that are files are what they were.
        let key = [("TIDEMARK_VAULT__KEY_FILE", "/k")];
        let config = load("data_dir = \"/a\"", &key, &[]).unwrap();
        assert_eq!(config.vault_key_file(), PathBuf::from("/k"));
        let missing = [("TIDEMARK_CATALOG_FILE", "/nowhere/at/all")];
        let error = load("data_dir = \"/a\"", &missing, &[]).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all"), "{error}");
    }

    #[test]
    fn a_wrong_value_is_named_by_its_key() {
        let error = load("", &[], &[("listen", "nope"), ("data-dir", "d")]).unwrap_err();
        assert!(error.to_string().ends_with("in `server.listen`"), "{error}");
    }

    #[test]
    fn the_place_of_the_vault_is_said_in_one_word_or_by_a_folder() {
        let place = |text: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]| {
            let text = format!("data_dir = \"/a\"\n{text}");
            load(&text, environment, flags)
                .and_then(|config| config.vault_location())
                .map(|location| location.to_string())
                .map_err(|error| error.to_string())
        };
        assert_eq!(place("", &[], &[]).unwrap(), "/a/vault");
        assert_eq!(place("vault = \"s3://b/p\"", &[], &[]).unwrap(), "s3://b/p");
        assert_eq!(place("[vault]\nlocation = \"gs://b\"", &[], &[]).unwrap(), "gs://b");
        assert_eq!(place("[vault]\nfolder = \"/v\"", &[], &[]).unwrap(), "/v");
        let environment = [("TIDEMARK_VAULT", "az://c")];
        assert_eq!(place("vault = \"s3://b/p\"", &environment, &[]).unwrap(), "az://c");
        assert_eq!(place("", &environment, &[("vault", "/w")]).unwrap(), "/w");
        let both = place("vault = \"s3://b\"", &[], &[("vault-folder", "/v")]).unwrap_err();
        assert!(both.contains("give one of them"), "{both}");
        let other = place("vault = \"ftp://b\"", &[], &[]).unwrap_err();
        assert!(other.contains("s3://BUCKET/PREFIX"), "{other}");
    }

    #[test]
    fn rules_of_placement_are_read_and_checked() {
        let rules = |text: &str| {
            let text = format!("data_dir = \"/a\"\n[[placement]]\n{text}");
            load(&text, &[], &[]).and_then(|config| config.placement_rules())
        };
        let rule =
            rules("backing = \"attached\"\ndeployment = \"main\"\ndatabase_prefix = \"tm_\"");
        let [PlacementRule { project: None, name: None, place }] = &rule.unwrap()[..] else {
            panic!()
        };
        let (name, prefix) = ("main".to_owned(), "tm_".to_owned());
        assert_eq!(*place, Place::Deployment { name, project: None, prefix });
        for (bad, told) in [
            ("backing = \"attached\"", "deployment names"),
            ("backing = \"embedded\"\ndeployment = \"main\"", "only for backing"),
            (
                "backing = \"attached\"\ndeployment = \"m\"\ndatabase_prefix = \"a.b\"",
                "database_prefix",
            ),
            ("backing = \"elsewhere\"", "elsewhere"),
            ("backing = \"embedded\"\nproyect = \"x\"", "proyect"),
        ] {
            let error = rules(bad).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
