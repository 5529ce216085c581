//! The rights that protection needs, and those that a user lacks.

use bson::Document;

use crate::abilities::unless_refused;
use crate::connection::Connection;
use crate::error::LinkError;

/// On every database and collection of the users: to read, and to restore.
const ON_DATA: &[&str] = &[
    "find",
    "listCollections",
    "listIndexes",
    "collStats",
    "insert",
    "update",
    "remove",
    "createCollection",
    "dropCollection",
    "createIndex",
    "collMod",
    "renameCollectionSameDB",
    "bypassDocumentValidation",
];
/// On the cluster.
const ON_CLUSTER: &[&str] = &["listDatabases", "useUUID"];
/// On the oplog.
const ON_OPLOG: &[&str] = &["find"];
/// The name of the role that is proposed.
const ROLE: &str = "tidemarkBackup";

/// What a look at a user's rights found.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Rights {
    /// What is missing, as `action on resource`.
    pub(crate) missing: Vec<String>,
    /// The command that makes a role with all that is needed.
    pub(crate) create_role: Option<String>,
}

/// Looks at the rights of the user that is logged in. Where nobody logs in, or the deployment does
/// not tell, nothing is missing as far as is known.
pub(crate) fn look(connection: &mut Connection) -> Result<Rights, LinkError> {
    let command = bson::doc! { "connectionStatus": 1, "showPrivileges": true };
    let status = unless_refused(connection.command("admin", command))?;
    let info = status.as_ref().and_then(|status| status.get_document("authInfo").ok());
    Ok(info.map(rights_in).unwrap_or_default())
}

fn rights_in(info: &Document) -> Rights {
    let has_user = info.get_array("authenticatedUsers").is_ok_and(|users| !users.is_empty());
    let Ok(granted) = info.get_array("authenticatedUserPrivileges") else {
        return Rights::default();
    };
    if !has_user {
        return Rights::default();
    }
    let granted: Vec<&Document> = granted.iter().filter_map(|grant| grant.as_document()).collect();
    let needs = [
        ("all databases", ON_DATA, Resource::Data),
        ("the cluster", ON_CLUSTER, Resource::Cluster),
        ("local.oplog.rs", ON_OPLOG, Resource::Oplog),
    ];
    let mut missing = Vec::new();
    for (what, actions, resource) in needs {
        let has = |action: &&&str| granted.iter().any(|grant| resource.allows(grant, action));
        let lacking = actions.iter().filter(|action| !has(action));
        missing.extend(lacking.map(|action| format!("{action} on {what}")));
    }
    let create_role = (!missing.is_empty()).then(create_role);
    Rights { missing, create_role }
}

/// What actions are on.
enum Resource {
    Data,
    Cluster,
    Oplog,
}

impl Resource {
    /// Whether a privilege allows an action on all of it.
    fn allows(&self, privilege: &Document, action: &str) -> bool {
        let actions = privilege.get_array("actions").into_iter().flatten();
        let mut names = actions.filter_map(|action| action.as_str());
        let Ok(resource) = privilege.get_document("resource") else { return false };
        let is = |field: &str| resource.get_bool(field).unwrap_or(false);
        let text = |field: &str| resource.get_str(field).ok();
        let is_meant = is("anyResource")
            || match self {
                Self::Data => text("db") == Some("") && text("collection") == Some(""),
                Self::Cluster => is("cluster"),
                Self::Oplog => {
                    text("db") == Some("local")
                        && matches!(text("collection"), Some("oplog.rs" | ""))
                }
            };
        is_meant && names.any(|name| name == action || name == "anyAction")
    }
}

/// The command that makes a role with exactly what is needed.
fn create_role() -> String {
    let list = |actions: &[&str]| {
        let quoted: Vec<String> = actions.iter().map(|action| format!("\"{action}\"")).collect();
        quoted.join(", ")
    };
    format!(
        "db.getSiblingDB(\"admin\").runCommand({{ createRole: \"{ROLE}\", privileges: [ \
         {{ resource: {{ db: \"\", collection: \"\" }}, actions: [ {} ] }}, \
         {{ resource: {{ cluster: true }}, actions: [ {} ] }}, \
         {{ resource: {{ db: \"local\", collection: \"oplog.rs\" }}, actions: [ {} ] }} ], roles: [] }})",
        list(ON_DATA),
        list(ON_CLUSTER),
        list(ON_OPLOG)
    )
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn info(privileges: &[Document]) -> Document {
        doc! {
            "authenticatedUsers": [{ "user": "u", "db": "admin" }],
            "authenticatedUserPrivileges": privileges.to_vec(),
        }
    }

    #[test]
    fn what_a_user_lacks_is_named_with_the_role_that_has_it() {
        let rights = rights_in(&info(&[
            doc! { "resource": { "db": "", "collection": "" }, "actions": ON_DATA[1..].to_vec() },
            doc! { "resource": { "cluster": true }, "actions": ["listDatabases"] },
            doc! { "resource": { "db": "local", "collection": "" }, "actions": ["find"] },
        ]));
        assert_eq!(rights.missing, ["find on all databases", "useUUID on the cluster"]);
        let command = rights.create_role.unwrap();
        assert!(ON_DATA.iter().all(|action| command.contains(action)), "{command}");
    }

    #[test]
    fn who_may_everything_lacks_nothing_and_neither_does_nobody() {
        let all = doc! { "resource": { "anyResource": true }, "actions": ["anyAction"] };
        assert_eq!(rights_in(&info(&[all])), Rights::default());
        let nobody = doc! { "authenticatedUsers": [], "authenticatedUserPrivileges": [] };
        assert_eq!(rights_in(&nobody), Rights::default());
        assert!(!rights_in(&info(&[])).missing.is_empty());
    }
}
