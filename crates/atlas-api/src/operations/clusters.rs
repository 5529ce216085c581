//! Clusters of all kinds, as lists show them.

pub(crate) mod list_cluster_details;
pub(crate) mod list_clusters;
