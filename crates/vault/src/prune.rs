//! Removing packs that no snapshot needs.
//!
//! A pack goes only when none of its chunks is named by any manifest, when it is older than the
//! grace period, and when no snapshot is being written: a running snapshot may rely on a chunk
//! that no manifest names yet. A crash in the middle leaves fewer unused packs, never a missing
//! used one.

use std::collections::HashSet;
use std::time::Duration;

use crate::pack::PackId;
use crate::vault::{Vault, VaultError};

/// What `prune` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneReport {
    /// A snapshot is being written; try again later.
    Busy,
    /// This many packs were removed.
    Removed(usize),
}

impl Vault {
    /// Removes packs that no snapshot needs and that are older than `grace`.
    ///
    /// A manifest that cannot be read stops it: what it names is unknown.
    pub fn prune(&self, grace: Duration) -> Result<PruneReport, VaultError> {
        let Some(last_writer) = self.last_writer() else { return Ok(PruneReport::Busy) };
        let mut used: HashSet<PackId> = HashSet::new();
        for snapshot in self.snapshots()? {
            for chunk in self.load_manifest(&snapshot)?.chunks() {
                if let Ok(location) = self.locate(chunk.id) {
                    used.insert(location.pack);
                }
            }
        }
        let is_old = |pack: PackId| {
            let modified = std::fs::metadata(self.pack_path(pack)).and_then(|data| data.modified());
            // A clock that went back makes a pack look new, which keeps it.
            modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age >= grace))
        };
        let removed =
            self.remove_packs(last_writer, |pack| !used.contains(&pack) && is_old(pack))?;
        Ok(removed.map_or(PruneReport::Busy, |packs| PruneReport::Removed(packs.len())))
    }
}
