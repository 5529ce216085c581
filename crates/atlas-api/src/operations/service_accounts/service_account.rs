//! Service accounts: how they are shown, and what a body says of them.
//!
//! These resources are younger than the others: all that is wrong with a body is told at once.

use jiff::SignedDuration;
use serde_json::{Map, Value, json};
use tidemark_catalog::{AccountSecret, NewSecret, Org, Project, ServiceAccount};
use tidemark_model::{ProjectId, Role, Secret, ServiceAccountId, format_instant};

use crate::body::Body;
use crate::call::Call;
use crate::credentials::{client_id_of, new_account_secret, secret_record};
use crate::error::{ApiError, Result, Violation};
use crate::operations::orgs::org_settings::{SHORTEST_SECRET_HOURS, longest_secret_hours};
use crate::operations::principals::delete_secret;
use crate::operations::roles_in_bodies::parse_together;

const LONGEST_NAME: usize = 64;
const LONGEST_DESCRIPTION: usize = 250;
/// Secrets of an account that have not ended, at most.
pub(super) const MOST_SECRETS: u32 = 2;

/// Where roles of an account are looked at: in its organization, or in one project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Org,
    Project(ProjectId),
}

impl Place {
    fn fits(self) -> fn(Role) -> bool {
        match self {
            Self::Org => Role::is_org_role,
            Self::Project(_) => |role| !role.is_org_role(),
        }
    }

    /// The roles of an account there.
    fn roles(self, account: &ServiceAccount) -> Vec<&'static str> {
        match self {
            Self::Org => account.roles.org.iter().map(|role| role.as_str()).collect(),
            Self::Project(id) => account.roles.in_project(id).map(Role::as_str).collect(),
        }
    }

    /// Gives an account its roles there.
    pub(super) fn set_roles(self, account: &mut ServiceAccount, roles: &[Role]) {
        match self {
            Self::Org => account.roles.org = roles.to_vec(),
            Self::Project(id) => account.roles.set_in_project(id, roles),
        }
    }
}

/// An account with its secrets masked.
pub(super) fn describe(call: &Call<'_>, account: &ServiceAccount, place: Place) -> Result<Value> {
    let secrets = call.catalog.list_account_secrets(account.id)?;
    Ok(show(account, place, secrets.iter().map(describe_secret).collect()))
}

/// An account that was just made, with its secret: the only time it is shown.
pub(crate) fn describe_new(
    account: &ServiceAccount,
    place: Place,
    (record, secret): (&NewSecret, &Secret),
) -> Value {
    show(account, place, vec![describe_new_secret(record, secret)])
}

fn show(account: &ServiceAccount, place: Place, secrets: Vec<Value>) -> Value {
    json!({
        "clientId": client_id_of(account.id),
        "createdAt": format_instant(account.created_at),
        "description": account.description,
        "name": account.name,
        "roles": place.roles(account),
        "secrets": secrets,
        // Of a newer schema than the recordings; the official Python client requires it.
        "systemManaged": false,
    })
}

fn describe_secret(secret: &AccountSecret) -> Value {
    let mut body = json!({
        "createdAt": format_instant(secret.created_at),
        "expiresAt": format_instant(secret.expires_at),
        "id": secret.id.to_string(),
        "maskedSecretValue": secret.masked,
    });
    if let (Some(at), Some(fields)) = (secret.last_used_at, body.as_object_mut()) {
        fields.insert("lastUsedAt".to_owned(), format_instant(at).into());
    }
    body
}

pub(super) fn describe_new_secret(record: &NewSecret, secret: &Secret) -> Value {
    json!({
        "createdAt": format_instant(record.created_at),
        "expiresAt": format_instant(record.expires_at),
        "id": record.id.to_string(),
        "secret": secret.expose(),
    })
}

/// The account of the path, if the organization has it.
pub(crate) fn find_in_org(call: &Call<'_>, org: &Org) -> Result<ServiceAccount> {
    let id = call.account_id()?;
    let account = call.catalog.find_service_account(id)?;
    account
        .filter(|account| account.org == org.id)
        .ok_or_else(|| ApiError::service_account_not_found(&client_id_of(id)))
}

/// The account of the path, if it has a role in the project.
pub(crate) fn find_in_project(call: &Call<'_>, project: &Project) -> Result<ServiceAccount> {
    let id = call.account_id()?;
    let account = call.catalog.find_service_account(id)?;
    account
        .filter(|account| account.roles.in_project(project.id).next().is_some())
        .ok_or_else(|| ApiError::service_account_not_found(&client_id_of(id)))
}

/// The same, for who wants its secrets or addresses: an account that may do what the caller may not
/// is not theirs to use.
pub(crate) fn find_to_control(call: &Call<'_>, project: &Project) -> Result<ServiceAccount> {
    let account = find_in_project(call, project)?;
    let (org, caller) = (account.org, call.caller);
    let mut org_roles = account.roles.org.iter().filter(|role| **role != Role::OrgMember);
    let mut project_roles = account.roles.projects.iter();
    if org_roles.all(|role| caller.may_in_org(org, *role))
        && project_roles.all(|(project, role)| caller.may_in_project(org, *project, *role))
    {
        Ok(account)
    } else {
        Err(ApiError::not_authorized())
    }
}

/// What is wrong with a body, as far as it was read.
struct Checks<'a> {
    body: &'a Body<'a>,
    violations: Vec<Violation>,
}

impl<'a> Checks<'a> {
    fn new(body: &'a Body<'a>) -> Self {
        Self { body, violations: Vec::new() }
    }

    fn add(&mut self, field: &str, description: impl Into<String>) {
        let violation = Violation { field: field.to_owned(), description: description.into() };
        self.violations.push(violation);
    }

    /// A name or description: letters, digits and some punctuation.
    fn words(&mut self, field: &str, longest: usize) -> Result<Option<String>> {
        let Some(text) = self.body.text(field)? else {
            return Ok(None);
        };
        let is_allowed = |c: char| c.is_alphanumeric() || "-_.,' ".contains(c);
        if !(1..=longest).contains(&text.chars().count()) || !text.chars().all(is_allowed) {
            self.add(
                field,
                format!("Must have 1 to {longest} letters, digits, spaces or any of - _ . , '"),
            );
        }
        Ok(Some(text.to_owned()))
    }

    fn roles(&mut self, place: Place) -> Result<Option<Vec<Role>>> {
        let Some(names) = self.body.texts("roles")? else {
            return Ok(None);
        };
        Ok(Some(parse_together(&names, place.fits(), &mut self.violations)))
    }

    fn secret_hours(&mut self, settings: &Map<String, Value>) -> Result<i64> {
        let longest = longest_secret_hours(settings);
        let field = "secretExpiresAfterHours";
        let hours = self.body.integer(field)?.ok_or_else(|| self.body.missing(field))?;
        if !(SHORTEST_SECRET_HOURS..=longest).contains(&hours) {
            self.add(field, format!("Must be between {SHORTEST_SECRET_HOURS} and {longest}."));
        }
        Ok(hours)
    }

    fn finish(self) -> Result<()> {
        if self.violations.is_empty() { Ok(()) } else { Err(ApiError::validation(self.violations)) }
    }
}

/// A new account with its first secret, which is not kept.
pub(crate) fn make(
    call: &Call<'_>,
    org: &Org,
    body: &Body<'_>,
    place: Place,
) -> Result<(ServiceAccount, NewSecret, Secret)> {
    body.allow(&["description", "name", "roles", "secretExpiresAfterHours"])?;
    let mut checks = Checks::new(body);
    let name = checks.words("name", LONGEST_NAME)?.ok_or_else(|| body.missing("name"))?;
    let description = checks
        .words("description", LONGEST_DESCRIPTION)?
        .ok_or_else(|| body.missing("description"))?;
    let roles = checks.roles(place)?.ok_or_else(|| body.missing("roles"))?;
    if roles.is_empty() && checks.violations.is_empty() {
        checks.add("roles", "Must have at least one role.");
    }
    let hours = checks.secret_hours(&org.settings)?;
    checks.finish()?;
    let created_at = call.api.clock.now();
    let mut account = ServiceAccount {
        id: ServiceAccountId::new(created_at),
        org: org.id,
        name,
        description,
        roles: tidemark_model::Roles { org: vec![Role::OrgMember], projects: Vec::new() },
        created_at,
    };
    place.set_roles(&mut account, &roles);
    let secret = new_account_secret();
    let record = secret_record(&secret, created_at, SignedDuration::from_hours(hours));
    Ok((account, record, secret))
}

/// What a body changes on an account.
pub(super) fn change(account: &mut ServiceAccount, body: &Body<'_>, place: Place) -> Result<()> {
    body.allow(&["description", "name", "roles"])?;
    let mut checks = Checks::new(body);
    let name = checks.words("name", LONGEST_NAME)?;
    let description = checks.words("description", LONGEST_DESCRIPTION)?;
    let roles = checks.roles(place)?;
    if roles.as_ref().is_some_and(Vec::is_empty) && checks.violations.is_empty() {
        checks.add("roles", "Must have at least one role.");
    }
    checks.finish()?;
    account.name = name.unwrap_or_else(|| account.name.clone());
    account.description = description.unwrap_or_else(|| account.description.clone());
    if let Some(roles) = roles {
        place.set_roles(account, &roles);
    }
    Ok(())
}

/// The roles of a body that only assigns roles.
pub(super) fn parse_assignment(body: &Body<'_>, place: Place) -> Result<Vec<Role>> {
    body.allow(&["roles"])?;
    let mut checks = Checks::new(body);
    let roles = checks.roles(place)?.ok_or_else(|| body.missing("roles"))?;
    if roles.is_empty() && checks.violations.is_empty() {
        checks.add("roles", "Must have at least one role.");
    }
    checks.finish()?;
    Ok(roles)
}

/// Makes another secret for an account.
pub(super) fn add_secret(
    call: &Call<'_>,
    account: ServiceAccountId,
    settings: &Map<String, Value>,
) -> Result<Value> {
    let body = call.body()?;
    body.allow(&["secretExpiresAfterHours"])?;
    let mut checks = Checks::new(&body);
    let hours = checks.secret_hours(settings)?;
    checks.finish()?;
    let secret = new_account_secret();
    let record = secret_record(&secret, call.api.clock.now(), SignedDuration::from_hours(hours));
    match call.catalog.insert_account_secret(account, &record, MOST_SECRETS) {
        Err(tidemark_catalog::CatalogError::InUse(_)) => {
            Err(ApiError::too_many_secrets(MOST_SECRETS))
        }
        outcome => {
            outcome?;
            Ok(describe_new_secret(&record, &secret))
        }
    }
}

/// Removes the secret of the path from an account.
pub(super) fn remove_secret(call: &Call<'_>, account: &ServiceAccount) -> Result<()> {
    delete_secret(call, (account.org, account.id), call.secret_id()?)
}

/// The organization of a project.
pub(super) fn org_of(call: &Call<'_>, project: &Project) -> Result<Org> {
    let org = call.catalog.find_org(project.org)?;
    org.ok_or_else(|| ApiError::org_not_found(&project.org.to_string()))
}
