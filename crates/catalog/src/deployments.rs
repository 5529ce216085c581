//! Attached deployments: how they are reached, and how they are.

use std::collections::HashMap;

use crate::database::Row;
use jiff::Timestamp;
use tidemark_model::{Condition, InstanceId, ProbeReport, ProjectId, ReadFrom};

use crate::catalog::{Catalog, one_row};
use crate::error::CatalogError;
use crate::instances::{self, Instance};
use crate::row::{Decoder, decode_all, to_json};

/// How a deployment is reached, as far as it is not secret, and the rest sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The connection string without what is secret in it.
    pub address: String,
    /// The whole of it, encrypted.
    pub sealed: String,
    /// From which members data is read.
    pub read_from: ReadFrom,
    /// Megabytes that are read in a second at most.
    pub read_rate: Option<u32>,
}

/// A part of an attached deployment: the databases whose names begin with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The instance that stands for the whole deployment.
    pub host: InstanceId,
    /// What the names of the databases begin with.
    pub prefix: String,
    /// Whether it was seen that nothing was there before.
    pub is_claimed: bool,
    /// Whether what is there stays when the instance is removed.
    pub leaves_data: bool,
}

/// An attached deployment, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// The instance that stands for it.
    pub instance: InstanceId,
    /// How it is reached; empty for a part of a deployment.
    pub reach: Reach,
    /// Which part of which deployment it is, if it is not a whole one.
    pub placement: Option<Placement>,
    /// Rises whenever that changes.
    pub version: i64,
    /// How it is.
    pub condition: Condition,
    /// Since when it is so.
    pub condition_since: Timestamp,
    /// When it was probed last.
    pub probed_at: Option<Timestamp>,
    /// What that found.
    pub report: Option<ProbeReport>,
}

fn decode(row: &Row) -> Result<Deployment, CatalogError> {
    let row = Decoder::new("deployments", row);
    let word = |column: &str| -> Result<String, CatalogError> { row.get(column) };
    let (read_from, condition) = (word("read_from")?, word("condition")?);
    let report: Option<String> = row.get("report")?;
    let host: Option<String> = row.get("placed_on")?;
    let placement = host
        .map(|_| {
            Ok::<_, CatalogError>(Placement {
                host: row.parse("placed_on")?,
                prefix: row.get("database_prefix")?,
                is_claimed: row.get("is_claimed")?,
                leaves_data: row.get("leaves_data")?,
            })
        })
        .transpose()?;
    Ok(Deployment {
        instance: row.parse("instance_id")?,
        reach: Reach {
            address: row.get("address")?,
            sealed: row.get("sealed")?,
            read_from: ReadFrom::parse(&read_from)
                .ok_or_else(|| row.corrupt(format!("read_from {read_from:?}")))?,
            read_rate: row.get("read_rate")?,
        },
        placement,
        version: row.get("version")?,
        condition: Condition::parse(&condition, &word("reasons")?)
            .ok_or_else(|| row.corrupt(format!("condition {condition:?}")))?,
        condition_since: row.instant("condition_since")?,
        probed_at: row.optional_instant("probed_at")?,
        report: report.map(|_| row.json("report")).transpose()?,
    })
}

/// What a probe calls an oplog that can be followed.
const OPLOG: &str = "oplog";

impl Catalog {
    /// Records an attached deployment together with the instance that stands for it.
    pub fn insert_deployment(
        &self,
        instance: &Instance,
        reach: &Reach,
        report: &ProbeReport,
    ) -> Result<(), CatalogError> {
        self.transact(|catalog| {
            let transaction = catalog.lock();
            instances::insert(&transaction, instance)?;
            let condition = Condition::of(report);
            transaction.execute(
            "INSERT INTO deployments (instance_id, address, sealed, read_from, read_rate, condition,
                 reasons, condition_since, probed_at, report, has_oplog)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10)",
            (
                instance.id.to_string(),
                &reach.address,
                &reach.sealed,
                reach.read_from.as_str(),
                reach.read_rate,
                condition.as_str(),
                condition.reasons(),
                instance.created_at.as_second(),
                to_json(report),
                report.holds(OPLOG),
            ),
        )?;
            Ok(())
        })
    }

    /// Records an instance that is a part of an attached deployment. No prefix there may be the
    /// beginning of another one, in whatever case.
    pub fn insert_placed(
        &self,
        instance: &Instance,
        (host, prefix): (InstanceId, &str),
    ) -> Result<(), CatalogError> {
        self.transact(|catalog| {
            let connection = catalog.lock();
            let taken: i64 = connection.query_row(
                "SELECT count(*) FROM deployments WHERE placed_on = ?1
                 AND (substr(lower(?2), 1, length(database_prefix)) = lower(database_prefix)
                      OR substr(lower(database_prefix), 1, length(?2)) = lower(?2))",
                (host.to_string(), prefix),
                |row| row.get(0),
            )?;
            if taken > 0 {
                return Err(CatalogError::InUse(format!("databases that begin with {prefix}")));
            }
            instances::insert(&connection, instance)?;
            connection.execute(
                "INSERT INTO deployments (instance_id, address, sealed, read_from, condition, reasons,
                     condition_since, placed_on, database_prefix)
                 VALUES (?1, '', '', ?2, ?3, '', ?4, ?5, ?6)",
                (
                    instance.id.to_string(),
                    ReadFrom::default().as_str(),
                    Condition::Unknown.as_str(),
                    instance.created_at.as_second(),
                    host.to_string(),
                    prefix,
                ),
            )?;
            Ok(())
        })
    }

    /// Records that nothing was there before in the databases of a part of a deployment.
    pub fn claim_placement(&self, id: InstanceId) -> Result<(), CatalogError> {
        self.lock().execute(
            "UPDATE deployments SET is_claimed = 1 WHERE instance_id = ?1",
            [id.to_string()],
        )?;
        Ok(())
    }

    /// Records that the databases of a part of a deployment stay when the instance is removed.
    pub fn leave_data(&self, id: InstanceId) -> Result<(), CatalogError> {
        self.lock().execute(
            "UPDATE deployments SET leaves_data = 1 WHERE instance_id = ?1",
            [id.to_string()],
        )?;
        Ok(())
    }

    /// Whether instances are parts of a deployment.
    pub fn is_host(&self, id: InstanceId) -> Result<bool, CatalogError> {
        let connection = self.read()?;
        let mut statement =
            connection.prepare_cached("SELECT 1 FROM deployments WHERE placed_on = ?1 LIMIT 1")?;
        Ok(statement.exists([id.to_string()])?)
    }

    /// The deployment behind an instance.
    pub fn find_deployment(&self, id: InstanceId) -> Result<Option<Deployment>, CatalogError> {
        let connection = self.read()?;
        let mut statement =
            connection.prepare_cached("SELECT * FROM deployments WHERE instance_id = ?1")?;
        let mut rows = statement.query([id.to_string()])?;
        rows.next()?.map(decode).transpose()
    }

    /// How each attached deployment is, and whether it was found to have an oplog; at the price of one
    /// question, however many there are.
    pub fn list_conditions(&self) -> Result<HashMap<InstanceId, (Condition, bool)>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT instance_id, condition, reasons, has_oplog,
                 CASE WHEN has_oplog IS NULL THEN report END AS report FROM deployments",
        )?;
        let found = decode_all(statement.query(())?, |row| {
            let row = Decoder::new("deployments", row);
            let (word, reasons): (String, String) = (row.get("condition")?, row.get("reasons")?);
            let condition = Condition::parse(&word, &reasons)
                .ok_or_else(|| row.corrupt(format!("condition {word:?}")))?;
            let report: Option<String> = row.get("report")?;
            let has_oplog = match row.get::<Option<bool>>("has_oplog")? {
                Some(has_oplog) => has_oplog,
                None if report.is_some() => row.json::<ProbeReport>("report")?.holds(OPLOG),
                None => false,
            };
            Ok((row.parse("instance_id")?, (condition, has_oplog)))
        })?;
        Ok(found.into_iter().collect())
    }

    /// The attached deployments of a project with the instances that stand for them, by age.
    pub fn list_deployments(
        &self,
        project: ProjectId,
    ) -> Result<Vec<(Instance, Deployment)>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT i.*, d.* FROM instances i JOIN deployments d ON d.instance_id = i.id
             WHERE i.project_id = ?1 AND i.state <> 'DELETED' ORDER BY i.id",
        )?;
        decode_all(statement.query([project.to_string()])?, |row| {
            Ok((instances::decode(row)?, decode(row)?))
        })
    }

    /// Records that a deployment is reached in another way.
    pub fn set_reach(&self, id: InstanceId, reach: &Reach) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE deployments SET address = ?2, sealed = ?3, read_from = ?4, read_rate = ?5,
                 version = version + 1 WHERE instance_id = ?1",
            (
                id.to_string(),
                &reach.address,
                &reach.sealed,
                reach.read_from.as_str(),
                reach.read_rate,
            ),
        )?;
        one_row(changed, || CatalogError::Missing(format!("deployment {id}")))
    }

    /// What is sealed of each deployment.
    pub fn list_sealed(&self) -> Result<Vec<(InstanceId, String)>, CatalogError> {
        let connection = self.read()?;
        let mut statement =
            connection.prepare_cached("SELECT instance_id, sealed FROM deployments")?;
        decode_all(statement.query(())?, |row| {
            let row = Decoder::new("deployments", row);
            Ok((row.parse("instance_id")?, row.get("sealed")?))
        })
    }

    /// Records that the same is sealed with another key, unless it was changed meanwhile.
    pub fn replace_sealed(
        &self,
        id: InstanceId,
        before: &str,
        sealed: &str,
    ) -> Result<(), CatalogError> {
        self.lock().execute(
            "UPDATE deployments SET sealed = ?3 WHERE instance_id = ?1 AND sealed = ?2",
            (id.to_string(), before, sealed),
        )?;
        Ok(())
    }

    /// Records how a deployment is; since when stays as long as it is the same.
    pub fn set_condition(
        &self,
        id: InstanceId,
        condition: &Condition,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE deployments SET
                 condition_since = CASE WHEN condition = ?2 THEN condition_since ELSE ?4 END,
                 condition = ?2, reasons = ?3 WHERE instance_id = ?1",
            (id.to_string(), condition.as_str(), condition.reasons(), now.as_second()),
        )?;
        one_row(changed, || CatalogError::Missing(format!("deployment {id}")))
    }

    /// Records what a probe found.
    pub fn set_report(
        &self,
        id: InstanceId,
        report: &ProbeReport,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE deployments SET report = ?2, probed_at = ?3, has_oplog = ?4 WHERE instance_id = ?1",
            (id.to_string(), to_json(report), now.as_second(), report.holds(OPLOG)),
        )?;
        one_row(changed, || CatalogError::Missing(format!("deployment {id}")))
    }
}
