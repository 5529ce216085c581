//! API keys.

use crate::database::{Connection, Row};
use jiff::Timestamp;
use tidemark_model::{ApiKeyId, OrgId, ProjectId, Roles};

use crate::catalog::{Catalog, Page, Paged, one_row, taken};
use crate::error::CatalogError;
use crate::roles;
use crate::row::{Decoder, decode_all};

/// An API key, without its private part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Its organization.
    pub org: OrgId,
    /// The public part: the user name of digest authentication.
    pub public_key: String,
    /// MD5 of `publicKey:realm:privateKey`, which is what digest authentication needs.
    pub ha1: String,
    /// The private part as it is shown: all but its end masked.
    pub masked_private_key: String,
    /// What it is for.
    pub description: String,
    /// What it may do.
    pub roles: Roles,
    /// When it was made.
    pub created_at: Timestamp,
}

fn decode(row: &Row) -> Result<ApiKey, CatalogError> {
    let row = Decoder::new("api_keys", row);
    Ok(ApiKey {
        id: row.parse("id")?,
        org: row.parse("org_id")?,
        public_key: row.get("public_key")?,
        ha1: row.get("ha1")?,
        masked_private_key: row.get("masked_private_key")?,
        description: row.get("description")?,
        roles: roles::decode(&row)?,
        created_at: row.instant("created_at")?,
    })
}

pub(crate) fn insert(connection: &Connection, key: &ApiKey) -> Result<(), CatalogError> {
    connection
        .execute(
            "INSERT INTO api_keys (id, org_id, public_key, ha1, masked_private_key, description, roles, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            (
                key.id.to_string(),
                key.org.to_string(),
                &key.public_key,
                &key.ha1,
                &key.masked_private_key,
                &key.description,
                roles::encode(&key.roles),
                key.created_at.as_second(),
            ),
        )
        .map_err(|error| taken(error, &key.public_key))?;
    Ok(())
}

impl Catalog {
    /// Records an API key; its public part must be new.
    pub fn insert_api_key(&self, key: &ApiKey) -> Result<(), CatalogError> {
        insert(&self.lock(), key)
    }

    /// The API key with this public part.
    pub fn find_api_key(&self, public_key: &str) -> Result<Option<ApiKey>, CatalogError> {
        let connection = self.read()?;
        let mut statement =
            connection.prepare_cached("SELECT * FROM api_keys WHERE public_key = ?1")?;
        let mut rows = statement.query([public_key])?;
        rows.next()?.map(decode).transpose()
    }

    /// The API key with this id, if the organization has it.
    pub fn find_org_api_key(
        &self,
        org: OrgId,
        id: ApiKeyId,
    ) -> Result<Option<ApiKey>, CatalogError> {
        let connection = self.read()?;
        let mut statement =
            connection.prepare_cached("SELECT * FROM api_keys WHERE id = ?1 AND org_id = ?2")?;
        let mut rows = statement.query((id.to_string(), org.to_string()))?;
        rows.next()?.map(decode).transpose()
    }

    /// The API keys of an organization, or those with a role in a project; by age.
    pub fn list_api_keys(
        &self,
        org: OrgId,
        project: Option<ProjectId>,
        page: Page,
    ) -> Result<Paged<ApiKey>, CatalogError> {
        let connection = self.read()?;
        let mut statement =
            connection.prepare_cached("SELECT * FROM api_keys WHERE org_id = ?1 ORDER BY id")?;
        let mut keys = decode_all(statement.query([org.to_string()])?, decode)?;
        keys.retain(|key| roles::is_in(&key.roles, project));
        Ok(page.of(keys))
    }

    /// Records the description and the roles of an API key.
    pub fn update_api_key(&self, key: &ApiKey) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE api_keys SET description = ?2, roles = ?3 WHERE id = ?1",
            (key.id.to_string(), &key.description, roles::encode(&key.roles)),
        )?;
        one_row(changed, || CatalogError::Missing(format!("API key {}", key.id)))
    }

    /// Deletes an API key and its access list.
    pub fn delete_api_key(&self, id: ApiKeyId) -> Result<(), CatalogError> {
        self.transact(|catalog| {
            let transaction = catalog.lock();
            transaction
                .execute("DELETE FROM access_entries WHERE principal = ?1", [id.to_string()])?;
            let changed =
                transaction.execute("DELETE FROM api_keys WHERE id = ?1", [id.to_string()])?;
            one_row(changed, || CatalogError::Missing(format!("API key {id}")))?;
            Ok(())
        })
    }
}
