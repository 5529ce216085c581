//! What serverless instances and flex clusters have in common.

pub(crate) mod instance;
pub(crate) mod restore_job;
pub(crate) mod snapshot;
