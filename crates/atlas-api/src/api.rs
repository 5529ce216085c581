//! What all requests share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tidemark_actions::restore_jobs::CreateRestoreJobError;
use tidemark_actions::vaults::VaultLook;
use tidemark_actions::{Alerting, Rehearsal};
use tidemark_catalog::{Catalog, CatalogError, Deployment, Instance, PasswordRecord};
use tidemark_model::{
    BackupPoint, BackupPolicy, Clock, InstanceId, LinkSettings, PlacementRule, ProbeReport,
    Selection, Throttle, VaultRule,
};

use crate::counts::Counts;
use crate::identity::Known;
use crate::rate_limit::{Buckets, RateLimits};
use crate::signing::Signing;
use crate::usage::Usage;

/// What happens to operations that MongoDB switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sunset {
    /// They go on working.
    #[default]
    Ignore,
    /// They answer 410, as the real service does now.
    Enforce,
}

/// How the API behaves.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// The address in links; `None` for the one that a client used.
    pub public_url: Option<String>,
    /// Whether the address of a client is what a proxy says in `X-Forwarded-For`.
    pub trust_forwarded_for: bool,
    /// What happens to operations that MongoDB switched off.
    pub sunset: Sunset,
    /// What happens when a rate limit is reached.
    pub rate_limits: RateLimits,
    /// How often snapshots are taken and how long they are kept.
    pub policy: BackupPolicy,
    /// How long download links of serverless instances work.
    pub download_lifetime: SignedDuration,
    /// Where instances inside Tidemark are.
    pub hosts: Arc<dyn Hosts>,
    /// Where new instances are kept.
    pub placement: Vec<PlacementRule>,
    /// Which projects keep the backups of new instances in a vault of their own.
    pub vaults: Vec<VaultRule>,
    /// The largest request body, in bytes.
    pub largest_body_bytes: usize,
    /// How long a handler may take.
    pub deadline: Duration,
    /// Makes of a database user's password what is kept of it.
    pub hash_password: fn(&str) -> PasswordRecord,
    /// Speaks to attached deployments.
    pub attacher: Option<Arc<dyn Attacher>>,
    /// Finds out what restores would do.
    pub rehearsal: Option<Arc<dyn Rehearsal>>,
    /// The public part of the key that signs reports of drills, in hexadecimal digits.
    pub report_key: ReportKey,
    /// Looks into backups.
    pub inspector: Option<Arc<dyn Inspector>>,
    /// Ways on which people are told what went wrong.
    pub alerting: Option<Arc<dyn Alerting>>,
    /// Looks at the vaults.
    pub vault_look: Option<Arc<dyn VaultLook>>,
    /// Puts the server back to the beginning; only in the development mode.
    pub dev: Option<Arc<dyn DevMode>>,
}

/// Answers the public part of the key that signs reports of drills.
#[derive(Clone)]
pub struct ReportKey(Arc<dyn Fn() -> Result<String, CatalogError> + Send + Sync>);

impl ReportKey {
    /// One that asks.
    pub fn new(ask: impl Fn() -> Result<String, CatalogError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// Where nothing is signed.
    pub fn none() -> Self {
        Self::new(|| Err(CatalogError::Missing("a key for reports".to_owned())))
    }

    pub(crate) fn public(&self) -> Result<String, CatalogError> {
        (self.0)()
    }
}

impl std::fmt::Debug for ReportKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReportKey")
    }
}

/// Where instances inside Tidemark are.
pub trait Hosts: Send + Sync + std::fmt::Debug {
    /// The host in the connection string of an instance.
    fn host_of(&self, instance: &Instance) -> String;

    /// For how many instances there are ports.
    fn ports(&self) -> usize;

    /// Whether an instance speaks TLS.
    fn speaks_tls(&self, instance: &Instance) -> bool;
}

/// All of them are on one host.
#[derive(Debug, Clone)]
pub struct OneHost {
    /// The host.
    pub host: String,
    /// For how many instances it has ports.
    pub ports: usize,
}

impl Hosts for OneHost {
    fn host_of(&self, _: &Instance) -> String {
        self.host.clone()
    }

    fn ports(&self) -> usize {
        self.ports
    }

    fn speaks_tls(&self, _: &Instance) -> bool {
        false
    }
}

/// Speaks to deployments that somebody else runs, and keeps what is secret about them.
pub trait Attacher: Send + Sync + std::fmt::Debug {
    /// Connects and looks, writing nothing; or why that is not possible.
    fn probe(&self, settings: &LinkSettings) -> Result<ProbeReport, String>;

    /// The same for a part of a deployment, which is reached as the whole.
    fn probe_part(&self, found: &Deployment) -> Result<ProbeReport, String>;

    /// Encrypts how a deployment is reached; the text belongs to this instance only.
    fn seal(&self, id: InstanceId, settings: &LinkSettings) -> String;

    /// How a deployment is reached; nothing if that was sealed with another key.
    fn settings(&self, found: &Deployment) -> Option<LinkSettings>;

    /// Says that how a deployment is reached has changed.
    fn look_again(&self, id: InstanceId);
}

/// Looks into backups, in the vault.
pub trait Inspector: Send + Sync + std::fmt::Debug {
    /// Finds documents of a snapshot or a moment, and says how much was read for that.
    fn search(
        &self,
        instance: &Instance,
        at: BackupPoint,
        search: &Search,
        to: (Say<'_>, IsGone<'_>),
    ) -> Result<(), InspectError>;

    /// Finds what is different between two snapshots or moments.
    fn compare(
        &self,
        instance: &Instance,
        points: (BackupPoint, BackupPoint),
        comparison: &Comparison,
        to: (Say<'_>, IsGone<'_>),
    ) -> Result<(), InspectError>;

    /// Serves a snapshot or a moment as a database that can only be read, until whoever asked is gone or the
    /// time is over.
    fn open(
        &self,
        instance: &Instance,
        at: BackupPoint,
        opening: &Opening,
        to: (Say<'_>, IsGone<'_>),
    ) -> Result<(), InspectError>;
}

/// Takes a line of an answer; answers whether more is wanted.
pub type Say<'a> = &'a mut dyn FnMut(serde_json::Value) -> bool;

/// Whether whoever asked is gone, so that nobody waits for the answer.
pub type IsGone<'a> = &'a (dyn Fn() -> bool + Sync);

/// Which documents are looked for.
#[derive(Debug, Clone)]
pub struct Search {
    /// The collection.
    pub namespace: String,
    /// A filter as `find` takes it, in Extended JSON.
    pub filter: serde_json::Value,
    /// So many at most.
    pub limit: u64,
}

/// What is served of a backup, and how long.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Which namespaces of it.
    pub selection: Selection,
    /// So long at most.
    pub duration: std::time::Duration,
}

/// What is compared.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// `db.collection` or `db.*`; everything if there is none.
    pub namespaces: Vec<String>,
    /// So many documents that are different are shown at most.
    pub documents: u64,
}

/// Why backups cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The snapshot is not there or not complete, or the moment cannot be restored.
    #[error(transparent)]
    Unknown(#[from] CreateRestoreJobError),
    /// What is asked for cannot be found out, and why.
    #[error("{0}")]
    Refused(String),
    /// It may be possible in a moment.
    #[error("{0}")]
    NotNow(String),
    /// Whoever asked is gone.
    #[error("nobody waits for the answer")]
    Gone,
}

/// What only the development mode can do.
pub trait DevMode: Send + Sync + std::fmt::Debug {
    /// Forgets everything and begins anew: with a seed document, or with what the server began
    /// with. Answers what the file of first credentials then holds.
    fn reset(&self, seed: Option<serde_json::Value>) -> Result<serde_json::Value, ResetError>;
}

/// Why a server was not put back to the beginning.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// The seed cannot be used; nothing was changed.
    #[error("{0}")]
    Seed(String),
    /// The records could not be replaced.
    #[error(transparent)]
    Failed(#[from] Box<dyn std::error::Error + Send + Sync>),
}

/// The API.
pub struct Api {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) clock: Clock,
    pub(crate) config: ApiConfig,
    pub(crate) signing: Signing,
    pub(crate) throttle: Throttle,
    /// Nonces from before this are not accepted: who used them was forgotten.
    pub(crate) started_at: Timestamp,
    /// Nonces with the counters that were used with them, until they expire. Held for one lookup, at
    /// longest while expired ones are looked for.
    pub(crate) used_nonces: Mutex<HashMap<(String, u32), Timestamp>>,
    /// Callers that were looked up before. Held for one lookup.
    pub(crate) known: Mutex<Known>,
    pub(crate) usage: Usage,
    pub(crate) buckets: Buckets,
    /// Requests to each operation.
    pub(crate) counts: Counts,
    /// Methods and paths of all operations.
    pub(crate) endpoints: Vec<(&'static str, &'static str)>,
}

impl Api {
    /// The records behind it.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }
}
