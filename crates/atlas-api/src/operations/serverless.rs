//! Serverless instances, their snapshots and restore jobs.

pub(crate) mod cancel_serverless_restore_job;
pub(crate) mod create_serverless_instance;
pub(crate) mod create_serverless_restore_job;
pub(crate) mod delete_serverless_instance;
pub(crate) mod delete_serverless_snapshot;
pub(crate) mod get_serverless_auto_indexing;
pub(crate) mod get_serverless_instance;
pub(crate) mod get_serverless_restore_job;
pub(crate) mod get_serverless_snapshot;
pub(crate) mod list_serverless_instances;
pub(crate) mod list_serverless_restore_jobs;
pub(crate) mod list_serverless_snapshots;
pub(crate) mod serverless_instance;
pub(crate) mod serverless_snapshot;
pub(crate) mod set_serverless_auto_indexing;
pub(crate) mod take_serverless_snapshot;
pub(crate) mod tenant_upgrade;
pub(crate) mod update_serverless_instance;
