//! Access lists of API keys and service accounts: from where they may be used.

use std::net::IpAddr;

use crate::database::Row;
use ipnet::IpNet;
use jiff::Timestamp;
use tidemark_model::Principal;

use crate::catalog::{Catalog, Page, Paged, one_row};
use crate::error::CatalogError;
use crate::row::{Decoder, decode_all};

/// A block of addresses from which a principal may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessEntry {
    /// The addresses.
    pub block: IpNet,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many requests came from it.
    pub request_count: u64,
    /// When the last one came, and from where.
    pub last_use: Option<(Timestamp, String)>,
}

/// Requests from one block since the last record of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessUse {
    /// How many.
    pub requests: u32,
    /// When the last one came.
    pub last_at: Timestamp,
    /// From where it came.
    pub address: IpAddr,
}

fn decode(row: &Row) -> Result<AccessEntry, CatalogError> {
    let row = Decoder::new("access_entries", row);
    let address: Option<String> = row.get("last_used_address")?;
    Ok(AccessEntry {
        block: row.parse("block")?,
        created_at: row.instant("created_at")?,
        request_count: row.get::<i64>("request_count")?.unsigned_abs(),
        last_use: row.optional_instant("last_used_at")?.zip(address),
    })
}

impl Catalog {
    /// Adds blocks to an access list; those that are there already stay as they are.
    pub fn insert_access_entries(
        &self,
        principal: Principal,
        blocks: &[IpNet],
        created_at: Timestamp,
    ) -> Result<(), CatalogError> {
        self.transact(|catalog| {
            let transaction = catalog.lock();
            for block in blocks {
                transaction.execute(
                    "INSERT INTO access_entries (principal, block, created_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (principal, block) DO NOTHING",
                    (principal.id(), block.to_string(), created_at.as_second()),
                )?;
            }
            Ok(())
        })
    }

    /// The access list of a principal, by age.
    pub fn list_access_entries(
        &self,
        principal: Principal,
        page: Page,
    ) -> Result<Paged<AccessEntry>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT * FROM access_entries WHERE principal = ?1 ORDER BY created_at, rowid",
        )?;
        Ok(page.of(decode_all(statement.query([principal.id()])?, decode)?))
    }

    /// One entry of an access list.
    pub fn find_access_entry(
        &self,
        principal: Principal,
        block: IpNet,
    ) -> Result<Option<AccessEntry>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection
            .prepare_cached("SELECT * FROM access_entries WHERE principal = ?1 AND block = ?2")?;
        let mut rows = statement.query((principal.id(), block.to_string()))?;
        rows.next()?.map(decode).transpose()
    }

    /// Takes a block from an access list.
    pub fn delete_access_entry(
        &self,
        principal: Principal,
        block: IpNet,
    ) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "DELETE FROM access_entries WHERE principal = ?1 AND block = ?2",
            (principal.id(), block.to_string()),
        )?;
        one_row(changed, || CatalogError::Missing(format!("access list entry {block}")))
    }

    /// Adds requests to the counts of an entry; one that is gone is left alone.
    pub fn record_access(
        &self,
        principal: Principal,
        block: IpNet,
        used: &AccessUse,
    ) -> Result<(), CatalogError> {
        self.lock().execute(
            "UPDATE access_entries SET request_count = request_count + ?3, last_used_at = ?4, last_used_address = ?5
             WHERE principal = ?1 AND block = ?2",
            (
                principal.id(),
                block.to_string(),
                used.requests,
                used.last_at.as_second(),
                used.address.to_string(),
            ),
        )?;
        Ok(())
    }
}
