//! Database users: who may log in to the instances of a project.

use crate::database::{Connection, Row};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tidemark_model::{DatabaseUserId, ProjectId};

use crate::catalog::{Catalog, Page, Paged, one_row, taken};
use crate::error::CatalogError;
use crate::row::{Decoder, decode_all, to_json};

/// A role in a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseUserRole {
    /// The role.
    pub role: String,
    /// The database it holds for.
    pub database: String,
    /// The collection it is limited to.
    pub collection: Option<String>,
}

/// A key and a value that users attach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// What is kept of a password: what SCRAM-SHA-256 needs, in hex.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordRecord {
    /// The salt.
    pub salt: String,
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// Checks a proof.
    pub stored_key: String,
    /// Proves the server.
    pub server_key: String,
}

impl std::fmt::Debug for PasswordRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordRecord(…)")
    }
}

/// A database user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseUser {
    /// Its id.
    pub id: DatabaseUserId,
    /// Its project.
    pub project: ProjectId,
    /// Its name.
    pub username: String,
    /// The database against which it authenticates.
    pub database: String,
    /// Checks its password.
    pub password: PasswordRecord,
    /// What it may do.
    pub roles: Vec<DatabaseUserRole>,
    /// The instances it is limited to; all if there are none.
    pub scopes: Vec<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Labels.
    pub labels: Vec<Label>,
    /// When it ends.
    pub delete_after: Option<Timestamp>,
}

fn decode(row: &Row) -> Result<DatabaseUser, CatalogError> {
    let row = Decoder::new("database_users", row);
    Ok(DatabaseUser {
        id: row.parse("id")?,
        project: row.parse("project_id")?,
        username: row.get("username")?,
        database: row.get("database_name")?,
        password: row.json("password")?,
        roles: row.json("roles")?,
        scopes: row.json("scopes")?,
        description: row.get("description")?,
        labels: row.json("labels")?,
        delete_after: row.optional_instant("delete_after")?,
    })
}

/// Records a database user; the caller commits.
pub(crate) fn insert(
    connection: &Connection,
    user: &DatabaseUser,
    created_at: Timestamp,
) -> Result<(), CatalogError> {
    connection
        .execute(
            "INSERT INTO database_users (id, project_id, username, database_name, password, roles, scopes,
                 created_at, description, labels, delete_after)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            (
                user.id.to_string(),
                user.project.to_string(),
                &user.username,
                &user.database,
                to_json(&user.password),
                to_json(&user.roles),
                to_json(&user.scopes),
                created_at.as_second(),
                &user.description,
                to_json(&user.labels),
                user.delete_after.map(Timestamp::as_second),
            ),
        )
        .map_err(|error| taken(error, &user.username))?;
    Ok(())
}

impl Catalog {
    /// Records a database user; its name must be free in its project.
    pub fn insert_database_user(
        &self,
        user: &DatabaseUser,
        created_at: Timestamp,
    ) -> Result<(), CatalogError> {
        insert(&self.lock(), user, created_at)
    }

    /// Records what was changed on a database user; its name stays.
    pub fn update_database_user(&self, user: &DatabaseUser) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE database_users SET password = ?2, roles = ?3, scopes = ?4, description = ?5, labels = ?6,
                 delete_after = ?7
             WHERE id = ?1",
            (
                user.id.to_string(),
                to_json(&user.password),
                to_json(&user.roles),
                to_json(&user.scopes),
                &user.description,
                to_json(&user.labels),
                user.delete_after.map(Timestamp::as_second),
            ),
        )?;
        one_row(changed, || CatalogError::Missing(format!("user {}", user.username)))
    }

    /// How many database users a project has.
    pub fn count_database_users(&self, project: ProjectId) -> Result<u64, CatalogError> {
        let count: i64 = self.read()?.query_row(
            "SELECT count(*) FROM database_users WHERE project_id = ?1",
            [project.to_string()],
            |row| row.get(0),
        )?;
        Ok(count.unsigned_abs())
    }

    /// The database user with this name, unless its time is over.
    pub fn find_database_user(
        &self,
        project: ProjectId,
        (database, username): (&str, &str),
        now: Timestamp,
    ) -> Result<Option<DatabaseUser>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT * FROM database_users WHERE project_id = ?1 AND database_name = ?2 AND username = ?3
             AND (delete_after IS NULL OR delete_after > ?4)",
        )?;
        let mut rows =
            statement.query((project.to_string(), database, username, now.as_second()))?;
        rows.next()?.map(decode).transpose()
    }

    /// The database users of a project, by name.
    pub fn list_database_users(
        &self,
        project: ProjectId,
        page: Page,
    ) -> Result<Paged<DatabaseUser>, CatalogError> {
        let total = self.count_database_users(project)?;
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT * FROM database_users WHERE project_id = ?1 ORDER BY username, database_name LIMIT ?2 OFFSET ?3",
        )?;
        let (limit, offset) = page.sql();
        let items = decode_all(statement.query((project.to_string(), limit, offset))?, decode)?;
        Ok(Paged { items, total })
    }

    /// Removes the database users whose time is over, and says how many.
    pub fn remove_expired_users(&self, now: Timestamp) -> Result<usize, CatalogError> {
        let connection = self.lock();
        let query = "DELETE FROM database_users WHERE delete_after <= ?1";
        Ok(connection.execute(query, [now.as_second()])?)
    }

    /// Removes a database user.
    pub fn delete_database_user(
        &self,
        project: ProjectId,
        (database, username): (&str, &str),
    ) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "DELETE FROM database_users WHERE project_id = ?1 AND database_name = ?2 AND username = ?3",
            (project.to_string(), database, username),
        )?;
        one_row(changed, || CatalogError::Missing(format!("user {username}")))
    }
}
