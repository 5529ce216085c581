//! Durable records and leases; the only SQL.
//!
//! SQLite with a write-ahead log, synced at every commit: what a call returned is not lost. Rows
//! are decoded strictly; one that contradicts itself is an error that names it. Every write checks
//! how many rows it changed.

mod access_entries;
mod api_keys;
mod audit;
mod captures;
mod catalog;
mod console_sessions;
mod database;
mod database_users;
mod deployments;
mod drills;
mod error;
mod figures;
mod instances;
mod lease;
mod moving;
mod network_entries;
mod nodes;
mod oplog_ranges;
mod oplog_tails;
mod orgs;
mod projects;
mod rate_buckets;
mod rebuild;
mod reset;
mod restore_jobs;
mod roles;
mod row;
mod schedule;
mod schema;
mod service_accounts;
mod settings;
mod snapshots;
#[cfg(test)]
mod tests;
mod used_nonces;

pub use access_entries::{AccessEntry, AccessUse};
pub use api_keys::ApiKey;
pub use audit::{AuditEntry, AuditScope, Event, EventFilter, EventsOf, SERVER};
pub use captures::CaptureAnswer;
pub use catalog::{Catalog, Page, Paged};
pub use console_sessions::{ConsoleSession, SignOut};
pub use database::DatabaseError;
pub use database_users::{DatabaseUser, DatabaseUserRole, Label, PasswordRecord};
pub use deployments::{Deployment, Placement, Reach};
pub use drills::{Drill, NewDrill, SignedReport};
pub use error::CatalogError;
pub use figures::{JobCount, Protection};
pub use instances::{
    Backing, Instance, InstanceFamily, InstanceSettings, InstanceTrouble, InstanceView, Tag,
};
pub use lease::{Claim, Done, LeaseHolder};
pub use moving::Moved;
pub use network_entries::{NetworkEntry, NetworkSource};
pub use nodes::Node;
pub use oplog_tails::{TailPiece, TailSize};
pub use orgs::{NewOrg, Org};
pub use projects::Project;
pub use rate_buckets::{RateBucket, TakenRequests};
pub use rebuild::FoundSnapshot;
pub use reset::Seed;
pub use restore_jobs::{Download, NewRestoreJob, RestoreJob, TargetName};
pub use schedule::Schedule;
pub use service_accounts::{AccountSecret, NewSecret, ServiceAccount};
pub use settings::SigningKeys;
pub use snapshots::{NewSnapshot, Order, Proof, SILENT_ENDS, Snapshot};
