//! What serverless instances, flex clusters and clusters have in common.

pub(crate) mod instance;
pub(crate) mod restore_job;
pub(crate) mod restore_job_body;
pub(crate) mod restore_request;
pub(crate) mod snapshot;
