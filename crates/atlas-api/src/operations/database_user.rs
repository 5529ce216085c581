//! How a database user is shown; the password never is.

use serde_json::{Value, json};
use tidemark_catalog::{DatabaseUser, DatabaseUserRole};

use crate::call::Call;
use crate::links::{ENCODED, link};

pub(super) fn describe(call: &Call<'_>, user: &DatabaseUser) -> Value {
    let name = percent_encoding::utf8_percent_encode(&user.username, ENCODED);
    let href =
        call.href(&format!("/groups/{}/databaseUsers/{}/{name}", user.project, user.database));
    let scopes: Vec<Value> =
        user.scopes.iter().map(|name| json!({ "name": name, "type": "CLUSTER" })).collect();
    json!({
        "awsIAMType": "NONE",
        "databaseName": user.database,
        "groupId": user.project.to_string(),
        "labels": [],
        "ldapAuthType": "NONE",
        "links": [link(href, "self")],
        "oidcAuthType": "NONE",
        "roles": user.roles.iter().map(describe_role).collect::<Vec<_>>(),
        "scopes": scopes,
        "username": user.username,
        "x509Type": "NONE",
    })
}

fn describe_role(role: &DatabaseUserRole) -> Value {
    let mut described = json!({ "databaseName": role.database, "roleName": role.role });
    if let (Some(collection), Some(fields)) = (&role.collection, described.as_object_mut()) {
        fields.insert("collectionName".to_owned(), collection.as_str().into());
    }
    described
}
