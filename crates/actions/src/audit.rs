//! Who changes something, recorded with the change.

use jiff::Timestamp;
use tidemark_catalog::{AuditEntry, Catalog, CatalogError};

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

/// Does work in one transaction of the catalog, with a record of who did it. Work that fails
/// changes nothing and is not recorded.
pub fn change<T, E: From<CatalogError>>(
    catalog: &Catalog,
    change: Change<'_>,
    mut work: impl FnMut(&Catalog) -> Result<T, E>,
) -> Result<T, E> {
    catalog.transact(|catalog| {
        let value = work(catalog)?;
        catalog.record_audit(&AuditEntry {
            at: change.at,
            actor: change.actor.to_owned(),
            address: change.address.map(str::to_owned),
            action: change.action.to_owned(),
            subject: change.subject.to_owned(),
        })?;
        Ok(value)
    })
}
