//! One file per operation, and one per kind of resource for how it is shown.

pub(crate) mod cancel_serverless_restore_job;
pub(crate) mod create_database_user;
pub(crate) mod create_group;
pub(crate) mod create_serverless_instance;
pub(crate) mod create_serverless_restore_job;
pub(crate) mod delete_database_user;
pub(crate) mod delete_group;
pub(crate) mod delete_serverless_instance;
pub(crate) mod delete_serverless_snapshot;
pub(crate) mod get_database_user;
pub(crate) mod get_group;
pub(crate) mod get_serverless_instance;
pub(crate) mod get_serverless_restore_job;
pub(crate) mod get_serverless_snapshot;
pub(crate) mod get_system_status;
pub(crate) mod list_database_users;
pub(crate) mod list_groups;
pub(crate) mod list_serverless_instances;
pub(crate) mod list_serverless_restore_jobs;
pub(crate) mod list_serverless_snapshots;
pub(crate) mod take_serverless_snapshot;
pub(crate) mod update_serverless_instance;

mod database_user;
mod group;
mod serverless_instance;
mod serverless_restore_job;
mod serverless_snapshot;
mod tags;
