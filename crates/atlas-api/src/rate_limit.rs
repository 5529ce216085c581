//! Rate limits: a token bucket for each set of endpoints and each scope.
//!
//! Sets, capacities and refill rates are those that the real service documents; the serverless
//! operations, which it does not list, have what flex clusters have.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// What happens when a limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RateLimits {
    /// No limits and no headers.
    Off,
    /// The headers tell what the real service would count; nothing is refused.
    #[default]
    Report,
    /// Requests beyond a limit are answered with 429.
    Enforce,
}

/// Who shares a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Group,
    Organization,
    User,
}

impl Scope {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Group => "GROUP",
            Self::Organization => "ORGANIZATION",
            Self::User => "USER",
        }
    }
}

/// Seconds in which a bucket gets its refill.
pub(crate) const REFILL_SECONDS: u64 = 60;

/// Endpoints that share a bucket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EndpointSet {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) scope: Scope,
    pub(crate) capacity: u64,
    pub(crate) refill: u64,
}

const fn set(
    id: &'static str,
    name: &'static str,
    scope: Scope,
    (capacity, refill): (u64, u64),
) -> EndpointSet {
    EndpointSet { id, name, scope, capacity, refill }
}

const USUAL: (u64, u64) = (1200, 500);

pub(crate) const SETS: &[EndpointSet] = &[
    set("projects_group", "Projects", Scope::Group, USUAL),
    set("projects_user", "Projects", Scope::User, USUAL),
    set("projectIpAccessList_group", "Project IP Access List", Scope::Group, USUAL),
    set("programmaticApiKeys_group", "Programmatic API Keys", Scope::Group, USUAL),
    set("serviceAccounts_group", "Service Accounts", Scope::Group, USUAL),
    set("teams_group", "Teams", Scope::Group, USUAL),
    set("cloudBackups_group", "Cloud Backups", Scope::Group, USUAL),
    set("flexClusters_group", "Flex Clusters", Scope::Group, USUAL),
    set("flexSnapshots_group", "Flex Snapshots", Scope::Group, USUAL),
    set("flexRestoreJobs_group", "Flex Restore Jobs", Scope::Group, USUAL),
    set("serverlessInstances_group", "Serverless Instances", Scope::Group, USUAL),
    set("clusters_group", "Clusters", Scope::Group, (10_000, 5_000)),
    set("databaseUsers_group", "Database Users", Scope::Group, (10_000, 5_000)),
    set("organizations_organization", "Organizations", Scope::Organization, (500, 250)),
    set("organizationSettings_organization", "Organization Settings", Scope::Organization, (10, 5)),
    set("root_user", "Root", Scope::User, (300, 100)),
    set("rateLimitsInspection_user", "Rate Limits Inspection", Scope::User, (300, 100)),
];

/// Which set a path belongs to: the first beginning that fits.
const PREFIXES: &[(&str, &str)] = &[
    ("/orgs/{orgId}/settings", "organizationSettings_organization"),
    ("/orgs/{orgId}", "organizations_organization"),
    ("/orgs", "root_user"),
    ("/clusters", "root_user"),
    ("/rateLimits", "rateLimitsInspection_user"),
    ("/groups/{groupId}/accessList", "projectIpAccessList_group"),
    ("/groups/{groupId}/apiKeys", "programmaticApiKeys_group"),
    ("/groups/{groupId}/serviceAccounts", "serviceAccounts_group"),
    ("/groups/{groupId}/teams", "teams_group"),
    ("/groups/{groupId}/databaseUsers", "databaseUsers_group"),
    ("/groups/{groupId}/flexClusters/{name}/backup/snapshots", "flexSnapshots_group"),
    ("/groups/{groupId}/flexClusters/{name}/backup", "flexRestoreJobs_group"),
    ("/groups/{groupId}/flexClusters", "flexClusters_group"),
    ("/groups/{groupId}/serverless", "serverlessInstances_group"),
    ("/groups/{groupId}/clusters/{clusterName}/backup", "cloudBackups_group"),
    ("/groups/{groupId}/clusters", "clusters_group"),
    ("/groups/{groupId}/backup", "cloudBackups_group"),
    ("/groups/{groupId}", "projects_group"),
    ("/groups", "projects_user"),
    ("", "root_user"),
];

impl EndpointSet {
    /// The set of the operations with a path.
    pub(crate) fn of_path(path: &str) -> Option<&'static Self> {
        let (_, id) = PREFIXES.iter().find(|(prefix, _)| path.starts_with(prefix))?;
        Self::with_id(id)
    }

    /// The set with an id.
    pub(crate) fn with_id(id: &str) -> Option<&'static Self> {
        SETS.iter().find(|set| set.id == id)
    }
}

/// What is left in a bucket after a request, or when the next one is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Requests that are left.
    Left(u64),
    /// Seconds until the next request.
    Empty(u64),
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled_at: Timestamp,
}

/// The buckets of all scopes; they are gone with the process, full again after a start.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    /// Held for one request's count, at longest while full buckets are looked for among ten thousand.
    buckets: Mutex<HashMap<(&'static str, String), Bucket>>,
}

/// How many buckets are kept before full ones are forgotten.
const BUCKETS_BEFORE_CLEANING: usize = 10_000;

impl Buckets {
    /// Takes one request out of a bucket.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of requests are small and never negative"
    )]
    pub(crate) fn take(
        &self,
        (id, capacity, refill): (&'static str, u64, u64),
        key: &str,
        now: Timestamp,
    ) -> Taken {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_BEFORE_CLEANING && buckets.len() == buckets.capacity() {
            let full_after = capacity * REFILL_SECONDS / refill.max(1);
            buckets.retain(|_, bucket| seconds_since(bucket.filled_at, now) < full_after as f64);
        }
        let bucket = buckets
            .entry((id, key.to_owned()))
            .or_insert(Bucket { tokens: capacity as f64, filled_at: now });
        let rate = refill as f64 / REFILL_SECONDS as f64;
        let filled = bucket.tokens + seconds_since(bucket.filled_at, now) * rate;
        *bucket = Bucket { tokens: filled.min(capacity as f64), filled_at: now };
        if bucket.tokens < 1.0 {
            return Taken::Empty(((1.0 - bucket.tokens) / rate).ceil() as u64);
        }
        bucket.tokens -= 1.0;
        Taken::Left(bucket.tokens as u64)
    }
}

fn seconds_since(then: Timestamp, now: Timestamp) -> f64 {
    now.duration_since(then).as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::OPERATIONS;

    #[test]
    fn every_operation_belongs_to_a_set_whose_scope_its_path_has() {
        for operation in OPERATIONS {
            let set = EndpointSet::of_path(operation.path).unwrap();
            let placeholder = match set.scope {
                Scope::Group => "{groupId}",
                Scope::Organization => "{orgId}",
                Scope::User => continue,
            };
            assert!(operation.path.contains(placeholder), "{}", operation.id);
        }
    }

    #[test]
    fn a_bucket_empties_and_fills_again_at_its_rate() {
        let buckets = Buckets::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let take = |second| buckets.take(("x", 3, 60), "g", at(second));
        assert_eq!([take(0), take(0), take(0)], [Taken::Left(2), Taken::Left(1), Taken::Left(0)]);
        assert_eq!(take(0), Taken::Empty(1));
        assert_eq!(take(2), Taken::Left(1));
        assert_eq!(take(600), Taken::Left(2));
        assert_eq!(buckets.take(("x", 3, 60), "another", at(600)), Taken::Left(2));
        assert_eq!(take(0), Taken::Left(1), "a clock that goes back takes nothing away");
    }
}
