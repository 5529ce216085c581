//! Service accounts, their secrets, and revoked tokens.

use crate::database::{Connection, OptionalExtension, Row};
use jiff::Timestamp;
use tidemark_model::{OrgId, ProjectId, Roles, SecretId, ServiceAccountId};

use crate::catalog::{Catalog, Page, Paged, one_row};
use crate::error::CatalogError;
use crate::roles;
use crate::row::{Decoder, decode_all};

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
    /// When it was made.
    pub created_at: Timestamp,
}

/// A secret of a service account that is about to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSecret {
    /// Its id.
    pub id: SecretId,
    /// The hash under which it is kept.
    pub hash: String,
    /// The secret as it is shown: all but its ends masked.
    pub masked: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A secret of a service account, without the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSecret {
    /// Its id.
    pub id: SecretId,
    /// The secret as it is shown: all but its ends masked.
    pub masked: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When a token was got with it last.
    pub last_used_at: Option<Timestamp>,
}

fn decode(row: &Row) -> Result<ServiceAccount, CatalogError> {
    let row = Decoder::new("service_accounts", row);
    Ok(ServiceAccount {
        id: row.parse("id")?,
        org: row.parse("org_id")?,
        name: row.get("name")?,
        description: row.get("description")?,
        roles: roles::decode(&row)?,
        created_at: row.instant("created_at")?,
    })
}

fn decode_secret(row: &Row) -> Result<AccountSecret, CatalogError> {
    let row = Decoder::new("service_account_secrets", row);
    Ok(AccountSecret {
        id: row.parse("id")?,
        masked: row.get("masked")?,
        created_at: row.instant("created_at")?,
        expires_at: row.instant("expires_at")?,
        last_used_at: row.optional_instant("last_used_at")?,
    })
}

pub(crate) fn insert(
    connection: &Connection,
    account: &ServiceAccount,
) -> Result<(), CatalogError> {
    connection.execute(
        "INSERT INTO service_accounts (id, org_id, name, description, roles, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (
            account.id.to_string(),
            account.org.to_string(),
            &account.name,
            &account.description,
            roles::encode(&account.roles),
            account.created_at.as_second(),
        ),
    )?;
    Ok(())
}

pub(crate) fn insert_secret(
    connection: &Connection,
    account: ServiceAccountId,
    secret: &NewSecret,
) -> Result<(), CatalogError> {
    connection.execute(
        "INSERT INTO service_account_secrets (id, account_id, hash, masked, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (
            secret.id.to_string(),
            account.to_string(),
            &secret.hash,
            &secret.masked,
            secret.created_at.as_second(),
            secret.expires_at.as_second(),
        ),
    )?;
    Ok(())
}

impl Catalog {
    /// Records a service account with its first secret.
    pub fn insert_service_account(
        &self,
        account: &ServiceAccount,
        secret: &NewSecret,
    ) -> Result<(), CatalogError> {
        self.transact(|catalog| {
            let transaction = catalog.lock();
            insert(&transaction, account)?;
            insert_secret(&transaction, account.id, secret)?;
            Ok(())
        })
    }

    /// The service account with this id.
    pub fn find_service_account(
        &self,
        id: ServiceAccountId,
    ) -> Result<Option<ServiceAccount>, CatalogError> {
        let connection = self.read()?;
        let mut statement =
            connection.prepare_cached("SELECT * FROM service_accounts WHERE id = ?1")?;
        let mut rows = statement.query([id.to_string()])?;
        rows.next()?.map(decode).transpose()
    }

    /// The service accounts of an organization, or those with a role in a project; by age.
    pub fn list_service_accounts(
        &self,
        org: OrgId,
        project: Option<ProjectId>,
        page: Page,
    ) -> Result<Paged<ServiceAccount>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection
            .prepare_cached("SELECT * FROM service_accounts WHERE org_id = ?1 ORDER BY id")?;
        let mut accounts = decode_all(statement.query([org.to_string()])?, decode)?;
        accounts.retain(|account| roles::is_in(&account.roles, project));
        Ok(page.of(accounts))
    }

    /// Records name, description and roles of a service account.
    pub fn update_service_account(&self, account: &ServiceAccount) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE service_accounts SET name = ?2, description = ?3, roles = ?4 WHERE id = ?1",
            (
                account.id.to_string(),
                &account.name,
                &account.description,
                roles::encode(&account.roles),
            ),
        )?;
        one_row(changed, || CatalogError::Missing(format!("service account {}", account.id)))
    }

    /// Deletes a service account, its secrets and its access list.
    pub fn delete_service_account(&self, id: ServiceAccountId) -> Result<(), CatalogError> {
        self.transact(|catalog| {
            let transaction = catalog.lock();
            let account = id.to_string();
            transaction.execute("DELETE FROM access_entries WHERE principal = ?1", [&account])?;
            transaction
                .execute("DELETE FROM service_account_secrets WHERE account_id = ?1", [&account])?;
            let changed =
                transaction.execute("DELETE FROM service_accounts WHERE id = ?1", [&account])?;
            one_row(changed, || CatalogError::Missing(format!("service account {id}")))?;
            Ok(())
        })
    }

    /// Records another secret, unless the account has `limit` that have not ended.
    pub fn insert_account_secret(
        &self,
        account: ServiceAccountId,
        secret: &NewSecret,
        limit: u32,
    ) -> Result<(), CatalogError> {
        self.transact(|catalog| {
        let transaction = catalog.lock();
        let active: u32 = transaction.query_row(
            "SELECT count(*) FROM service_account_secrets WHERE account_id = ?1 AND expires_at > ?2",
            (account.to_string(), secret.created_at.as_second()),
            |row| row.get(0),
        )?;
        if active >= limit {
            return Err(CatalogError::InUse(format!("{account} has {active} active secrets")));
        }
        insert_secret(&transaction, account, secret)?;
        Ok(())
        })
    }

    /// The secrets of a service account, by age.
    pub fn list_account_secrets(
        &self,
        account: ServiceAccountId,
    ) -> Result<Vec<AccountSecret>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT * FROM service_account_secrets WHERE account_id = ?1 ORDER BY id",
        )?;
        let secrets = decode_all(statement.query([account.to_string()])?, decode_secret)?;
        Ok(secrets)
    }

    /// Deletes a secret: no token is given for it any more.
    pub fn delete_account_secret(
        &self,
        account: ServiceAccountId,
        secret: SecretId,
    ) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "DELETE FROM service_account_secrets WHERE id = ?1 AND account_id = ?2",
            (secret.to_string(), account.to_string()),
        )?;
        one_row(changed, || CatalogError::Missing(format!("secret {secret}")))
    }

    /// The secret of a service account with this hash, if it has not ended; notes the use.
    pub fn use_account_secret(
        &self,
        account: ServiceAccountId,
        hash: &str,
        now: Timestamp,
    ) -> Result<Option<SecretId>, CatalogError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "UPDATE service_account_secrets SET last_used_at = ?3
             WHERE account_id = ?1 AND hash = ?2 AND expires_at > ?3 RETURNING id",
        )?;
        let mut rows = statement.query((account.to_string(), hash, now.as_second()))?;
        let row = rows.next()?;
        row.map(|row| Decoder::new("service_account_secrets", row).parse("id")).transpose()
    }

    /// Whether a service account has a secret with this hash that has not ended; notes nothing.
    pub fn has_account_secret(
        &self,
        account: ServiceAccountId,
        hash: &str,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT 1 FROM service_account_secrets
             WHERE account_id = ?1 AND hash = ?2 AND expires_at > ?3",
        )?;
        Ok(statement.exists((account.to_string(), hash, now.as_second()))?)
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

    /// The account of a token and when the secret ends with which it was got; nothing if the token
    /// was revoked, or if account or secret are gone.
    pub fn find_token_account(
        &self,
        token: &str,
        (account, secret): (ServiceAccountId, SecretId),
        now: Timestamp,
    ) -> Result<Option<(ServiceAccount, Timestamp)>, CatalogError> {
        let ends_at: Option<i64> = self
            .read()?
            .prepare_cached(
                "SELECT expires_at FROM service_account_secrets
                 WHERE id = ?2 AND account_id = ?3 AND expires_at > ?4
                 AND NOT EXISTS (SELECT 1 FROM revoked_tokens WHERE id = ?1)",
            )?
            .query_row((token, secret.to_string(), account.to_string(), now.as_second()), |row| {
                row.get(0)
            })
            .optional()?;
        let Some(ends_at) = ends_at else { return Ok(None) };
        let found = self.find_service_account(account)?;
        Ok(found.map(|found| (found, Timestamp::from_second(ends_at).unwrap_or(now))))
    }
}
