//! The limits of a project.
//!
//! A limit that was set is obeyed: clusters, database users and entries of the IP access list.
//! Defaults are shown as the real service has them, but refuse nothing: they protect a service
//! that many share.

use serde_json::{Value, json};
use tidemark_catalog::{Page, Project};

use crate::call::Call;
use crate::error::{ApiError, Result};

pub(crate) const CLUSTERS: &str = "atlas.project.deployment.clusters";
pub(crate) const USERS: &str = "atlas.project.security.databaseAccess.users";
pub(crate) const NETWORK_ENTRIES: &str = "atlas.project.security.networkAccess.entries";

/// A limit with its default and the most that it can be set to.
pub(super) struct Limit {
    pub(super) name: &'static str,
    default: i64,
    pub(super) maximum: i64,
}

const fn limit(name: &'static str, default: i64, maximum: i64) -> Limit {
    Limit { name, default, maximum }
}

pub(super) const LIMITS: &[Limit] = &[
    limit(CLUSTERS, 25, 100),
    limit("atlas.project.deployment.nodesPerPrivateLinkRegion", 50, 90),
    limit("atlas.project.deployment.privateServiceConnectionsPerRegionGroup", 50, 100),
    limit("atlas.project.deployment.privateServiceConnectionsSubnetMask", 27, 27),
    limit("atlas.project.deployment.serverlessMTMs", 25, 100),
    limit("atlas.project.security.databaseAccess.customRoles", 100, 1400),
    limit(USERS, 100, 100),
    limit("atlas.project.security.networkAccess.crossRegionEntries", 40, 220),
    limit(NETWORK_ENTRIES, 200, 200),
];

/// The limit of the path.
pub(super) fn find(call: &Call<'_>) -> Result<&'static Limit> {
    let name = call.path_value("limitName");
    LIMITS
        .iter()
        .find(|limit| limit.name == name)
        .ok_or_else(|| ApiError::invalid_path_parameter("limitName"))
}

pub(super) fn describe(call: &Call<'_>, project: &Project, limit: &Limit) -> Result<Value> {
    let usage = match limit.name {
        CLUSTERS => project.instance_count,
        USERS => call.catalog.count_database_users(project.id)?,
        NETWORK_ENTRIES => {
            let nothing = Page { number: 1, size: 0 };
            call.catalog.list_network_entries(project.id, call.api.clock.now(), nothing)?.total
        }
        _ => 0,
    };
    Ok(json!({
        "currentUsage": usage,
        "defaultLimit": limit.default,
        "maximumLimit": limit.maximum,
        "name": limit.name,
        "value": project.limits.get(limit.name).copied().unwrap_or(limit.default),
    }))
}

/// Refuses what would go beyond a limit that was set.
pub(crate) fn check(
    project: &Project,
    name: &str,
    wanted: u64,
    error: fn(i64) -> ApiError,
) -> Result<()> {
    match project.limits.get(name) {
        Some(limit) if wanted > limit.unsigned_abs() => Err(error(*limit)),
        _ => Ok(()),
    }
}
