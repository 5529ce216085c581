//! What may be asked for, and every transition of an instance, a snapshot and a restore job.
//!
//! HTTP, command line and scheduler are thin callers of these functions. Each is meant for a
//! transaction of the catalog: `change` opens one, and records who did it in the same commit, so
//! that what a rule looked at stays true until it is written.

mod alerting;
mod audit;
pub mod deployments;
pub mod drills;
pub mod instances;
pub mod overviews;
mod rehearsal;
pub mod restore_jobs;
pub mod schedules;
pub mod snapshots;
#[cfg(test)]
mod tests;
pub mod vaults;

pub use alerting::{AlertChannel, Alerting};
pub use audit::{Change, Made, change, change_and_tell};
pub use rehearsal::{
    DocumentsThere, Rehearsal, RehearseError, Rehearsed, RehearsedNamespace, RehearsedStep,
    rehearse,
};
