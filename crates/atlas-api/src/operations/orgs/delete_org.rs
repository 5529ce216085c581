//! `DELETE /orgs/{orgId}`: removes an organization without projects.

use tidemark_catalog::{CatalogError, Org};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    match call.catalog.delete_org(org.id, call.api.clock.now()) {
        Err(CatalogError::InUse(_)) => Err(ApiError::org_not_empty()),
        outcome => {
            outcome?;
            Ok(Answer::no_content())
        }
    }
}
