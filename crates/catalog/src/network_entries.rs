//! Access lists of projects: from where their instances may be reached.

use std::net::IpAddr;

use crate::database::Row;
use ipnet::IpNet;
use jiff::Timestamp;
use tidemark_model::ProjectId;

use crate::catalog::{Catalog, Page, Paged, one_row};
use crate::error::CatalogError;
use crate::row::{Decoder, decode_all};

/// What an entry of a project's access list allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkSource {
    /// A block of addresses.
    Block(IpNet),
    /// A security group of a cloud provider; kept, but no address belongs to it here.
    SecurityGroup(String),
}

impl NetworkSource {
    /// The text under which it is kept, without the length of a single address.
    pub fn text(&self) -> String {
        match self {
            Self::Block(block) => block.to_string(),
            Self::SecurityGroup(group) => group.clone(),
        }
    }
}

/// An entry of a project's access list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkEntry {
    /// What it allows.
    pub source: NetworkSource,
    /// What it is for.
    pub comment: Option<String>,
    /// When it ends.
    pub delete_after: Option<Timestamp>,
}

fn decode(row: &Row) -> Result<NetworkEntry, CatalogError> {
    let row = Decoder::new("network_entries", row);
    let value: String = row.get("value")?;
    let source = match value.parse() {
        Ok(block) => NetworkSource::Block(block),
        Err(_) if value.contains("sg-") => NetworkSource::SecurityGroup(value),
        Err(_) => return Err(row.corrupt(format!("value holds {value:?}"))),
    };
    Ok(NetworkEntry {
        source,
        comment: row.get("comment")?,
        delete_after: row.optional_instant("delete_after")?,
    })
}

impl Catalog {
    /// Adds entries, all or nothing; one that is there already is replaced.
    pub fn put_network_entries(
        &self,
        project: ProjectId,
        entries: &[NetworkEntry],
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        self.transact(|catalog| {
            let transaction = catalog.lock();
            for entry in entries {
                transaction.execute(
                "INSERT INTO network_entries (project_id, value, comment, delete_after, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (project_id, value) DO UPDATE SET comment = ?3, delete_after = ?4",
                (
                    project.to_string(),
                    entry.source.text(),
                    &entry.comment,
                    entry.delete_after.map(Timestamp::as_second),
                    now.as_second(),
                ),
            )?;
            }
            Ok(())
        })
    }

    /// The access list of a project, by age.
    pub fn list_network_entries(
        &self,
        project: ProjectId,
        now: Timestamp,
        page: Page,
    ) -> Result<Paged<NetworkEntry>, CatalogError> {
        Ok(page.of(self.network_entries(project, now)?))
    }

    fn network_entries(
        &self,
        project: ProjectId,
        now: Timestamp,
    ) -> Result<Vec<NetworkEntry>, CatalogError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT * FROM network_entries WHERE project_id = ?1 AND (delete_after IS NULL OR delete_after > ?2)
             ORDER BY created_at, rowid",
        )?;
        decode_all(statement.query((project.to_string(), now.as_second()))?, decode)
    }

    /// Removes an entry, and what is left of those whose time is over.
    pub fn delete_network_entry(
        &self,
        project: ProjectId,
        source: &NetworkSource,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let connection = self.lock();
        let changed = connection.execute(
            "DELETE FROM network_entries WHERE project_id = ?1 AND value = ?2
             AND (delete_after IS NULL OR delete_after > ?3)",
            (project.to_string(), source.text(), now.as_second()),
        )?;
        one_row(changed, || CatalogError::Missing(format!("network entry {}", source.text())))?;
        connection.execute(
            "DELETE FROM network_entries WHERE project_id = ?1 AND delete_after <= ?2",
            (project.to_string(), now.as_second()),
        )?;
        Ok(())
    }

    /// Whether an address may reach the instances of a project: without a list, every address
    /// may. A list whose entries have all ended by their time is still a list.
    pub fn admits(
        &self,
        project: ProjectId,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        let entries = self.network_entries(project, now)?;
        let contains = |entry: &NetworkEntry| match &entry.source {
            NetworkSource::Block(block) => block.contains(&address),
            NetworkSource::SecurityGroup(_) => false,
        };
        if entries.iter().any(contains) {
            return Ok(true);
        }
        let has_list: bool = self.read()?.query_row(
            "SELECT EXISTS (SELECT 1 FROM network_entries WHERE project_id = ?1)",
            [project.to_string()],
            |row| row.get(0),
        )?;
        Ok(!has_list)
    }
}
