//! The rights that protection needs, and those that a user lacks.

use bson::Document;

use crate::abilities::unless_refused;
use crate::connection::Connection;
use crate::error::LinkError;
use crate::listing::STORED_FUNCTIONS;

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
/// On the buckets of time series: `ON_DATA` does not hold for collections of the server's own.
const ON_BUCKETS: &[&str] = &["find", "insert", "bypassDocumentValidation"];
/// On the buckets of time series from 8.3 on, where they are in no collection of their own.
const ON_RAW_DATA: &[&str] = &["performRawDataOperations"];
/// On stored functions.
const ON_FUNCTIONS: &[&str] = &["find", "insert", "update", "remove"];
/// On the cluster.
const ON_CLUSTER: &[&str] = &["listDatabases", "useUUID"];
/// On the oplog.
const ON_OPLOG: &[&str] = &["find"];
/// The name of the role that is proposed.
const ROLE: &str = "tidemarkBackup";

/// What a deployment holds that needs rights of its own; servers that have no such thing refuse roles
/// that name it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Holds {
    pub(crate) time_series: bool,
    /// Time series whose buckets are what `rawData` shows, and in no collection of their own.
    pub(crate) raw_data: bool,
    pub(crate) stored_functions: bool,
}

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
pub(crate) fn look(connection: &mut Connection, holds: Holds) -> Result<Rights, LinkError> {
    let command = bson::doc! { "connectionStatus": 1, "showPrivileges": true };
    let status = unless_refused(connection.command("admin", command))?;
    let info = status.as_ref().and_then(|status| status.get_document("authInfo").ok());
    Ok(info.map(|info| rights_in(info, holds)).unwrap_or_default())
}

fn rights_in(info: &Document, holds: Holds) -> Rights {
    let has_user = info.get_array("authenticatedUsers").is_ok_and(|users| !users.is_empty());
    let Ok(granted) = info.get_array("authenticatedUserPrivileges") else {
        return Rights::default();
    };
    if !has_user {
        return Rights::default();
    }
    let granted: Vec<&Document> = granted.iter().filter_map(|grant| grant.as_document()).collect();
    let mut missing = Vec::new();
    for (what, actions, resource) in needs(holds) {
        let has = |action: &&&str| granted.iter().any(|grant| resource.allows(grant, action));
        let lacking = actions.iter().filter(|action| !has(action));
        missing.extend(lacking.map(|action| format!("{action} on {what}")));
    }
    let create_role = (!missing.is_empty()).then(|| create_role(holds));
    Rights { missing, create_role }
}

/// What is needed: the words for it, the actions, and on what.
fn needs(holds: Holds) -> Vec<(&'static str, &'static [&'static str], Resource)> {
    let buckets = ("the buckets of time series", ON_BUCKETS, Resource::Buckets);
    let raw_data = ("all databases", ON_RAW_DATA, Resource::Data);
    let functions = ("system.js of all databases", ON_FUNCTIONS, Resource::Functions);
    let mut needs = vec![
        ("all databases", ON_DATA, Resource::Data),
        ("the cluster", ON_CLUSTER, Resource::Cluster),
        ("local.oplog.rs", ON_OPLOG, Resource::Oplog),
    ];
    needs.extend(holds.time_series.then_some(buckets));
    needs.extend(holds.raw_data.then_some(raw_data));
    needs.extend(holds.stored_functions.then_some(functions));
    needs
}

/// What actions are on.
enum Resource {
    Data,
    Cluster,
    Oplog,
    Buckets,
    Functions,
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
                Self::Buckets => text("db") == Some("") && text("system_buckets") == Some(""),
                Self::Functions => {
                    text("db") == Some("") && text("collection") == Some(STORED_FUNCTIONS)
                }
            };
        is_meant && names.any(|name| name == action || name == "anyAction")
    }

    /// The resource as a role names it.
    fn text(&self) -> &'static str {
        match self {
            Self::Data => r#"db: "", collection: """#,
            Self::Cluster => "cluster: true",
            Self::Oplog => r#"db: "local", collection: "oplog.rs""#,
            Self::Buckets => r#"db: "", system_buckets: """#,
            Self::Functions => r#"db: "", collection: "system.js""#,
        }
    }
}

/// The command that makes a role with exactly what is needed.
fn create_role(holds: Holds) -> String {
    let list = |actions: &[&str]| {
        let quoted: Vec<String> = actions.iter().map(|action| format!("\"{action}\"")).collect();
        quoted.join(", ")
    };
    let privilege = |(_, actions, resource): &(_, &[&str], Resource)| {
        format!("{{ resource: {{ {} }}, actions: [ {} ] }}", resource.text(), list(actions))
    };
    let privileges: Vec<String> = needs(holds).iter().map(privilege).collect();
    format!(
        "db.getSiblingDB(\"admin\").runCommand({{ createRole: \"{ROLE}\", privileges: [ {} ], roles: [] }})",
        privileges.join(", ")
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
        let rights = rights_in(
            &info(&[
                doc! { "resource": { "db": "", "collection": "" }, "actions": ON_DATA[1..].to_vec() },
                doc! { "resource": { "cluster": true }, "actions": ["listDatabases"] },
                doc! { "resource": { "db": "local", "collection": "" }, "actions": ["find"] },
            ]),
            Holds::default(),
        );
        assert_eq!(rights.missing, ["find on all databases", "useUUID on the cluster"]);
        let command = rights.create_role.unwrap();
        assert!(ON_DATA.iter().all(|action| command.contains(action)), "{command}");
    }

    #[test]
    fn the_manual_says_the_role_that_is_proposed() {
        let page = include_str!("../../../docs/how-to/attach-a-replica-set.md");
        let words = |text: &str| text.split_whitespace().collect::<String>();
        assert!(words(page).contains(&words(&create_role(Holds::default()))));
    }

    #[test]
    fn who_may_everything_lacks_nothing_and_neither_does_nobody() {
        let all = doc! { "resource": { "anyResource": true }, "actions": ["anyAction"] };
        let holds = Holds { time_series: true, raw_data: false, stored_functions: true };
        assert_eq!(rights_in(&info(&[all]), holds), Rights::default());
        let nobody = doc! { "authenticatedUsers": [], "authenticatedUserPrivileges": [] };
        assert_eq!(rights_in(&nobody, holds), Rights::default());
        assert!(!rights_in(&info(&[]), holds).missing.is_empty());
    }

    #[test]
    fn collections_of_the_servers_own_need_rights_of_their_own() {
        let data = doc! { "resource": { "db": "", "collection": "" }, "actions": ON_DATA.to_vec() };
        let cluster = doc! { "resource": { "cluster": true }, "actions": ON_CLUSTER.to_vec() };
        let oplog = doc! { "resource": { "db": "local", "collection": "" }, "actions": ["find"] };
        let buckets = doc! {
            "resource": { "db": "", "system_buckets": "" }, "actions": ON_BUCKETS.to_vec(),
        };
        let mut granted = vec![data, cluster, oplog];
        let holds = Holds { time_series: true, raw_data: false, stored_functions: true };
        assert_eq!(rights_in(&info(&granted), Holds::default()), Rights::default());
        let rights = rights_in(&info(&granted), holds);
        assert_eq!(rights.missing.len(), ON_BUCKETS.len() + ON_FUNCTIONS.len());
        let role = rights.create_role.unwrap();
        assert!(role.contains(r#"{ db: "", system_buckets: "" }"#), "{role}");
        granted.push(buckets);
        let missing = rights_in(&info(&granted), holds).missing;
        assert_eq!(missing[0], "find on system.js of all databases");
        assert_eq!(missing.len(), ON_FUNCTIONS.len());
    }
}
