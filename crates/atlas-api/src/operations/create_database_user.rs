//! `POST /groups/{groupId}/databaseUsers`: creates a database user.

use tidemark_catalog::{CatalogError, DatabaseUser, DatabaseUserRole};
use tidemark_model::{DatabaseUserId, Role};

use crate::answer::Answer;
use crate::body::Body;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::database_user::describe;

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
const ADMIN_ROLES: &[&str] =
    &["atlasAdmin", "readWriteAnyDatabase", "readAnyDatabase", "dbAdminAnyDatabase", "backup"];
const DATABASE_ROLES: &[&str] = &["read", "readWrite", "dbAdmin"];
const SHORTEST_PASSWORD: usize = 8;
const LONGEST_USERNAME: usize = 1024;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let project = call.project(Role::GroupDatabaseAccessAdmin)?;
    let body = call.body()?;
    body.allow(ATTRIBUTES)?;
    check_unsupported(&body)?;
    let database = body
        .one_of("databaseName", &["admin", "$external"])?
        .ok_or_else(|| body.missing("databaseName"))?;
    if database != "admin" {
        return Err(body.invalid("databaseName"));
    }
    if let Some(group) = body.text("groupId")?
        && group != project.id.to_string()
    {
        return Err(body.invalid("groupId"));
    }
    let username = body.required_text("username")?;
    if username.is_empty() || username.len() > LONGEST_USERNAME || username.starts_with("__") {
        return Err(ApiError::invalid_username(username));
    }
    let password = body.required_text("password")?;
    if password.chars().count() < SHORTEST_PASSWORD {
        return Err(ApiError::weak_password());
    }
    let created_at = call.api.clock.now();
    let user = DatabaseUser {
        id: DatabaseUserId::new(created_at),
        project: project.id,
        username: username.to_owned(),
        database: database.to_owned(),
        password: (call.api.config.hash_password)(password),
        roles: parse_roles(&body)?,
        scopes: parse_scopes(&body)?,
    };
    match call.api.catalog.insert_database_user(&user, created_at) {
        Err(CatalogError::AlreadyExists(name)) => Err(ApiError::user_already_exists(&name)),
        outcome => {
            outcome?;
            Ok(Answer::created(describe(call, &user)))
        }
    }
}

/// Refuses what would be ignored.
fn check_unsupported(body: &Body<'_>) -> Result<()> {
    for attribute in OTHER_AUTHENTICATION {
        if body.text(attribute)?.is_some_and(|kind| kind != "NONE") {
            return Err(body.invalid(attribute));
        }
    }
    if body.text("deleteAfterDate")?.is_some() {
        return Err(body.invalid("deleteAfterDate"));
    }
    if body.text("description")?.is_some_and(|text| !text.is_empty()) {
        return Err(body.invalid("description"));
    }
    if body.objects("labels")?.is_some_and(|labels| !labels.is_empty()) {
        return Err(body.invalid("labels"));
    }
    Ok(())
}

fn parse_roles(body: &Body<'_>) -> Result<Vec<DatabaseUserRole>> {
    let mut roles = Vec::new();
    for item in body.objects("roles")?.ok_or_else(|| body.missing("roles"))? {
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
        // A role on one collection would be wider than it was meant.
        if item.text("collectionName")?.is_some_and(|collection| !collection.is_empty()) {
            return Err(item.invalid("collectionName"));
        }
        roles.push(DatabaseUserRole {
            role: role.to_owned(),
            database: database.to_owned(),
            collection: None,
        });
    }
    if roles.is_empty() { Err(body.missing("roles")) } else { Ok(roles) }
}

fn parse_scopes(body: &Body<'_>) -> Result<Vec<String>> {
    let mut scopes = Vec::new();
    for item in body.objects("scopes")?.unwrap_or_default() {
        item.allow(&["name", "type"])?;
        let kind = item.one_of("type", &["CLUSTER", "DATA_LAKE", "STREAM"])?;
        if kind.ok_or_else(|| item.missing("type"))? != "CLUSTER" {
            return Err(item.invalid("type"));
        }
        scopes.push(item.required_text("name")?.to_owned());
    }
    Ok(scopes)
}
