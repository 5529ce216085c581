//! `DELETE /groups/{groupId}`: removes a project without instances.

use tidemark_catalog::{CatalogError, Project};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    match call.catalog.delete_project(project.id, call.api.clock.now()) {
        Err(CatalogError::InUse(_)) => Err(ApiError::group_has_clusters()),
        Err(CatalogError::Missing(_)) => Err(ApiError::group_not_found(project.id)),
        outcome => {
            outcome?;
            Ok(Answer::accepted())
        }
    }
}
