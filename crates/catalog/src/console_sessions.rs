//! Who is signed in to the console.

use jiff::Timestamp;
use tidemark_model::{OrgId, Principal, Secret, SecretId};

use crate::catalog::Catalog;
use crate::error::CatalogError;
use crate::row::Decoder;

/// Somebody who is signed in to the console.
#[derive(Debug, Clone)]
pub struct ConsoleSession {
    /// The hash of what the browser shows.
    pub id: String,
    /// Whose credentials they are.
    pub principal: Principal,
    /// The secret of the service account with which it began: it ends with that.
    pub secret: Option<SecretId>,
    /// The organization of those.
    pub org: OrgId,
    /// The public key or client id, to be shown.
    pub name: String,
    /// What every form carries.
    pub csrf: Secret,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was used last, within a minute.
    pub seen_at: Timestamp,
}

const API_KEY: &str = "apiKey";
const SERVICE_ACCOUNT: &str = "serviceAccount";

impl Catalog {
    /// Records that somebody has signed in.
    pub fn insert_console_session(&self, session: &ConsoleSession) -> Result<(), CatalogError> {
        let kind = match session.principal {
            Principal::ApiKey(_) => API_KEY,
            Principal::ServiceAccount(_) => SERVICE_ACCOUNT,
        };
        self.lock_quietly().execute(
            "INSERT INTO console_sessions (id, org_id, principal_kind, principal_id, name, csrf, created_at, seen_at, secret_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            (
                &session.id,
                session.org.to_string(),
                kind,
                session.principal.id(),
                &session.name,
                session.csrf.expose(),
                session.created_at.as_second(),
                session.seen_at.as_second(),
                session.secret.map(|secret| secret.to_string()),
            ),
        )?;
        Ok(())
    }

    /// The session with this hash.
    pub fn find_console_session(&self, id: &str) -> Result<Option<ConsoleSession>, CatalogError> {
        let connection = self.read()?;
        let mut statement =
            connection.prepare_cached("SELECT * FROM console_sessions WHERE id = ?1")?;
        let mut rows = statement.query([id])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let row = Decoder::new("console_sessions", row);
        let kind: String = row.get("principal_kind")?;
        let principal = match kind.as_str() {
            API_KEY => Principal::ApiKey(row.parse("principal_id")?),
            SERVICE_ACCOUNT => Principal::ServiceAccount(row.parse("principal_id")?),
            _ => return Err(row.corrupt(format!("principal_kind {kind:?}"))),
        };
        Ok(Some(ConsoleSession {
            id: row.get("id")?,
            principal,
            secret: row.parse_optional("secret_id")?,
            org: row.parse("org_id")?,
            name: row.get("name")?,
            csrf: Secret::new(row.get::<String>("csrf")?),
            created_at: row.instant("created_at")?,
            seen_at: row.instant("seen_at")?,
        }))
    }

    /// Notes that a session was used; one that has ended meanwhile stays so.
    pub fn note_console_session(&self, id: &str, now: Timestamp) -> Result<(), CatalogError> {
        self.lock_quietly().execute(
            "UPDATE console_sessions SET seen_at = ?2 WHERE id = ?1",
            (id, now.as_second()),
        )?;
        Ok(())
    }

    /// Ends a session, or all sessions of its principal.
    pub fn end_console_sessions(
        &self,
        session: &ConsoleSession,
        everywhere: SignOut,
    ) -> Result<(), CatalogError> {
        let connection = self.lock_quietly();
        match everywhere {
            SignOut::Here => {
                connection.execute("DELETE FROM console_sessions WHERE id = ?1", [&session.id])?
            }
            SignOut::Everywhere => connection.execute(
                "DELETE FROM console_sessions WHERE principal_id = ?1",
                [session.principal.id()],
            )?,
        };
        Ok(())
    }

    /// Notes that a form was sent; answers whether that is the first time.
    pub fn use_console_form(&self, id: &str, now: Timestamp) -> Result<bool, CatalogError> {
        let sql = "INSERT INTO console_forms (id, used_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        Ok(self.lock_quietly().execute(sql, (id, now.as_second()))? == 1)
    }

    /// Forgets forms that were sent before.
    pub fn forget_console_forms(&self, before: Timestamp) -> Result<(), CatalogError> {
        let sql = "DELETE FROM console_forms WHERE used_at < ?1";
        self.lock_quietly().execute(sql, [before.as_second()])?;
        Ok(())
    }

    /// Forgets sessions that were not used since.
    pub fn forget_console_sessions(&self, before: Timestamp) -> Result<(), CatalogError> {
        let sql = "DELETE FROM console_sessions WHERE seen_at < ?1";
        self.lock_quietly().execute(sql, [before.as_second()])?;
        Ok(())
    }
}

/// Where somebody signs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignOut {
    /// In this browser.
    Here,
    /// In all of them.
    Everywhere,
}
