//! Flex clusters, their snapshots and restore jobs.

pub(crate) mod cancel_flex_restore_job;
pub(crate) mod create_flex_cluster;
pub(crate) mod create_flex_restore_job;
pub(crate) mod delete_flex_cluster;
pub(crate) mod delete_flex_snapshot;
pub(crate) mod download_flex_backup;
pub(crate) mod flex_cluster;
pub(crate) mod flex_restore_job;
pub(crate) mod flex_snapshot;
pub(crate) mod get_flex_cluster;
pub(crate) mod get_flex_restore_job;
pub(crate) mod get_flex_snapshot;
pub(crate) mod list_flex_clusters;
pub(crate) mod list_flex_restore_jobs;
pub(crate) mod list_flex_snapshots;
pub(crate) mod take_flex_snapshot;
pub(crate) mod update_flex_cluster;
