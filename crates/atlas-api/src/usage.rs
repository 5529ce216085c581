//! How often access list entries are used, gathered before it is recorded.
//!
//! A record for every request would make each one wait for the disk. What was gathered since the
//! last record is lost in a crash: these are statistics.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;
use jiff::Timestamp;
use tidemark_catalog::{AccessUse, Catalog, CatalogError};
use tidemark_model::Principal;

/// How long uses are gathered, in seconds.
const GATHER_SECONDS: i64 = 60;

#[derive(Debug, Default)]
struct Gathered {
    since: Option<Timestamp>,
    uses: HashMap<(Principal, IpNet), AccessUse>,
}

/// Uses that are not recorded yet.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// Held for one count; what was gathered is recorded after it was taken out.
    gathered: Mutex<Gathered>,
}

impl Usage {
    /// Notes a request, and records what was gathered if it is time.
    pub(crate) fn note(
        &self,
        catalog: &Catalog,
        (principal, block): (Principal, IpNet),
        (address, now): (IpAddr, Timestamp),
    ) -> Result<(), CatalogError> {
        let is_due = {
            let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
            let used = gathered.uses.entry((principal, block)).or_insert(AccessUse {
                requests: 0,
                last_at: now,
                address,
            });
            *used = AccessUse { requests: used.requests.saturating_add(1), last_at: now, address };
            let since = *gathered.since.get_or_insert(now);
            now.as_second() - since.as_second() >= GATHER_SECONDS
        };
        if is_due { self.record(catalog) } else { Ok(()) }
    }

    /// Records what was gathered.
    pub(crate) fn record(&self, catalog: &Catalog) -> Result<(), CatalogError> {
        let gathered = {
            let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *gathered)
        };
        for ((principal, block), used) in &gathered.uses {
            catalog.record_access(*principal, *block, used)?;
        }
        Ok(())
    }
}
