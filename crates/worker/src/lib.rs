//! Claims jobs, drives the mover, records outcomes.
//!
//! A job is held under a lease that a heartbeat renews; losing it stops the work. Whatever a
//! worker was doing when it died is claimed again: a restore begins anew, or, if it was in its
//! swap, finishes it. The scheduler takes no input: it looks at what should be and what is.

mod captures;
mod config;
mod drills;
mod due;
mod figures;
mod filling;
mod follower;
mod heartbeat;
mod jobs;
mod membership;
mod moments;
mod report_key;
mod restores;
mod scheduler;
mod shared;
mod snapshots;
mod steps;
mod synthetic;
mod tail;
mod troubles;
mod upkeep;
mod watch;
mod worker;

pub use captures::Captures;
pub use config::{Deployments, Fate, Hook, Scratch, WorkerConfig};
pub use figures::{BOUNDS as DURATION_BOUNDS, Durations};
pub use filling::Filled;
pub use membership::{Membership, NewNode, ShownCertificate};
pub use moments::{MomentError, Moments, Readable};
pub use report_key::public_key;
pub use snapshots::{dump_name, dump_path};
pub use troubles::{Severity, Trouble};
pub use watch::WorkerWatch;
pub use worker::Worker;
