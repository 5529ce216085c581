//! `GET /groups/{groupId}/databaseUsers`: the database users of a project.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_body;

use super::database_user::describe;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let paged = call.catalog.list_database_users(project.id, call.page()?)?;
    list_body(call, &paged, |user| describe(call, user)).map(Answer::list)
}
