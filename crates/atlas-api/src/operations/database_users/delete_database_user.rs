//! `DELETE /groups/{groupId}/databaseUsers/{databaseName}/{username}`: removes a database user.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::database_user::find;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let user = find(call, project)?;
    call.catalog.delete_database_user(project.id, (&user.database, &user.username))?;
    Ok(Answer::no_content())
}
