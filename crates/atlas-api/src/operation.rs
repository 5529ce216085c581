//! The table of operations: id, method, path, versions, handler.

use std::collections::BTreeMap;

use axum::http::Method;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::operations as at;
use crate::version::{V2023_01_01, Version};

/// An operation of the API.
pub(crate) struct Operation {
    pub(crate) id: &'static str,
    pub(crate) method: Method,
    /// Below `/api/atlas/v2`.
    pub(crate) path: &'static str,
    pub(crate) versions: &'static [Version],
    pub(crate) lifetime: Lifetime,
    pub(crate) run: fn(&Call<'_>) -> Result<Answer>,
}

/// Whether the real service still has an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    Current,
    /// Switched off in January 2026; offered here all the same.
    Serverless,
    /// Ours.
    Added,
}

/// `Deprecation` and `Sunset` of the serverless operations, as they were recorded.
pub(crate) const SERVERLESS_DEPRECATION: &str = "Wed, 10 Dec 2025 00:00:00 GMT";
pub(crate) const SERVERLESS_SUNSET: &str = "Thu, 15 Jan 2026 00:00:00 GMT";

const FIRST: &[Version] = &[V2023_01_01];

const SNAPSHOTS: &str = "/groups/{groupId}/serverless/{clusterName}/backup/snapshots";
const SNAPSHOT: &str = "/groups/{groupId}/serverless/{clusterName}/backup/snapshots/{snapshotId}";
const JOBS: &str = "/groups/{groupId}/serverless/{clusterName}/backup/restoreJobs";
const JOB: &str = "/groups/{groupId}/serverless/{clusterName}/backup/restoreJobs/{restoreJobId}";
const INSTANCES: &str = "/groups/{groupId}/serverless";
const INSTANCE: &str = "/groups/{groupId}/serverless/{name}";
const USERS: &str = "/groups/{groupId}/databaseUsers";
const USER: &str = "/groups/{groupId}/databaseUsers/{databaseName}/{username}";

const fn operation(
    id: &'static str,
    method: Method,
    path: &'static str,
    lifetime: Lifetime,
    run: fn(&Call<'_>) -> Result<Answer>,
) -> Operation {
    Operation { id, method, path, versions: FIRST, lifetime, run }
}

/// All operations.
pub(crate) const OPERATIONS: &[Operation] = &[
    operation("getSystemStatus", Method::GET, "", Lifetime::Current, at::get_system_status::run),
    operation("listGroups", Method::GET, "/groups", Lifetime::Current, at::list_groups::run),
    operation("createGroup", Method::POST, "/groups", Lifetime::Current, at::create_group::run),
    operation("getGroup", Method::GET, "/groups/{groupId}", Lifetime::Current, at::get_group::run),
    operation(
        "deleteGroup",
        Method::DELETE,
        "/groups/{groupId}",
        Lifetime::Current,
        at::delete_group::run,
    ),
    operation(
        "listGroupDatabaseUsers",
        Method::GET,
        USERS,
        Lifetime::Current,
        at::list_database_users::run,
    ),
    operation(
        "createGroupDatabaseUser",
        Method::POST,
        USERS,
        Lifetime::Current,
        at::create_database_user::run,
    ),
    operation(
        "getGroupDatabaseUser",
        Method::GET,
        USER,
        Lifetime::Current,
        at::get_database_user::run,
    ),
    operation(
        "deleteGroupDatabaseUser",
        Method::DELETE,
        USER,
        Lifetime::Current,
        at::delete_database_user::run,
    ),
    operation(
        "listGroupServerlessInstances",
        Method::GET,
        INSTANCES,
        Lifetime::Serverless,
        at::list_serverless_instances::run,
    ),
    operation(
        "createGroupServerlessInstance",
        Method::POST,
        INSTANCES,
        Lifetime::Serverless,
        at::create_serverless_instance::run,
    ),
    operation(
        "getGroupServerlessInstance",
        Method::GET,
        INSTANCE,
        Lifetime::Serverless,
        at::get_serverless_instance::run,
    ),
    operation(
        "updateGroupServerlessInstance",
        Method::PATCH,
        INSTANCE,
        Lifetime::Serverless,
        at::update_serverless_instance::run,
    ),
    operation(
        "deleteGroupServerlessInstance",
        Method::DELETE,
        INSTANCE,
        Lifetime::Serverless,
        at::delete_serverless_instance::run,
    ),
    operation(
        "listGroupServerlessBackupSnapshots",
        Method::GET,
        SNAPSHOTS,
        Lifetime::Serverless,
        at::list_serverless_snapshots::run,
    ),
    operation(
        "takeGroupServerlessBackupSnapshot",
        Method::POST,
        SNAPSHOTS,
        Lifetime::Added,
        at::take_serverless_snapshot::run,
    ),
    operation(
        "getGroupServerlessBackupSnapshot",
        Method::GET,
        SNAPSHOT,
        Lifetime::Serverless,
        at::get_serverless_snapshot::run,
    ),
    operation(
        "deleteGroupServerlessBackupSnapshot",
        Method::DELETE,
        SNAPSHOT,
        Lifetime::Added,
        at::delete_serverless_snapshot::run,
    ),
    operation(
        "listGroupServerlessBackupRestoreJobs",
        Method::GET,
        JOBS,
        Lifetime::Serverless,
        at::list_serverless_restore_jobs::run,
    ),
    operation(
        "createGroupServerlessBackupRestoreJob",
        Method::POST,
        JOBS,
        Lifetime::Serverless,
        at::create_serverless_restore_job::run,
    ),
    operation(
        "getGroupServerlessBackupRestoreJob",
        Method::GET,
        JOB,
        Lifetime::Serverless,
        at::get_serverless_restore_job::run,
    ),
    operation(
        "cancelGroupServerlessBackupRestoreJob",
        Method::DELETE,
        JOB,
        Lifetime::Added,
        at::cancel_serverless_restore_job::run,
    ),
];

/// What a path and a method lead to.
pub(crate) enum Route {
    Found(&'static Operation, BTreeMap<&'static str, String>),
    /// The path exists for these methods only.
    WrongMethod(Vec<&'static str>),
    Unknown,
}

/// Finds the operation for a path below `/api/atlas/v2`.
pub(crate) fn route(method: &Method, path: &str) -> Route {
    let mut methods = Vec::new();
    for operation in OPERATIONS {
        let Some(values) = match_path(operation.path, path) else {
            continue;
        };
        if operation.method == *method {
            return Route::Found(operation, values);
        }
        methods.push(operation.method.as_str());
    }
    if methods.is_empty() {
        return Route::Unknown;
    }
    // The recorded order: POST before GET, OPTIONS last.
    methods.sort_unstable_by(|a, b| b.cmp(a));
    methods.push("OPTIONS");
    Route::WrongMethod(methods)
}

fn match_path(template: &'static str, path: &str) -> Option<BTreeMap<&'static str, String>> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut parts = path.split('/');
    let mut values = BTreeMap::new();
    for expected in template.split('/') {
        let part = parts.next()?;
        match expected.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(_) if part.is_empty() => return None,
            Some(name) => {
                let value = percent_encoding::percent_decode_str(part).decode_utf8().ok()?;
                values.insert(name, value.into_owned());
            }
            None if expected == part => {}
            None => return None,
        }
    }
    parts.next().is_none().then_some(values)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_and_routes_are_unique() {
        let ids: HashSet<_> = OPERATIONS.iter().map(|operation| operation.id).collect();
        let routes: HashSet<_> = OPERATIONS
            .iter()
            .map(|operation| (operation.method.as_str(), operation.path))
            .collect();
        assert_eq!((ids.len(), routes.len()), (OPERATIONS.len(), OPERATIONS.len()));
    }

    #[test]
    fn paths_lead_to_their_operation_with_their_values() {
        let Route::Found(operation, values) =
            route(&Method::GET, "/groups/abc/serverless/my%20db/backup/restoreJobs/1")
        else {
            panic!("no route")
        };
        assert_eq!(operation.id, "getGroupServerlessBackupRestoreJob");
        assert_eq!(values["clusterName"], "my db");
        assert!(
            matches!(route(&Method::PUT, "/groups"), Route::WrongMethod(methods) if methods == ["POST", "GET", "OPTIONS"])
        );
        assert!(matches!(route(&Method::GET, "/nothing"), Route::Unknown));
        assert!(matches!(route(&Method::GET, ""), Route::Found(..)));
    }
}
