//! What a restore would do, asked of whoever can look at the vault and at the target.

use tidemark_catalog::Instance;
use tidemark_model::{RestorePlan, SnapshotId};

use crate::restore_jobs::Wish;

/// Finds out what a restore would do.
pub trait Rehearsal: Send + Sync + std::fmt::Debug {
    /// What a restore of some namespaces of a snapshot, with a replay through a moment, would do to
    /// a target, as JSON; or why that cannot be said. Nothing is written.
    fn rehearse(
        &self,
        source: &Instance,
        target: &Instance,
        what: (SnapshotId, Option<RestorePlan>),
        wish: &Wish,
    ) -> Result<serde_json::Value, String>;
}
