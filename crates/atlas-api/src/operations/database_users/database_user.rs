//! Database users: how they are shown, and what a body says of them. The password is never shown.

use serde_json::{Value, json};
use tidemark_catalog::{DatabaseUser, DatabaseUserRole, Label, PasswordRecord, Project};
use tidemark_model::format_instant;

use crate::body::Body;
use crate::call::Call;
use crate::error::{ApiError, Result, SHORTEST_PASSWORD};
use crate::links::{ENCODED, link};

const ATTRIBUTES: &[&str] = &[
    "awsIAMType",
    "databaseName",
    "deleteAfterDate",
    "description",
    "groupId",
    "labels",
    "ldapAuthType",
    "links",
    "oidcAuthType",
    "password",
    "roles",
    "scopes",
    "username",
    "x509Type",
];
/// Ways to authenticate that the embedded engine does not have.
const OTHER_AUTHENTICATION: &[&str] = &["awsIAMType", "ldapAuthType", "oidcAuthType", "x509Type"];
/// Roles that hold for all databases, and are therefore given in `admin`.
const ADMIN_ROLES: &[&str] = &[
    "atlasAdmin",
    "backup",
    "clusterMonitor",
    "dbAdminAnyDatabase",
    "enableSharding",
    "readAnyDatabase",
    "readWriteAnyDatabase",
];
const DATABASE_ROLES: &[&str] = &["dbAdmin", "read", "readWrite"];
/// Roles that can be limited to one collection.
const COLLECTION_ROLES: &[&str] = &["read", "readWrite"];
/// The longest description, and the longest key and value of a label, in characters.
const LONGEST_DESCRIPTION: usize = 100;
const LONGEST_LABEL: usize = 255;

pub(super) fn describe(call: &Call<'_>, user: &DatabaseUser) -> Value {
    let name = percent_encoding::utf8_percent_encode(&user.username, ENCODED);
    let href =
        call.href(&format!("/groups/{}/databaseUsers/{}/{name}", user.project, user.database));
    let scopes: Vec<Value> =
        user.scopes.iter().map(|name| json!({ "name": name, "type": "CLUSTER" })).collect();
    let labels: Vec<Value> =
        user.labels.iter().map(|label| json!({ "key": label.key, "value": label.value })).collect();
    let mut body = json!({
        "awsIAMType": "NONE",
        "databaseName": user.database,
        "groupId": user.project.to_string(),
        "labels": labels,
        "ldapAuthType": "NONE",
        "links": [link(href, "self")],
        "oidcAuthType": "NONE",
        "roles": user.roles.iter().map(describe_role).collect::<Vec<_>>(),
        "scopes": scopes,
        "username": user.username,
        "x509Type": "NONE",
    });
    if let Some(fields) = body.as_object_mut() {
        if let Some(description) = &user.description {
            fields.insert("description".to_owned(), description.as_str().into());
        }
        if let Some(end) = user.delete_after {
            fields.insert("deleteAfterDate".to_owned(), format_instant(end).into());
        }
    }
    body
}

fn describe_role(role: &DatabaseUserRole) -> Value {
    let mut described = json!({ "databaseName": role.database, "roleName": role.role });
    if let (Some(collection), Some(fields)) = (&role.collection, described.as_object_mut()) {
        fields.insert("collectionName".to_owned(), collection.as_str().into());
    }
    described
}

/// The user of the path.
pub(super) fn find(call: &Call<'_>, project: &Project) -> Result<DatabaseUser> {
    let name = call.path_value("username");
    let key = (call.path_value("databaseName"), name);
    let user = call.catalog.find_database_user(project.id, key, call.api.clock.now())?;
    user.ok_or_else(|| ApiError::username_not_found(name))
}

/// Refuses unknown attributes, another project, and ways to authenticate that do not exist.
pub(super) fn check_unchangeable(body: &Body<'_>, project: &Project) -> Result<()> {
    body.allow(ATTRIBUTES)?;
    for attribute in OTHER_AUTHENTICATION {
        if body.text(attribute)?.is_some_and(|kind| kind != "NONE") {
            return Err(body.invalid(attribute));
        }
    }
    match body.text("groupId")? {
        Some(group) if group != project.id.to_string() => Err(ApiError::group_mismatch(group)),
        _ => Ok(()),
    }
}

pub(super) fn parse_password(call: &Call<'_>, body: &Body<'_>) -> Result<Option<PasswordRecord>> {
    match body.text("password")? {
        Some(text) if text.chars().count() < SHORTEST_PASSWORD => Err(ApiError::weak_password()),
        text => Ok(text.map(call.api.config.hash_password)),
    }
}

pub(super) fn parse_description(body: &Body<'_>) -> Result<Option<String>> {
    match body.text("description")? {
        Some(text) if text.chars().count() > LONGEST_DESCRIPTION => {
            Err(body.invalid("description"))
        }
        text => Ok(text.filter(|text| !text.is_empty()).map(str::to_owned)),
    }
}

pub(super) fn parse_labels(body: &Body<'_>) -> Result<Option<Vec<Label>>> {
    let Some(items) = body.objects("labels")? else {
        return Ok(None);
    };
    let mut labels = Vec::with_capacity(items.len());
    for item in items {
        item.allow(&["key", "value"])?;
        let part = |attribute: &str| -> Result<String> {
            let text = item.required_text(attribute)?;
            if !(1..=LONGEST_LABEL).contains(&text.chars().count()) {
                return Err(item.invalid(attribute));
            }
            Ok(text.to_owned())
        };
        labels.push(Label { key: part("key")?, value: part("value")? });
    }
    Ok(Some(labels))
}

pub(super) fn parse_roles(
    body: &Body<'_>,
    username: &str,
) -> Result<Option<Vec<DatabaseUserRole>>> {
    let Some(items) = body.objects("roles")? else {
        return Ok(None);
    };
    let mut roles: Vec<DatabaseUserRole> = Vec::new();
    for item in items {
        let role = parse_role(&item)?;
        if roles.contains(&role) {
            let name = format!("{}@{}", role.role, role.database);
            return Err(ApiError::duplicate_database_roles(username, &name));
        }
        roles.push(role);
    }
    if roles.is_empty() { Err(body.missing("roles")) } else { Ok(Some(roles)) }
}

fn parse_role(item: &Body<'_>) -> Result<DatabaseUserRole> {
    item.allow(&["databaseName", "roleName", "collectionName"])?;
    let role = item.required_text("roleName")?;
    let database = item.required_text("databaseName")?;
    if database.is_empty() {
        return Err(item.invalid("databaseName"));
    }
    let is_known = if ADMIN_ROLES.contains(&role) {
        database == "admin"
    } else {
        DATABASE_ROLES.contains(&role)
    };
    if !is_known {
        return Err(ApiError::invalid_role(role, database));
    }
    let collection = item.text("collectionName")?.filter(|collection| !collection.is_empty());
    if collection.is_some() && !COLLECTION_ROLES.contains(&role) {
        return Err(item.invalid("collectionName"));
    }
    Ok(DatabaseUserRole {
        role: role.to_owned(),
        database: database.to_owned(),
        collection: collection.map(str::to_owned),
    })
}

pub(super) fn parse_scopes(body: &Body<'_>) -> Result<Option<Vec<String>>> {
    let Some(items) = body.objects("scopes")? else {
        return Ok(None);
    };
    let mut scopes = Vec::with_capacity(items.len());
    for item in items {
        item.allow(&["name", "type"])?;
        let kind = item.one_of("type", &["CLUSTER", "DATA_LAKE", "STREAM"])?;
        if kind.ok_or_else(|| item.missing("type"))? != "CLUSTER" {
            return Err(item.invalid("type"));
        }
        scopes.push(item.required_text("name")?.to_owned());
    }
    Ok(Some(scopes))
}
