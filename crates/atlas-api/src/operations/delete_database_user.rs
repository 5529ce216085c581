//! `DELETE /groups/{groupId}/databaseUsers/{databaseName}/{username}`: removes a database user.

use tidemark_catalog::CatalogError;
use tidemark_model::Role;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let project = call.project(Role::GroupDatabaseAccessAdmin)?;
    let name = call.path_value("username");
    match call.api.catalog.delete_database_user(project.id, (call.path_value("databaseName"), name))
    {
        Err(CatalogError::Missing(_)) => Err(ApiError::username_not_found(name)),
        outcome => {
            outcome?;
            Ok(Answer::no_content())
        }
    }
}
