//! The processes that serve the same records, and what only one of them does.
//!
//! A node says every few seconds that it is there. What it holds it holds for as long as that is not longer
//! ago than its lease: duties and captures name the run of a node, and no row has to be touched to
//! keep them. A file (SQLite) has one process, which its folder's lock sees to.

use jiff::Timestamp;
use tidemark_model::{InstanceId, NodeId, NodeRole, NodeRun};

use crate::catalog::Catalog;
use crate::database::Row;
use crate::error::CatalogError;
use crate::instances::InstanceTrouble;
use crate::lease::LeaseHolder;
use crate::row::{Decoder, decode_all};

/// A process that serves the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name, which stays the same over starts: it has data of its own.
    pub id: NodeId,
    /// The name of this start.
    pub run: NodeRun,
    /// What it does.
    pub role: NodeRole,
    /// The host under which clients reach its databases.
    pub host: String,
    /// How many databases it has ports for.
    pub ports: u32,
    /// Its vault: where it is, and what tells its key from others. All nodes have the same.
    pub vault: String,
    /// With which keys it seals: of each vault the name (none for the common one), `=` and the key's number.
    pub keys: String,
    /// The fingerprint of the certificate that its databases show, if they speak TLS.
    pub certificate: Option<String>,
    /// When it started.
    pub started_at: Timestamp,
    /// Until when it counts as there, unless it says so again.
    pub alive_until: Timestamp,
}

impl Node {
    /// Whether it counts as there.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        self.alive_until > now
    }
}

fn decode(row: &Row) -> Result<Node, CatalogError> {
    let row = Decoder::new("nodes", row);
    Ok(Node {
        id: row.parse("id")?,
        run: row.parse("run")?,
        role: row.parse("role")?,
        host: row.get("host")?,
        ports: row.get("ports")?,
        vault: row.get("vault")?,
        keys: row.get("keys")?,
        certificate: row.get("certificate")?,
        started_at: row.instant("started_at")?,
        alive_until: row.instant("alive_until")?,
    })
}

/// Whether a run is of a node that counts as there, as a condition on `run`; `?1` is the present.
pub(crate) fn is_alive(run: &str) -> String {
    format!("EXISTS (SELECT 1 FROM nodes n WHERE n.run = {run} AND n.alive_until > ?1)")
}

impl Catalog {
    /// Records the start of a node, and gives back what its earlier runs held: they are over, because a data
    /// folder has one process.
    ///
    /// # Errors
    ///
    /// `InUse` if another node is there that has another vault.
    pub fn join_node(&self, node: &Node) -> Result<(), CatalogError> {
        self.transact(|catalog| {
            for other in catalog.list_nodes()? {
                if other.id != node.id && other.is_alive(node.started_at) && other.vault != node.vault {
                    return Err(CatalogError::InUse(format!(
                        "these records are served by node {} with another vault ({}; here it is {}); nodes that share records share a vault in a bucket, and its key",
                        other.id, other.vault, node.vault
                    )));
                }
            }
            catalog.release_claims_of(node.id)?;
            catalog.lock().execute(
                "INSERT INTO nodes (id, run, role, host, ports, vault, started_at, alive_until, certificate, keys)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                 ON CONFLICT (id) DO UPDATE SET run = excluded.run, role = excluded.role, host = excluded.host,
                     ports = excluded.ports, vault = excluded.vault, started_at = excluded.started_at, alive_until = excluded.alive_until,
                     certificate = excluded.certificate, keys = excluded.keys",
                (
                    node.id.to_string(),
                    node.run.to_string(),
                    node.role.as_str(),
                    &node.host,
                    node.ports,
                    &node.vault,
                    node.started_at.as_second(),
                    node.alive_until.as_second(),
                    &node.certificate,
                    &node.keys,
                ),
            )?;
            Ok(())
        })
    }

    /// Says that a node is there, until its lease ends, and which certificate its databases show.
    ///
    /// # Errors
    ///
    /// `LeaseLost` if another run has the node's name by now.
    pub fn renew_node(
        &self,
        node: NodeId,
        (holder, now): (&LeaseHolder, Timestamp),
        certificate: Option<&str>,
    ) -> Result<(), CatalogError> {
        let changed = self.lock_quietly().execute(
            "UPDATE nodes SET alive_until = ?3, certificate = ?4 WHERE id = ?1 AND run = ?2",
            (node.to_string(), &holder.worker, holder.until(now), certificate),
        )?;
        crate::catalog::one_row(changed, || CatalogError::LeaseLost(format!("node {node}")))
    }

    /// Says that a node ends: what it holds is free at once.
    pub fn leave_node(&self, run: NodeRun, now: Timestamp) -> Result<(), CatalogError> {
        let sql = "UPDATE nodes SET alive_until = ?2 WHERE run = ?1 AND alive_until > ?2";
        self.lock_quietly().execute(sql, (run.to_string(), now.as_second()))?;
        Ok(())
    }

    /// All nodes, those that are gone too.
    pub fn list_nodes(&self) -> Result<Vec<Node>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached("SELECT * FROM nodes ORDER BY id")?;
        decode_all(statement.query(())?, decode)
    }

    /// Says that an instance is lost with its node, if the node is still gone since before an instant.
    pub fn lose_instance(
        &self,
        (id, node): (InstanceId, NodeId),
        gone_before: Timestamp,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        self.transact(|catalog| {
            let nodes = catalog.list_nodes()?;
            let is_back =
                nodes.iter().any(|found| found.id == node && found.alive_until >= gone_before);
            let present = catalog.load_instance(id)?;
            if is_back || present.node != Some(node) {
                return Ok(false);
            }
            catalog.set_instance_trouble(id, &InstanceTrouble::NodeLost, now)?;
            Ok(true)
        })
    }

    /// Forgets a node that has been gone for a while and on which no instance is.
    pub fn forget_nodes(&self, gone_since: Timestamp) -> Result<usize, CatalogError> {
        let sql = "DELETE FROM nodes WHERE alive_until < ?1 AND started_at < ?1
                   AND NOT EXISTS (SELECT 1 FROM instances i WHERE i.node = nodes.id AND i.state <> 'DELETED')";
        Ok(self.lock().execute(sql, [gone_since.as_second()])?)
    }

    /// Takes a duty, or keeps it; answers whether this run has it. Who does not count as there gets none.
    pub fn hold_duty(
        &self,
        name: &str,
        run: NodeRun,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        let held: Option<String> = {
            let connection = self.read()?;
            let mut statement = connection.prepare_cached(&format!(
                "SELECT run FROM duties WHERE name = ?2 AND {}",
                is_alive("duties.run")
            ))?;
            let mut rows = statement.query((now.as_second(), name))?;
            rows.next()?.map(|row| row.get(0)).transpose()?
        };
        if let Some(holder) = held {
            return Ok(holder == run.to_string());
        }
        let sql = format!(
            "INSERT INTO duties (name, run) SELECT CAST(?2 AS TEXT), CAST(?3 AS TEXT) WHERE {}
             ON CONFLICT (name) DO UPDATE SET run = excluded.run WHERE NOT {}",
            is_alive("?3"),
            is_alive("duties.run")
        );
        let taken = self.lock().execute(&sql, (now.as_second(), name, run.to_string()))?;
        Ok(taken == 1)
    }

    /// Gives back every claim of the earlier runs of a node.
    fn release_claims_of(&self, node: NodeId) -> Result<(), CatalogError> {
        let connection = self.lock();
        let of_node = "worker IN (SELECT run FROM nodes WHERE id = ?1)";
        for (table, states) in
            [("snapshots", "'queued', 'inProgress'"), ("restore_jobs", "'queued', 'running'")]
        {
            let sql = format!(
                "UPDATE {table} SET lease_until = 0 WHERE state IN ({states}) AND {of_node}"
            );
            connection.execute(&sql, [node.to_string()])?;
        }
        Ok(())
    }
}
