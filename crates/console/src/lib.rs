//! Web pages for people: what is protected, what can be restored, and restoring it.
//!
//! The rules are those of `actions`, the rights those of the API. Pages work without scripts; with them a
//! job's progress comes by itself. Nothing is loaded from elsewhere, and no page runs what a document or a
//! name says. It speaks no HTTP itself: it is handed requests and hands answers back.

mod answer;
mod asked;
mod explained;
mod language;
mod pages;
mod problem;
mod session;
mod shown;
mod timeline;
mod visit;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Response, Uri};
use jiff::SignedDuration;
use serde_json::Value;
use tidemark_actions::vaults::VaultLook;
use tidemark_actions::{Alerting, Rehearsal};
use tidemark_catalog::{Catalog, CatalogError};
use tidemark_model::{BackupPolicy, Caller, Clock, OrgId, Principal, Secret, SecretId, VaultRule};

/// A request to the console, its body read.
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// From where it came.
    pub address: IpAddr,
}

/// How signing in ended.
#[derive(Debug)]
pub enum SignedIn {
    /// They are known; of a service account with this secret.
    Known(Caller, Option<SecretId>),
    /// Name and secret do not belong together; the answer is to wait so long.
    Wrong(Duration),
    /// They are known, and not allowed from this address.
    NotFromHere,
    /// Too many wrong ones came before.
    TooMany,
}

/// Knows who people are: the same as for the API.
pub trait Gate: Send + Sync {
    /// Whose credentials these are.
    fn sign_in(
        &self,
        name: &str,
        secret: &Secret,
        address: IpAddr,
    ) -> Result<SignedIn, CatalogError>;

    /// Who a principal is now, if it still is, its secret too, and may come from an address.
    fn caller(
        &self,
        principal: (Principal, OrgId),
        secret: Option<SecretId>,
        address: IpAddr,
    ) -> Result<Option<Caller>, CatalogError>;
}

/// An operation of the API that a page needs.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its official id.
    pub operation: &'a str,
    /// The values of its path's placeholders.
    pub values: &'a [(&'a str, &'a str)],
    /// Its query.
    pub query: &'a [(&'a str, &'a str)],
    /// Its body.
    pub body: Option<&'a Value>,
}

impl<'a> Wanted<'a> {
    /// One that needs nothing more said.
    pub(crate) fn new(operation: &'a str) -> Self {
        Self { operation, values: &[], query: &[], body: None }
    }

    pub(crate) fn with_values(self, values: &'a [(&'a str, &'a str)]) -> Self {
        Self { values, ..self }
    }

    pub(crate) fn with_query(self, query: &'a [(&'a str, &'a str)]) -> Self {
        Self { query, ..self }
    }

    pub(crate) fn with_body(self, body: &'a Value) -> Self {
        Self { body: Some(body), ..self }
    }
}

/// Why an operation was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The status that it has over HTTP.
    pub status: u16,
    /// The code of the API.
    pub code: String,
    /// In words.
    pub reason: String,
}

/// Does operations of the API for people: its rules, rights, limits and events hold as for any client.
pub trait Operations: Send + Sync {
    /// Does one; answers its body, or null.
    fn act(&self, by: (&Caller, IpAddr), wanted: Wanted<'_>) -> Result<Value, Refused>;
}

/// In the extensions of an answer: so long it is to wait, as nobody's thread should.
#[derive(Debug, Clone, Copy)]
pub struct Wait(pub Duration);

/// The console.
pub struct Console {
    /// The records.
    pub catalog: Arc<Catalog>,
    /// The time.
    pub clock: Clock,
    /// Who people are.
    pub gate: Arc<dyn Gate>,
    /// What the API does.
    pub operations: Arc<dyn Operations>,
    /// Finds out what restores would do.
    pub rehearsal: Arc<dyn Rehearsal>,
    /// Ways on which people are told what goes wrong.
    pub alerting: Arc<dyn Alerting>,
    /// Looks at the vaults.
    pub vault_look: Arc<dyn VaultLook>,
    /// Which projects keep the backups of new instances in a vault of their own.
    pub vaults: Vec<VaultRule>,
    /// How long snapshots are kept.
    pub policy: BackupPolicy,
    /// How long links of downloads work.
    pub download_lifetime: SignedDuration,
    /// Whether serverless instances may be made: what MongoDB switched off may be off here too.
    pub offers_serverless: bool,
    /// Whether browsers reach it over TLS, so that cookies go over nothing else.
    pub is_secure: bool,
}

impl Console {
    /// Whether a path is one of the console's.
    pub fn has(path: &str) -> bool {
        ["/", "/projects", "/sign-in", "/sign-out", "/language"].contains(&path)
            || path.starts_with("/projects/")
            || path.starts_with("/console/")
    }

    /// Answers a request; may wait for the records.
    pub fn respond(&self, request: &Request) -> Response<Vec<u8>> {
        pages::respond(self, request)
    }
}
