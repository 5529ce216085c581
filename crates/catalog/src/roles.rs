//! How the roles of a principal are kept: a JSON list of pairs, project or null, and role.

use crate::database::Connection;
use jiff::Timestamp;
use tidemark_model::{OrgId, Principal, ProjectId, Role, Roles};

use crate::catalog::{Catalog, one_row};
use crate::error::CatalogError;
use crate::row::{Decoder, decode_all, to_json};

/// The tables whose rows have roles.
const TABLES: [&str; 2] = ["api_keys", "service_accounts"];

pub(crate) fn encode(roles: &Roles) -> String {
    let org = roles.org.iter().map(|role| (None, role.as_str()));
    let projects = roles.projects.iter().map(|(id, role)| (Some(id.to_string()), role.as_str()));
    to_json(&org.chain(projects).collect::<Vec<(Option<String>, &str)>>())
}

pub(crate) fn decode(row: &Decoder<'_>) -> Result<Roles, CatalogError> {
    let stored: Vec<(Option<String>, String)> = row.json("roles")?;
    let mut roles = Roles::default();
    for (project, name) in stored {
        let role = Role::parse(&name)
            .ok_or_else(|| row.corrupt(format!("the role {name:?} does not exist")))?;
        match project {
            None => roles.org.push(role),
            Some(project) => {
                let project =
                    project.parse().map_err(|_| row.corrupt(format!("a role in {project:?}")))?;
                roles.projects.push((project, role));
            }
        }
    }
    Ok(roles)
}

/// Whether somebody has a role in a project, or no project is asked for.
pub(crate) fn is_in(roles: &Roles, project: Option<ProjectId>) -> bool {
    project.is_none_or(|project| roles.projects.iter().any(|(id, _)| *id == project))
}

impl Catalog {
    /// Whether somebody can act as an owner of an organization: an API key, or a service account
    /// with a secret that works.
    pub fn has_owner(&self, org: OrgId, now: Timestamp) -> Result<bool, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT id, roles FROM api_keys WHERE org_id = ?1
             UNION ALL
             SELECT id, roles FROM service_accounts a WHERE org_id = ?1 AND EXISTS (
                 SELECT 1 FROM service_account_secrets s WHERE s.account_id = a.id AND s.expires_at > ?2)",
        )?;
        let mut rows = statement.query((org.to_string(), now.as_second()))?;
        while let Some(row) = rows.next()? {
            if decode(&Decoder::new("roles", row))?.org.contains(&Role::OrgOwner) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Gives a principal one more role.
pub(crate) fn grant(
    connection: &Connection,
    principal: Principal,
    (project, role): (ProjectId, Role),
) -> Result<(), CatalogError> {
    let table = match principal {
        Principal::ApiKey(_) => "api_keys",
        Principal::ServiceAccount(_) => "service_accounts",
    };
    change(connection, table, "id = ?1", &principal.id(), |roles| {
        roles.projects.push((project, role));
    })
    .and_then(|changed| one_row(changed, || CatalogError::Missing(format!("{principal:?}"))))
}

/// Takes the roles in a project that ends from everybody.
pub(crate) fn forget_project(
    connection: &Connection,
    project: ProjectId,
) -> Result<(), CatalogError> {
    let text = format!("%{project}%");
    for table in TABLES {
        change(connection, table, "roles LIKE ?1", &text, |roles| {
            roles.projects.retain(|(id, _)| *id != project);
        })?;
    }
    Ok(())
}

/// Changes the roles of those rows of a table for which a condition holds; answers how many.
fn change(
    connection: &Connection,
    table: &'static str,
    condition: &str,
    parameter: &str,
    change: impl Fn(&mut Roles),
) -> Result<usize, CatalogError> {
    let sql = format!("SELECT id, roles FROM {table} WHERE {condition}");
    let found = decode_all(connection.prepare_cached(&sql)?.query([parameter])?, |row| {
        let row = Decoder::new(table, row);
        Ok((row.get::<String>("id")?, decode(&row)?))
    })?;
    for (id, roles) in &found {
        let mut roles = roles.clone();
        change(&mut roles);
        let sql = format!("UPDATE {table} SET roles = ?2 WHERE id = ?1");
        connection.execute(&sql, (id, encode(&roles)))?;
    }
    Ok(found.len())
}
