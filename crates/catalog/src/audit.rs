//! Who changed what: a record in the same transaction as the change.

use jiff::Timestamp;

use crate::catalog::Catalog;
use crate::error::CatalogError;
use crate::row::{Decoder, decode_all};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who: the principal's id, or what part of the server.
    pub actor: String,
    /// From where, if it came over the network.
    pub address: Option<String>,
    /// What: the operation's id.
    pub action: String,
    /// On what: a path or an id.
    pub subject: String,
}

impl Catalog {
    /// Records a change; called in the transaction that makes it.
    pub fn record_audit(&self, entry: &AuditEntry) -> Result<(), CatalogError> {
        self.lock().execute(
            "INSERT INTO audit (at, actor, address, action, subject) VALUES (?1, ?2, ?3, ?4, ?5)",
            (entry.at.as_second(), &entry.actor, &entry.address, &entry.action, &entry.subject),
        )?;
        Ok(())
    }

    /// The newest changes, newest first.
    pub fn list_audit(&self, count: u32) -> Result<Vec<AuditEntry>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT number AS id, at, actor, address, action, subject FROM audit ORDER BY number DESC LIMIT ?1",
        )?;
        decode_all(statement.query([count])?, |row| {
            let row = Decoder::new("audit", row);
            Ok(AuditEntry {
                at: row.instant("at")?,
                actor: row.get("actor")?,
                address: row.get("address")?,
                action: row.get("action")?,
                subject: row.get("subject")?,
            })
        })
    }
}
