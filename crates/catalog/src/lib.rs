//! Durable records and leases; the only SQL.
//!
//! SQLite with a write-ahead log, synced at every commit: what a call returned is not lost. Rows
//! are decoded strictly; one that contradicts itself is an error that names it. Every write checks
//! how many rows it changed.

mod catalog;
mod database_users;
mod error;
mod identity;
mod instances;
mod lease;
mod oplog_ranges;
mod restore_jobs;
mod row;
mod schema;
mod settings;
mod snapshots;
#[cfg(test)]
mod tests;

pub use catalog::{Catalog, Page, Paged};
pub use database_users::{DatabaseUser, DatabaseUserRole, PasswordRecord};
pub use error::CatalogError;
pub use identity::{ApiKey, NewSecret, Org, Principal, Project, ServiceAccount};
pub use instances::{Instance, InstanceFamily, InstanceSettings, Tag};
pub use lease::{Claim, LeaseHolder};
pub use oplog_ranges::OplogRange;
pub use restore_jobs::{Download, NewRestoreJob, RestoreJob, TargetName};
pub use settings::Setting;
pub use snapshots::{NewSnapshot, Snapshot};
