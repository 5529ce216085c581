//! Attached deployments: how they are reached, and how they are.

use jiff::Timestamp;
use rusqlite::Row;
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

/// An attached deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// The instance that stands for it.
    pub instance: InstanceId,
    /// How it is reached.
    pub reach: Reach,
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

fn decode(row: &Row<'_>) -> Result<Deployment, CatalogError> {
    let row = Decoder::new("deployments", row);
    let word = |column: &str| -> Result<String, CatalogError> { row.get(column) };
    let (read_from, condition) = (word("read_from")?, word("condition")?);
    let report: Option<String> = row.get("report")?;
    Ok(Deployment {
        instance: row.parse("instance_id")?,
        reach: Reach {
            address: row.get("address")?,
            sealed: row.get("sealed")?,
            read_from: ReadFrom::parse(&read_from)
                .ok_or_else(|| row.corrupt(format!("read_from {read_from:?}")))?,
            read_rate: row.get("read_rate")?,
        },
        version: row.get("version")?,
        condition: Condition::parse(&condition, &word("reasons")?)
            .ok_or_else(|| row.corrupt(format!("condition {condition:?}")))?,
        condition_since: row.instant("condition_since")?,
        probed_at: row.optional_instant("probed_at")?,
        report: report.map(|_| row.json("report")).transpose()?,
    })
}

impl Catalog {
    /// Records an attached deployment together with the instance that stands for it.
    pub fn insert_deployment(
        &self,
        instance: &Instance,
        reach: &Reach,
        report: &ProbeReport,
    ) -> Result<(), CatalogError> {
        let mut connection = self.lock();
        let transaction = connection.begin()?;
        instances::insert(&transaction, instance)?;
        let condition = Condition::of(report);
        transaction.execute(
            "INSERT INTO deployments (instance_id, address, sealed, read_from, read_rate, condition,
                 reasons, condition_since, probed_at, report)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9)",
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
            ),
        )?;
        Ok(transaction.commit()?)
    }

    /// The deployment behind an instance.
    pub fn find_deployment(&self, id: InstanceId) -> Result<Option<Deployment>, CatalogError> {
        let connection = self.read()?;
        let mut statement =
            connection.prepare_cached("SELECT * FROM deployments WHERE instance_id = ?1")?;
        let mut rows = statement.query([id.to_string()])?;
        rows.next()?.map(decode).transpose()
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
            "UPDATE deployments SET report = ?2, probed_at = ?3 WHERE instance_id = ?1",
            (id.to_string(), to_json(report), now.as_second()),
        )?;
        one_row(changed, || CatalogError::Missing(format!("deployment {id}")))
    }

    /// Forgets how a deployment was reached; its instance stays.
    pub fn forget_deployment(&self, id: InstanceId) -> Result<(), CatalogError> {
        self.lock().execute("DELETE FROM deployments WHERE instance_id = ?1", [id.to_string()])?;
        Ok(())
    }
}
