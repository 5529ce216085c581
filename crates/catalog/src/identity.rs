//! Organizations, projects, and who may log in.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};
use tidemark_model::{ApiKeyId, Caller, OrgId, ProjectId, Role, Roles, SecretId, ServiceAccountId};

use crate::catalog::{Catalog, Page, Paged, one_row, taken};
use crate::error::CatalogError;
use crate::instances::Tag;
use crate::row::{Decoder, to_json};

/// An organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Org {
    /// Its id.
    pub id: OrgId,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// Its organization.
    pub org: OrgId,
    /// Its name, unique in the organization.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its tags.
    pub tags: Vec<Tag>,
}

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
}

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Its id.
    pub id: ServiceAccountId,
    /// Its organization.
    pub org: OrgId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What it may do.
    pub roles: Roles,
}

/// A secret of a service account that is about to be recorded.
#[derive(Debug, Clone, Copy)]
pub struct NewSecret<'a> {
    /// The hash under which it is kept.
    pub hash: &'a str,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Who a credential belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principal {
    /// An API key.
    ApiKey(ApiKeyId),
    /// A service account.
    ServiceAccount(ServiceAccountId),
}

fn roles_to_json(roles: &Roles) -> String {
    let org = roles.org.iter().map(|role| (None, role.as_str()));
    let projects = roles.projects.iter().map(|(id, role)| (Some(id.to_string()), role.as_str()));
    to_json(&org.chain(projects).collect::<Vec<(Option<String>, &str)>>())
}

fn decode_roles(row: &Decoder<'_>) -> Result<Roles, CatalogError> {
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

fn decode_project(row: &Row<'_>) -> Result<Project, CatalogError> {
    let row = Decoder::new("projects", row);
    Ok(Project {
        id: row.parse("id")?,
        org: row.parse("org_id")?,
        name: row.get("name")?,
        created_at: row.instant("created_at")?,
        tags: row.json("tags")?,
    })
}

fn insert_secret(
    connection: &Connection,
    account: ServiceAccountId,
    secret: &NewSecret<'_>,
) -> Result<(), CatalogError> {
    connection.execute(
        "INSERT INTO service_account_secrets (id, account_id, hash, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        (
            SecretId::new(secret.created_at).to_string(),
            account.to_string(),
            secret.hash,
            secret.created_at.as_second(),
            secret.expires_at.as_second(),
        ),
    )?;
    Ok(())
}

fn insert_project(connection: &Connection, project: &Project) -> Result<(), CatalogError> {
    connection
        .execute(
            "INSERT INTO projects (id, org_id, name, created_at, tags) VALUES (?1, ?2, ?3, ?4, ?5)",
            (
                project.id.to_string(),
                project.org.to_string(),
                &project.name,
                project.created_at.as_second(),
                to_json(&project.tags),
            ),
        )
        .map_err(|error| taken(error, &project.name))?;
    Ok(())
}

fn insert_api_key(
    connection: &Connection,
    key: &ApiKey,
    created_at: Timestamp,
) -> Result<(), CatalogError> {
    connection.execute(
        "INSERT INTO api_keys (id, org_id, public_key, ha1, masked_private_key, description, roles, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            key.id.to_string(),
            key.org.to_string(),
            &key.public_key,
            &key.ha1,
            &key.masked_private_key,
            &key.description,
            roles_to_json(&key.roles),
            created_at.as_second(),
        ),
    )?;
    Ok(())
}

fn insert_service_account(
    connection: &Connection,
    account: &ServiceAccount,
    created_at: Timestamp,
) -> Result<(), CatalogError> {
    connection.execute(
        "INSERT INTO service_accounts (id, org_id, name, description, roles, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (
            account.id.to_string(),
            account.org.to_string(),
            &account.name,
            &account.description,
            roles_to_json(&account.roles),
            created_at.as_second(),
        ),
    )?;
    Ok(())
}

impl Catalog {
    /// Records the first organization, project, API key and service account with its secret, all
    /// or nothing.
    pub fn set_up(
        &self,
        org: &Org,
        project: &Project,
        (key, account): (&ApiKey, &ServiceAccount),
        secret: &NewSecret<'_>,
    ) -> Result<(), CatalogError> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        transaction.execute(
            "INSERT INTO orgs (id, name, created_at) VALUES (?1, ?2, ?3)",
            (org.id.to_string(), &org.name, org.created_at.as_second()),
        )?;
        insert_project(&transaction, project)?;
        insert_api_key(&transaction, key, secret.created_at)?;
        insert_service_account(&transaction, account, secret.created_at)?;
        insert_secret(&transaction, account.id, secret)?;
        Ok(transaction.commit()?)
    }

    /// The first organization, if the server was set up.
    pub fn find_first_org(&self) -> Result<Option<Org>, CatalogError> {
        let connection = self.lock();
        let mut statement =
            connection.prepare_cached("SELECT * FROM orgs ORDER BY created_at, id LIMIT 1")?;
        let mut rows = statement.query([])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let row = Decoder::new("orgs", row);
        Ok(Some(Org {
            id: row.parse("id")?,
            name: row.get("name")?,
            created_at: row.instant("created_at")?,
        }))
    }

    /// Records a project; its name must be free in its organization.
    pub fn insert_project(&self, project: &Project) -> Result<(), CatalogError> {
        insert_project(&self.lock(), project)
    }

    /// The project with this id.
    pub fn find_project(&self, id: ProjectId) -> Result<Option<Project>, CatalogError> {
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached("SELECT * FROM projects WHERE id = ?1 AND deleted_at IS NULL")?;
        let mut rows = statement.query([id.to_string()])?;
        rows.next()?.map(decode_project).transpose()
    }

    /// The projects that a caller sees, by name.
    pub fn list_projects(
        &self,
        caller: &Caller,
        page: Page,
    ) -> Result<Paged<Project>, CatalogError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT * FROM projects WHERE org_id = ?1 AND deleted_at IS NULL ORDER BY name",
        )?;
        let mut rows = statement.query([caller.org.to_string()])?;
        let mut visible = Vec::new();
        while let Some(row) = rows.next()? {
            let project = decode_project(row)?;
            if caller.sees_project(project.org, project.id) {
                visible.push(project);
            }
        }
        let total = visible.len() as u64;
        let skip = usize::try_from(page.offset()).unwrap_or(usize::MAX);
        let take = usize::try_from(page.size).unwrap_or(usize::MAX);
        Ok(Paged { items: visible.into_iter().skip(skip).take(take).collect(), total })
    }

    /// How many instances a project has.
    pub fn count_instances(&self, project: ProjectId) -> Result<u64, CatalogError> {
        let count: i64 = self.lock().query_row(
            "SELECT count(*) FROM instances WHERE project_id = ?1 AND state <> 'DELETED'",
            [project.to_string()],
            |row| row.get(0),
        )?;
        Ok(count.unsigned_abs())
    }

    /// Deletes a project that has no instances.
    pub fn delete_project(&self, id: ProjectId, at: Timestamp) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE projects SET deleted_at = ?2 WHERE id = ?1 AND deleted_at IS NULL
             AND NOT EXISTS (SELECT 1 FROM instances WHERE project_id = ?1 AND state <> 'DELETED')",
            (id.to_string(), at.as_second()),
        )?;
        if changed == 0 && self.find_project(id)?.is_some() {
            return Err(CatalogError::InUse("the project has active clusters".to_owned()));
        }
        one_row(changed, || CatalogError::Missing(format!("project {id}")))
    }

    /// The API key with this public part.
    pub fn find_api_key(&self, public_key: &str) -> Result<Option<ApiKey>, CatalogError> {
        let connection = self.lock();
        let mut statement =
            connection.prepare_cached("SELECT * FROM api_keys WHERE public_key = ?1")?;
        let mut rows = statement.query([public_key])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let row = Decoder::new("api_keys", row);
        Ok(Some(ApiKey {
            id: row.parse("id")?,
            org: row.parse("org_id")?,
            public_key: row.get("public_key")?,
            ha1: row.get("ha1")?,
            masked_private_key: row.get("masked_private_key")?,
            description: row.get("description")?,
            roles: decode_roles(&row)?,
        }))
    }

    /// The service account with this id.
    pub fn find_service_account(
        &self,
        id: ServiceAccountId,
    ) -> Result<Option<ServiceAccount>, CatalogError> {
        let connection = self.lock();
        let mut statement =
            connection.prepare_cached("SELECT * FROM service_accounts WHERE id = ?1")?;
        let mut rows = statement.query([id.to_string()])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let row = Decoder::new("service_accounts", row);
        Ok(Some(ServiceAccount {
            id: row.parse("id")?,
            org: row.parse("org_id")?,
            name: row.get("name")?,
            description: row.get("description")?,
            roles: decode_roles(&row)?,
        }))
    }

    /// Whether a service account has a secret with this hash that has not expired.
    pub fn has_secret(
        &self,
        account: ServiceAccountId,
        hash: &str,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        let found = self
            .lock()
            .query_row(
                "SELECT 1 FROM service_account_secrets WHERE account_id = ?1 AND hash = ?2 AND expires_at > ?3",
                (account.to_string(), hash, now.as_second()),
                |_| Ok(()),
            )
            .optional()?;
        Ok(found.is_some())
    }

    /// Revokes a token until it would expire anyway.
    pub fn revoke_token(
        &self,
        token: &str,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let connection = self.lock();
        connection
            .execute("DELETE FROM revoked_tokens WHERE expires_at <= ?1", [now.as_second()])?;
        connection.execute(
            "INSERT INTO revoked_tokens (id, expires_at) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING",
            (token, expires_at.as_second()),
        )?;
        Ok(())
    }

    /// Whether a token was revoked.
    pub fn is_revoked(&self, token: &str) -> Result<bool, CatalogError> {
        let connection = self.lock();
        let mut statement =
            connection.prepare_cached("SELECT 1 FROM revoked_tokens WHERE id = ?1")?;
        Ok(statement.exists([token])?)
    }
}
