//! Clusters: attached deployments as dedicated clusters, their backups and schedules.

pub(crate) mod cancel_cluster_restore_job;
pub(crate) mod clear_schedule;
pub(crate) mod cluster;
pub(crate) mod cluster_snapshot;
pub(crate) mod create_cluster_restore_job;
pub(crate) mod delete_cluster;
pub(crate) mod delete_cluster_snapshot;
pub(crate) mod get_cluster;
pub(crate) mod get_cluster_restore_job;
pub(crate) mod get_cluster_snapshot;
pub(crate) mod get_schedule;
pub(crate) mod list_cluster_details;
pub(crate) mod list_cluster_restore_jobs;
pub(crate) mod list_cluster_snapshots;
pub(crate) mod list_clusters;
pub(crate) mod schedule;
pub(crate) mod take_cluster_snapshot;
pub(crate) mod update_cluster;
pub(crate) mod update_cluster_snapshot;
pub(crate) mod update_schedule;
