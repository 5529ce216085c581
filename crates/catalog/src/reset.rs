//! Replacing all records at once, for the development mode.

use jiff::Timestamp;

use crate::catalog::Catalog;
use crate::database_users::{self, DatabaseUser};
use crate::error::CatalogError;
use crate::instances::{self, Instance};
use crate::orgs::{self, NewOrg};

/// What an emptied catalog begins with.
#[derive(Debug, Clone, Copy)]
pub struct Seed<'a> {
    /// Organizations with their projects and credentials.
    pub orgs: &'a [NewOrg<'a>],
    /// Instances that are wanted.
    pub instances: &'a [Instance],
    /// Database users.
    pub users: &'a [DatabaseUser],
    /// When all of it is made.
    pub created_at: Timestamp,
}

/// Every table with records, those that refer to others first.
const TABLES: &[&str] = &[
    "audit",
    "used_nonces",
    "console_sessions",
    "rate_buckets",
    "oplog_tails",
    "captures",
    "oplog_ranges",
    "drills",
    "restore_jobs",
    "snapshots",
    "database_users",
    "network_entries",
    "access_entries",
    "deployments",
    "backup_schedules",
    "instances",
    "revoked_tokens",
    "service_account_secrets",
    "service_accounts",
    "api_keys",
    "projects",
    "orgs",
];

impl Catalog {
    /// Forgets every record and begins anew with a seed, all or nothing.
    ///
    /// Jobs that workers hold are gone with their leases: their workers stop and write nothing.
    pub fn reset(&self, seed: &Seed<'_>) -> Result<(), CatalogError> {
        self.transact(|catalog| {
            let transaction = catalog.lock();
            for table in TABLES {
                transaction.execute(&format!("DELETE FROM {table}"), ())?;
            }
            for org in seed.orgs {
                orgs::insert(&transaction, org)?;
            }
            for instance in seed.instances {
                instances::insert(&transaction, instance)?;
            }
            for user in seed.users {
                database_users::insert(&transaction, user, seed.created_at)?;
            }
            Ok(())
        })
    }
}
