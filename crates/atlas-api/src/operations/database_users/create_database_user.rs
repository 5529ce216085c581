//! `POST /groups/{groupId}/databaseUsers`: creates a database user.

use tidemark_catalog::{CatalogError, DatabaseUser, Project};
use tidemark_model::DatabaseUserId;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::database_user::{
    check_unchangeable, describe, parse_description, parse_labels, parse_password, parse_roles,
    parse_scopes,
};
use crate::operations::groups::limits;

const LONGEST_USERNAME: usize = 1024;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let body = call.body()?;
    check_unchangeable(&body, project)?;
    let database = body
        .one_of("databaseName", &["admin", "$external"])?
        .ok_or_else(|| body.missing("databaseName"))?;
    if database != "admin" {
        return Err(body.invalid("databaseName"));
    }
    let username = body.required_text("username")?;
    if username.is_empty() || username.len() > LONGEST_USERNAME || username.starts_with("__") {
        return Err(ApiError::invalid_username(username));
    }
    let created_at = call.api.clock.now();
    let user = DatabaseUser {
        id: DatabaseUserId::new(created_at),
        project: project.id,
        username: username.to_owned(),
        database: database.to_owned(),
        password: parse_password(call, &body)?.ok_or_else(|| body.missing("password"))?,
        roles: parse_roles(&body, username)?.ok_or_else(|| body.missing("roles"))?,
        scopes: parse_scopes(&body)?.unwrap_or_default(),
        description: parse_description(&body)?,
        labels: parse_labels(&body)?.unwrap_or_default(),
        delete_after: body.delete_after_date(created_at)?,
    };
    let wanted = call.catalog.count_database_users(project.id)? + 1;
    limits::check(project, limits::USERS, wanted, ApiError::too_many_database_users)?;
    match call.catalog.insert_database_user(&user, created_at) {
        Err(CatalogError::AlreadyExists(name)) => Err(ApiError::user_already_exists(&name)),
        outcome => {
            outcome?;
            Ok(Answer::created(describe(call, &user)))
        }
    }
}
