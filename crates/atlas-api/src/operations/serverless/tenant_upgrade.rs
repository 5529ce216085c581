//! `POST /groups/{groupId}/flexClusters:tenantUpgrade`: makes a flex cluster a dedicated one.
//!
//! There are no dedicated clusters here: what can be checked is checked, then it is refused.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let body = call.body()?;
    let name = body.required_text("name")?;
    match call.catalog.find_instance(project.id, name)? {
        Some(_) => Err(ApiError::tenant_update_unsupported()),
        None => Err(ApiError::cluster_not_found(name, project.id)),
    }
}
