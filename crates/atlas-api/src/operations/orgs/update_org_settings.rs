//! `PATCH /orgs/{orgId}/settings`: changes the settings of an organization.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::org_settings::{change, describe};

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    let changed = Org { settings: change(&org.settings, &call.body()?)?, ..org.clone() };
    call.catalog.update_org(&changed)?;
    Ok(Answer::entity(describe(&changed)))
}
