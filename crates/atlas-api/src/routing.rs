//! How a request finds the operation that it means.

use crate::call::PathValues;
use crate::operation::Operation;
use crate::operations::OPERATIONS;

/// What a path and a method lead to.
pub(crate) enum Route {
    /// The operation, and the values of its path.
    Found(&'static Operation, PathValues),
    /// The path exists for these methods only.
    WrongMethod(Vec<&'static str>),
    Unknown,
}

/// Finds the operation for a path below `/api/atlas/v2`.
pub(crate) fn route(method: &str, path: &str) -> Route {
    let mut verbs = Vec::new();
    for operation in OPERATIONS {
        let Some(values) = match_path(operation.path, path) else {
            continue;
        };
        if operation.verb.as_str() == method {
            return Route::Found(operation, values);
        }
        verbs.push(operation.verb.as_str());
    }
    if verbs.is_empty() {
        return Route::Unknown;
    }
    // The recorded order: POST before GET, OPTIONS last.
    verbs.sort_unstable_by(|a, b| b.cmp(a));
    verbs.dedup();
    verbs.push("OPTIONS");
    Route::WrongMethod(verbs)
}

fn match_path(template: &'static str, path: &str) -> Option<PathValues> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut parts = path.split('/');
    let mut values = PathValues::new();
    for expected in template.split('/') {
        match_part(expected, parts.next()?, &mut values)?;
    }
    parts.next().is_none().then_some(values)
}

/// Matches one part: a word, or a placeholder with a word around it such as `{clientId}:invite`.
fn match_part(expected: &'static str, part: &str, values: &mut PathValues) -> Option<()> {
    let Some((prefix, rest)) = expected.split_once('{') else {
        return (expected == part).then_some(());
    };
    let (name, suffix) = rest.split_once('}')?;
    let part = part.strip_prefix(prefix)?.strip_suffix(suffix)?;
    let value = percent_encoding::percent_decode_str(part).decode_utf8().ok()?;
    if value.is_empty() {
        return None;
    }
    values.insert(name, value.into_owned());
    Some(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn found(method: &str, path: &str) -> (&'static str, PathValues) {
        match route(method, path) {
            Route::Found(operation, values) => (operation.id, values),
            _ => panic!("no route for {method} {path}"),
        }
    }

    #[test]
    fn ids_and_routes_are_unique() {
        let ids: HashSet<_> = OPERATIONS.iter().map(|operation| operation.id).collect();
        let routes: HashSet<_> =
            OPERATIONS.iter().map(|operation| (operation.verb.as_str(), operation.path)).collect();
        assert_eq!((ids.len(), routes.len()), (OPERATIONS.len(), OPERATIONS.len()));
    }

    #[test]
    fn every_route_leads_to_its_own_operation() {
        for operation in OPERATIONS {
            let path = operation.path.replace(['{', '}'], "");
            assert_eq!(found(operation.verb.as_str(), &path).0, operation.id, "{path}");
        }
    }

    #[test]
    fn paths_lead_to_their_operation_with_their_values() {
        let (id, values) = found("GET", "/groups/abc/serverless/my%20db/backup/restoreJobs/1");
        assert_eq!(id, "getGroupServerlessBackupRestoreJob");
        assert_eq!(values["clusterName"], "my db");
        let (id, values) = found("POST", "/groups/abc/serviceAccounts/mdb_sa_id_1:invite");
        assert_eq!((id, values["clientId"].as_str()), ("inviteGroupServiceAccount", "mdb_sa_id_1"));
        assert_eq!(
            found("GET", "/groups/abc/accessList/10.0.0.0%2F8").1["entryValue"],
            "10.0.0.0/8"
        );
        assert!(
            matches!(route("PUT", "/groups"), Route::WrongMethod(methods) if methods == ["POST", "GET", "OPTIONS"])
        );
        assert!(matches!(route("GET", "/nothing"), Route::Unknown));
        assert!(matches!(route("GET", ""), Route::Found(..)));
    }
}
