//! How the roles of a principal are kept: a JSON list of pairs, project or null, and role.

use jiff::Timestamp;
use rusqlite::Connection;
use tidemark_model::{OrgId, Principal, ProjectId, Role, Roles};

use crate::catalog::{Catalog, one_row};
use crate::error::CatalogError;
use crate::row::{Decoder, to_json};

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

/// The condition that a principal has a role in the project of the second parameter.
pub(crate) const IN_PROJECT: &str =
    "EXISTS (SELECT 1 FROM json_each(roles) WHERE json_extract(value, '$[0]') = ?2)";

impl Catalog {
    /// Whether somebody can act as an owner of an organization: an API key, or a service account
    /// with a secret that works.
    pub fn has_owner(&self, org: OrgId, now: Timestamp) -> Result<bool, CatalogError> {
        const OWNS: &str = "EXISTS (SELECT 1 FROM json_each(roles)
             WHERE json_extract(value, '$[0]') IS NULL AND json_extract(value, '$[1]') = 'ORG_OWNER')";
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(&format!(
            "SELECT EXISTS (SELECT 1 FROM api_keys WHERE org_id = ?1 AND {OWNS})
             OR EXISTS (SELECT 1 FROM service_accounts a WHERE org_id = ?1 AND {OWNS}
                 AND EXISTS (SELECT 1 FROM service_account_secrets s
                     WHERE s.account_id = a.id AND s.expires_at > ?2))"
        ))?;
        Ok(statement.query_row((org.to_string(), now.as_second()), |row| row.get(0))?)
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
    let changed = connection.execute(
        &format!(
            "UPDATE {table} SET roles = json_insert(roles, '$[#]', json_array(?2, ?3)) WHERE id = ?1"
        ),
        (principal.id(), project.to_string(), role.as_str()),
    )?;
    one_row(changed, || CatalogError::Missing(format!("{principal:?}")))
}

/// Takes the roles in a project that ends from everybody.
pub(crate) fn forget_project(
    connection: &Connection,
    project: ProjectId,
) -> Result<(), CatalogError> {
    for table in TABLES {
        connection.execute(
            &format!(
                "UPDATE {table} SET roles = (
                     SELECT coalesce(json_group_array(json(value)), '[]') FROM json_each(roles)
                     WHERE json_extract(value, '$[0]') IS NOT ?1)
                 WHERE instr(roles, ?1) > 0"
            ),
            [project.to_string()],
        )?;
    }
    Ok(())
}
