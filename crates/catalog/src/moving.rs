//! Moving all records from one database to another, counted and compared.

use crate::catalog::Catalog;
use crate::database::{Connection, Row};
use crate::error::CatalogError;

/// Rows that are moved at once.
const PAGE: usize = 500;

/// A table, and the columns by which its rows are in order.
struct Table {
    name: &'static str,
    key: &'static [&'static str],
    /// Whether rows have a number of their own, in the order in which they were made, that is no column
    /// of the table in SQLite.
    has_rowid: bool,
}

const fn table(name: &'static str, key: &'static [&'static str]) -> Table {
    Table { name, key, has_rowid: false }
}

/// Every table, those that others refer to first.
const TABLES: &[Table] = &[
    table("settings", &["name"]),
    table("orgs", &["id"]),
    table("projects", &["id"]),
    table("api_keys", &["id"]),
    table("service_accounts", &["id"]),
    table("service_account_secrets", &["id"]),
    table("revoked_tokens", &["id"]),
    table("instances", &["id"]),
    table("backup_schedules", &["instance_id"]),
    table("deployments", &["instance_id"]),
    Table { name: "access_entries", key: &["principal", "block"], has_rowid: true },
    Table { name: "network_entries", key: &["project_id", "value"], has_rowid: true },
    table("database_users", &["id"]),
    table("snapshots", &["id"]),
    table("restore_jobs", &["id"]),
    table("drills", &["id"]),
    table("oplog_ranges", &["instance_id", "first"]),
    table("oplog_tails", &["instance_id", "first"]),
    table("audit", &["number"]),
];

/// How many records of a table were moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The table.
    pub table: &'static str,
    /// Its records, each compared with the one that it was moved from.
    pub records: u64,
}

impl Catalog {
    /// Copies every record to an empty catalog, and compares them: all of them are there when this
    /// returns, or none. Nobody may change either meanwhile.
    pub fn move_to(&self, target: &Self) -> Result<Vec<Moved>, CatalogError> {
        target.transact(|target| {
            if target.find_first_org()?.is_some() {
                return Err(CatalogError::InUse(
                    "the catalog to move to has records already; name an empty one".to_owned(),
                ));
            }
            let (source, target) = (self.read()?, target.lock());
            // What every catalog makes for itself goes first.
            target.execute("DELETE FROM settings", ())?;
            TABLES.iter().map(|table| table.move_all(&source, &target)).collect()
        })
    }
}

impl Table {
    fn move_all(&self, source: &Connection, target: &Connection) -> Result<Moved, CatalogError> {
        let mut records = 0;
        let mut last = None;
        loop {
            let page = self.page(source, last.as_ref())?;
            let Some(end) = page.last().cloned() else { break };
            for row in &page {
                self.insert(target, row)?;
            }
            records += page.len() as u64;
            // What was written is read back, and must be the same.
            let written = self.page(target, last.as_ref())?;
            if let Some(other) = page.iter().zip(&written).find(|(a, b)| !a.is_same(b)) {
                return Err(self.differs(other.0));
            }
            if written.len() != page.len() {
                return Err(self.differs(&end));
            }
            last = Some(end);
        }
        self.continue_numbers(target)?;
        Ok(Moved { table: self.name, records })
    }

    fn differs(&self, row: &Row) -> CatalogError {
        let id = self.key.iter().map(|column| row.shown(column)).collect::<Vec<_>>().join(", ");
        let reason = "it is another one where it was moved to".to_owned();
        CatalogError::Corrupt { table: self.name, id, reason }
    }

    /// The rows after one, in the order of their keys.
    fn page(&self, connection: &Connection, after: Option<&Row>) -> Result<Vec<Row>, CatalogError> {
        let columns = if self.has_rowid { "*, rowid AS rowid" } else { "*" };
        let columns = match connection {
            Connection::Postgres(_) => "*",
            Connection::Sqlite(_) => columns,
        };
        let key = self.key.join(", ");
        let places: Vec<String> = (1..=self.key.len()).map(|place| format!("?{place}")).collect();
        let condition =
            after.map_or(String::new(), |_| format!("WHERE ({key}) > ({})", places.join(", ")));
        let sql =
            format!("SELECT {columns} FROM {} {condition} ORDER BY {key} LIMIT {PAGE}", self.name);
        let values = after.map_or_else(Vec::new, |row| row.values_of(self.key));
        let mut rows = connection.query_values(&sql, &values)?;
        let mut page = Vec::new();
        while let Some(row) = rows.next()? {
            page.push(row.clone());
        }
        Ok(page)
    }

    fn insert(&self, target: &Connection, row: &Row) -> Result<(), CatalogError> {
        let columns = row.names();
        let places: Vec<String> = (1..=columns.len()).map(|place| format!("?{place}")).collect();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({})",
            self.name,
            columns.join(", "),
            places.join(", ")
        );
        target.execute_values(&sql, row.values())?;
        Ok(())
    }

    /// Numbers that PostgreSQL gives go on after those that were moved.
    fn continue_numbers(&self, target: &Connection) -> Result<(), CatalogError> {
        let column = match (target, self.name, self.has_rowid) {
            (Connection::Sqlite(_), ..) => return Ok(()),
            (_, "audit", _) => "number",
            (_, _, true) => "rowid",
            _ => return Ok(()),
        };
        let sql = format!(
            "SELECT 1 FROM setval(pg_get_serial_sequence('{name}', '{column}'),
                 (SELECT coalesce(max({column}), 0) + 1 FROM {name}), false)",
            name = self.name
        );
        Ok(target.query_row(&sql, (), |_| Ok(()))?)
    }
}
