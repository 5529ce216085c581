//! Writing API keys and service accounts: the one way to do it, whichever operation wants it.
//!
//! Nobody grants or takes what their own roles do not cover; what an owner of the organization may
//! do is changed by owners only; and the last credential of an owner stays.

use tidemark_catalog::{ApiKey, NewSecret, ServiceAccount};
use tidemark_model::{ApiKeyId, OrgId, Role, Roles, SecretId, ServiceAccountId};

use crate::call::Call;
use crate::error::{ApiError, Result};

/// Refuses a change of roles that the caller's own do not cover.
fn check_grant(call: &Call<'_>, org: OrgId, (before, after): (&Roles, &Roles)) -> Result<()> {
    let caller = call.caller;
    let is_owner = before.org.contains(&Role::OrgOwner);
    let covers_owner = caller.may_in_org(org, Role::OrgOwner);
    let differs = |role: &&Role| **role != Role::OrgMember;
    let granted = after.org.iter().filter(|role| !before.org.contains(role));
    let taken = before.org.iter().filter(|role| !after.org.contains(role));
    let covers_org = granted.chain(taken).filter(differs).all(|role| caller.may_in_org(org, *role));
    let granted = after.projects.iter().filter(|role| !before.projects.contains(role));
    let taken = before.projects.iter().filter(|role| !after.projects.contains(role));
    let covers_projects =
        granted.chain(taken).all(|(project, role)| caller.may_in_project(org, *project, *role));
    if covers_org && covers_projects && (covers_owner || !is_owner) {
        Ok(())
    } else {
        Err(ApiError::not_authorized())
    }
}

/// Makes a change, unless nobody would own the organization any more after it.
fn keep_owner(call: &Call<'_>, org: OrgId, change: impl FnOnce() -> Result<()>) -> Result<()> {
    let has_owner = || call.catalog.has_owner(org, call.api.clock.now());
    let had_owner = has_owner()?;
    change()?;
    // The error takes the change back: both are in one transaction.
    if had_owner && !has_owner()? { Err(ApiError::last_org_owner()) } else { Ok(()) }
}

pub(super) fn insert_key(call: &Call<'_>, key: &ApiKey) -> Result<()> {
    check_grant(call, key.org, (&Roles::default(), &key.roles))?;
    Ok(call.catalog.insert_api_key(key)?)
}

pub(super) fn update_key(call: &Call<'_>, before: &Roles, key: &ApiKey) -> Result<()> {
    check_grant(call, key.org, (before, &key.roles))?;
    keep_owner(call, key.org, || Ok(call.catalog.update_api_key(key)?))
}

pub(super) fn delete_key(call: &Call<'_>, org: OrgId, id: ApiKeyId) -> Result<()> {
    keep_owner(call, org, || Ok(call.catalog.delete_api_key(id)?))
}

pub(super) fn insert_account(
    call: &Call<'_>,
    account: &ServiceAccount,
    secret: &NewSecret,
) -> Result<()> {
    check_grant(call, account.org, (&Roles::default(), &account.roles))?;
    Ok(call.catalog.insert_service_account(account, secret)?)
}

pub(super) fn update_account(
    call: &Call<'_>,
    before: &Roles,
    account: &ServiceAccount,
) -> Result<()> {
    check_grant(call, account.org, (before, &account.roles))?;
    keep_owner(call, account.org, || Ok(call.catalog.update_service_account(account)?))
}

pub(super) fn delete_account(call: &Call<'_>, account: &ServiceAccount) -> Result<()> {
    keep_owner(call, account.org, || Ok(call.catalog.delete_service_account(account.id)?))
}

pub(super) fn delete_secret(
    call: &Call<'_>,
    (org, account): (OrgId, ServiceAccountId),
    secret: SecretId,
) -> Result<()> {
    keep_owner(call, org, || match call.catalog.delete_account_secret(account, secret) {
        Err(tidemark_catalog::CatalogError::Missing(_)) => {
            Err(ApiError::secret_not_found(&secret.to_string()))
        }
        outcome => Ok(outcome?),
    })
}
