//! `PATCH /orgs/{orgId}`: renames an organization.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::org::{SKIP_ALERTS, describe, parse_name};

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    let body = call.body()?;
    body.allow(&["id", "isDeleted", "links", "name", "skipDefaultAlertsSettings"])?;
    let mut changed = org.clone();
    changed.name = parse_name(&body)?.unwrap_or(changed.name);
    if let Some(skips) = body.flag(SKIP_ALERTS)? {
        changed.settings.insert(SKIP_ALERTS.to_owned(), skips.into());
    }
    call.catalog.update_org(&changed)?;
    Ok(Answer::entity(describe(call, &changed)))
}
