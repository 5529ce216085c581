//! Who changes something, recorded with the change.

use jiff::Timestamp;
use serde_json::{Map, Value};
use tidemark_catalog::{AuditEntry, AuditScope, Catalog, CatalogError};
use tidemark_model::{OrgId, ProjectId};

/// Parts of a path after which a project is named: of the API, and of the console.
const PROJECTS: &[&str] = &["groups", "projects"];
/// Parts of a path after which an instance is named.
const INSTANCES: &[&str] = &["serverless", "flexClusters", "clusters", "instances", "deployments"];

/// Who does what to what.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// When.
    pub at: Timestamp,
    /// Who: a principal's id, or a part of the server.
    pub actor: &'a str,
    /// From where, if it came over the network.
    pub address: Option<&'a str>,
    /// What: an operation's id.
    pub action: &'a str,
    /// On what: a path or an id.
    pub subject: &'a str,
}

/// What is known of a change once it is made: what the path could not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Made {
    /// The organization.
    pub org: Option<OrgId>,
    /// The project.
    pub project: Option<ProjectId>,
    /// The instance, by its name.
    pub instance: Option<String>,
    /// What else is told of it, by Atlas's names of attributes.
    pub detail: Map<String, Value>,
}

/// Does work in one transaction of the catalog, with a record of who did it. Work that fails
/// changes nothing and is not recorded.
pub fn change<T, E: From<CatalogError>>(
    catalog: &Catalog,
    change: Change<'_>,
    work: impl FnMut(&Catalog) -> Result<T, E>,
) -> Result<T, E> {
    change_and_tell(catalog, change, work, |_| Made::default())
}

/// The same, with what the record tells of what was made.
pub fn change_and_tell<T, E: From<CatalogError>>(
    catalog: &Catalog,
    change: Change<'_>,
    mut work: impl FnMut(&Catalog) -> Result<T, E>,
    tell: impl Fn(&T) -> Made,
) -> Result<T, E> {
    catalog.transact(|catalog| {
        // What is deleted is known before.
        let mut scope = scope_of(catalog, change.subject)?;
        let value = work(catalog)?;
        let Made { org, project, instance, detail } = tell(&value);
        scope.org = scope.org.or(org);
        scope.project = scope.project.or(project);
        scope.instance = scope.instance.or(instance);
        scope.detail.extend(detail);
        if scope.family.is_none() {
            scope.family = family_of(catalog, &scope)?;
        }
        catalog.record_audit(&AuditEntry {
            at: change.at,
            actor: change.actor.to_owned(),
            address: change.address.map(str::to_owned),
            action: change.action.to_owned(),
            subject: change.subject.to_owned(),
            scope,
        })?;
        Ok(value)
    })
}

/// What a path is about.
fn scope_of(catalog: &Catalog, path: &str) -> Result<AuditScope, CatalogError> {
    let parts: Vec<&str> = path.split('/').collect();
    let after = |names: &[&str]| {
        parts.windows(2).find_map(|pair| match pair {
            [name, next] if names.contains(name) => Some(*next),
            _ => None,
        })
    };
    let mut scope = AuditScope {
        org: after(&["orgs"]).and_then(|text| text.parse().ok()),
        project: after(PROJECTS).and_then(|text| text.parse().ok()),
        instance: after(INSTANCES).map(decode),
        ..AuditScope::default()
    };
    if let Some(project) = scope.project {
        scope.org = catalog.find_project(project)?.map(|project| project.org);
    }
    scope.family = family_of(catalog, &scope)?;
    Ok(scope)
}

/// A part of a path as it was meant.
fn decode(part: &str) -> String {
    percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
}

fn family_of(catalog: &Catalog, scope: &AuditScope) -> Result<Option<String>, CatalogError> {
    let (Some(project), Some(name)) = (scope.project, &scope.instance) else { return Ok(None) };
    let found = catalog.find_instance(project, name)?;
    Ok(found.map(|found| found.family.as_str().to_owned()))
}
