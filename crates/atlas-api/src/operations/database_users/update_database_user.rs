//! `PATCH /groups/{groupId}/databaseUsers/{databaseName}/{username}`: changes a database user.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::database_user::{
    check_unchangeable, describe, find, parse_description, parse_labels, parse_password,
    parse_roles, parse_scopes,
};

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let mut user = find(call, project)?;
    let body = call.body()?;
    check_unchangeable(&body, project)?;
    if body.text("username")?.is_some_and(|name| name != user.username) {
        return Err(ApiError::username_is_fixed());
    }
    if body.text("databaseName")?.is_some_and(|name| name != user.database) {
        return Err(ApiError::user_database_is_fixed());
    }
    user.password = parse_password(call, &body)?.unwrap_or(user.password);
    user.roles = parse_roles(&body, &user.username)?.unwrap_or(user.roles);
    user.scopes = parse_scopes(&body)?.unwrap_or(user.scopes);
    user.labels = parse_labels(&body)?.unwrap_or(user.labels);
    if body.has("description") {
        user.description = parse_description(&body)?;
    }
    if body.has("deleteAfterDate") {
        user.delete_after = body.delete_after_date(call.api.clock.now())?;
    }
    call.catalog.update_database_user(&user)?;
    Ok(Answer::entity(describe(call, &user)))
}
