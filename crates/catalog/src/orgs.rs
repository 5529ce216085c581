//! Organizations.

use crate::database::{Connection, Row};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tidemark_model::OrgId;

use crate::api_keys::{self, ApiKey};
use crate::catalog::{Catalog, one_row};
use crate::error::CatalogError;
use crate::projects::{self, Project};
use crate::row::{Decoder, to_json};
use crate::service_accounts::{self, NewSecret, ServiceAccount};

/// An organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Org {
    /// Its id.
    pub id: OrgId,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// What was set, by the names of the API; absent is the default.
    pub settings: Map<String, Value>,
}

/// Everything that a new organization begins with.
#[derive(Debug, Clone, Copy)]
pub struct NewOrg<'a> {
    /// The organization.
    pub org: &'a Org,
    /// Its projects.
    pub projects: &'a [Project],
    /// Its API keys.
    pub keys: &'a [ApiKey],
    /// Its service accounts, each with a secret.
    pub accounts: &'a [(ServiceAccount, NewSecret)],
}

fn decode(row: &Row) -> Result<Org, CatalogError> {
    let row = Decoder::new("orgs", row);
    Ok(Org {
        id: row.parse("id")?,
        name: row.get("name")?,
        created_at: row.instant("created_at")?,
        settings: row.json("settings")?,
    })
}

/// Records an organization with all it begins with; the caller commits.
pub(crate) fn insert(connection: &Connection, new: &NewOrg<'_>) -> Result<(), CatalogError> {
    let org = new.org;
    connection.execute(
        "INSERT INTO orgs (id, name, created_at, settings) VALUES (?1, ?2, ?3, ?4)",
        (org.id.to_string(), &org.name, org.created_at.as_second(), to_json(&org.settings)),
    )?;
    for project in new.projects {
        projects::insert(connection, project)?;
    }
    for key in new.keys {
        api_keys::insert(connection, key)?;
    }
    for (account, secret) in new.accounts {
        service_accounts::insert(connection, account)?;
        service_accounts::insert_secret(connection, account.id, secret)?;
    }
    Ok(())
}

impl Catalog {
    /// Records an organization with its first projects and credentials, all or nothing.
    pub fn insert_org(&self, new: &NewOrg<'_>) -> Result<(), CatalogError> {
        self.transact(|catalog| {
            let transaction = catalog.lock();
            insert(&transaction, new)?;
            Ok(())
        })
    }

    /// The first organization, if the server was set up.
    pub fn find_first_org(&self) -> Result<Option<Org>, CatalogError> {
        let connection = self.read()?;
        let mut statement =
            connection.prepare_cached("SELECT * FROM orgs ORDER BY created_at, id LIMIT 1")?;
        let mut rows = statement.query(())?;
        rows.next()?.map(decode).transpose()
    }

    /// The organization with this id.
    pub fn find_org(&self, id: OrgId) -> Result<Option<Org>, CatalogError> {
        let connection = self.read()?;
        let mut statement =
            connection.prepare_cached("SELECT * FROM orgs WHERE id = ?1 AND deleted_at IS NULL")?;
        let mut rows = statement.query([id.to_string()])?;
        rows.next()?.map(decode).transpose()
    }

    /// Records the name and the settings of an organization.
    pub fn update_org(&self, org: &Org) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE orgs SET name = ?2, settings = ?3 WHERE id = ?1 AND deleted_at IS NULL",
            (org.id.to_string(), &org.name, to_json(&org.settings)),
        )?;
        one_row(changed, || CatalogError::Missing(format!("organization {}", org.id)))
    }

    /// Deletes an organization without projects; its credentials end with it.
    pub fn delete_org(&self, id: OrgId, at: Timestamp) -> Result<(), CatalogError> {
        self.transact(|catalog| {
        let transaction = catalog.lock();
        let org = id.to_string();
        let has_projects: bool = transaction.query_row(
            "SELECT EXISTS (SELECT 1 FROM projects WHERE org_id = ?1 AND deleted_at IS NULL)",
            [&org],
            |row| row.get(0),
        )?;
        if has_projects {
            return Err(CatalogError::InUse(format!("organization {id} has projects")));
        }
        let changed = transaction.execute(
            "UPDATE orgs SET deleted_at = ?2 WHERE id = ?1 AND deleted_at IS NULL",
            (&org, at.as_second()),
        )?;
        one_row(changed, || CatalogError::Missing(format!("organization {id}")))?;
        transaction.execute(
            "DELETE FROM service_account_secrets WHERE account_id IN
                 (SELECT id FROM service_accounts WHERE org_id = ?1)",
            [&org],
        )?;
        transaction.execute(
            "DELETE FROM access_entries WHERE principal IN
                 (SELECT id FROM service_accounts WHERE org_id = ?1 UNION SELECT id FROM api_keys WHERE org_id = ?1)",
            [&org],
        )?;
        transaction.execute("DELETE FROM service_accounts WHERE org_id = ?1", [&org])?;
        transaction.execute("DELETE FROM api_keys WHERE org_id = ?1", [&org])?;
        Ok(())
        })
    }
}
