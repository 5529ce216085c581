//! Rate limits: a token bucket for each set of endpoints and each scope.
//!
//! Sets, capacities and refill rates are those that the real service documents; the serverless
//! operations, which it does not list, have what flex clusters have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tidemark_catalog::{Catalog, RateBucket, TakenRequests};

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
    set("events_group", "Events", Scope::Group, (300, 100)),
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
    ("/groups/{groupId}/events", "events_group"),
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

/// Which bucket: its set, and who shares it.
type Key = (&'static str, String);

/// The buckets of all scopes. They are gone with the process, full again after a start, unless several
/// nodes serve the same records: then they are there.
#[derive(Default)]
pub(crate) struct Buckets {
    /// Held for one request's count, at longest while full buckets are looked for among ten thousand.
    buckets: Mutex<HashMap<Key, Bucket>>,
    shared: Option<SharedBuckets>,
}

/// Buckets that several nodes take from, each some requests at a time.
struct SharedBuckets {
    catalog: Arc<Catalog>,
    /// Held for one request's count.
    reserves: Mutex<HashMap<Key, Reserve>>,
}

/// Requests that this node has taken and not used yet.
#[derive(Debug, Clone, Copy)]
struct Reserve {
    here: u64,
    /// What was left for all nodes then.
    left: u64,
    until: Instant,
}

/// What was taken and is not used for so long is lost: the bucket has been filled meanwhile.
const RESERVE_LIFETIME: Duration = Duration::from_secs(1);

impl SharedBuckets {
    fn take(&self, bucket: &RateBucket<'_>, key: Key, now: Timestamp) -> Taken {
        if let Some(reserve) = lock(&self.reserves).get_mut(&key)
            && reserve.here > 0
            && reserve.until > Instant::now()
        {
            reserve.here -= 1;
            return Taken::Left(reserve.left + reserve.here);
        }
        match self.catalog.take_requests(bucket, now) {
            Ok(TakenRequests::Some { taken, left }) => {
                let here = taken - 1;
                let until = Instant::now() + RESERVE_LIFETIME;
                let mut reserves = lock(&self.reserves);
                if reserves.len() >= BUCKETS_BEFORE_CLEANING {
                    reserves.retain(|_, reserve| reserve.until > Instant::now());
                }
                reserves.insert(key, Reserve { here, left, until });
                Taken::Left(left + here)
            }
            Ok(TakenRequests::None { wait_seconds }) => Taken::Empty(wait_seconds),
            // The request fails for that reason by itself, if it needs the records.
            Err(error) => {
                tracing::warn!(%error, "requests could not be counted");
                Taken::Left(bucket.capacity)
            }
        }
    }
}

impl std::fmt::Debug for Buckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Buckets")
    }
}

/// How many buckets are kept before full ones are forgotten.
const BUCKETS_BEFORE_CLEANING: usize = 10_000;

impl Buckets {
    /// The buckets of a server with these records.
    pub(crate) fn new(catalog: &Arc<Catalog>) -> Self {
        let shared = catalog
            .is_shared()
            .then(|| SharedBuckets { catalog: Arc::clone(catalog), reserves: Mutex::default() });
        Self { buckets: Mutex::default(), shared }
    }

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
        if let Some(shared) = &self.shared {
            let bucket = RateBucket { name: id, scope: key, capacity, refill };
            return shared.take(&bucket, (id, key.to_owned()), now);
        }
        let mut buckets = lock(&self.buckets);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
