//! Instances.

use std::collections::BTreeSet;

use crate::database::{Connection, OptionalExtension, Row};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tidemark_model::{
    BackupSchedule, InstanceEvent, InstanceId, InstanceName, InstanceState, NodeId, OplogTime,
    ProjectId,
};

use crate::catalog::{Catalog, Page, Paged, one_row, taken};
use crate::error::CatalogError;
use crate::row::{Decoder, decode_all, to_json};

/// A key and a value that users attach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// Through which API an instance was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceFamily {
    /// The serverless API; also visible in the flex API.
    Serverless,
    /// The flex API.
    Flex,
    /// The API of dedicated clusters; in no other.
    Cluster,
}

/// Through which API instances are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceView {
    /// The serverless API: only what was created through it.
    Serverless,
    /// The flex API: those and what was created through it.
    Flex,
    /// The API of dedicated clusters: only those.
    Cluster,
}

impl InstanceView {
    /// Whether it shows instances of a family.
    pub fn shows(self, family: InstanceFamily) -> bool {
        match family {
            InstanceFamily::Serverless => self != Self::Cluster,
            InstanceFamily::Flex => self == Self::Flex,
            InstanceFamily::Cluster => self == Self::Cluster,
        }
    }

    /// All of them.
    const ALL: [Self; 3] = [Self::Serverless, Self::Flex, Self::Cluster];

    /// The count in the project and the number in the instance.
    fn columns(self) -> (&'static str, &'static str) {
        match self {
            Self::Serverless => ("serverless_count", "serverless_number"),
            Self::Flex => ("instance_count", "number"),
            Self::Cluster => ("cluster_count", "cluster_number"),
        }
    }
}

impl InstanceFamily {
    /// The word that the catalog uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serverless => "serverless",
            Self::Flex => "flex",
            Self::Cluster => "cluster",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Serverless, Self::Flex, Self::Cluster]
            .into_iter()
            .find(|family| family.as_str() == text)
    }
}

/// What users set on an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSettings {
    /// The cloud provider that the user named.
    pub backing_provider: String,
    /// The region that the user named.
    pub region: String,
    /// Whether it may be deleted.
    pub termination_protection: bool,
    /// Whether the user asked for continuous backup; the oplog is captured in any case.
    pub continuous_backup: bool,
    /// Tags.
    pub tags: Vec<Tag>,
    /// Whether the user asked for automatic indexing.
    #[serde(default = "is_on_unless_said")]
    pub auto_indexing: bool,
}

fn is_on_unless_said() -> bool {
    true
}

/// What holds the data of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// An engine inside Tidemark.
    Embedded,
    /// A deployment that somebody else runs.
    Attached,
}

impl Backing {
    /// The word that the catalog uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Attached => "attached",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Embedded, Self::Attached].into_iter().find(|backing| backing.as_str() == text)
    }
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its project.
    pub project: ProjectId,
    /// Its name, unique among the instances of the project that exist.
    pub name: InstanceName,
    /// Through which API it was created.
    pub family: InstanceFamily,
    /// Where it is in its life.
    pub state: InstanceState,
    /// What users set.
    pub settings: InstanceSettings,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its state changed last.
    pub changed_at: Timestamp,
    /// What holds its data.
    pub backing: Backing,
    /// The TCP port of its database, if that is inside Tidemark.
    pub port: Option<u16>,
    /// Why it is not served, if it should be.
    pub trouble: Option<InstanceTrouble>,
    /// The node on which its database is, if that is inside Tidemark and several nodes serve the records.
    pub node: Option<NodeId>,
    /// The vault in which its backups are, by its name in the configuration; the common one if there is none.
    pub vault: Option<String>,
}

/// Why an instance is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceTrouble {
    /// The folder with its data is gone.
    DataLost,
    /// The node that has its data has been gone for a while.
    NodeLost,
    /// Its database cannot be started.
    NotStarted(String),
}

const DATA_LOST: &str = "data lost";
const NODE_LOST: &str = "node lost";

pub(crate) fn decode(row: &Row) -> Result<Instance, CatalogError> {
    let row = Decoder::new("instances", row);
    let word = |column: &str| -> Result<String, CatalogError> { row.get(column) };
    let (state, family, backing) = (word("state")?, word("family")?, word("backing")?);
    Ok(Instance {
        id: row.parse("id")?,
        project: row.parse("project_id")?,
        name: row.parse("name")?,
        family: InstanceFamily::parse(&family)
            .ok_or_else(|| row.corrupt(format!("family {family:?}")))?,
        state: InstanceState::parse(&state)
            .ok_or_else(|| row.corrupt(format!("state {state:?}")))?,
        settings: row.json("settings")?,
        created_at: row.instant("created_at")?,
        changed_at: row.instant("changed_at")?,
        backing: Backing::parse(&backing)
            .ok_or_else(|| row.corrupt(format!("backing {backing:?}")))?,
        port: row.get("port")?,
        trouble: row.get::<Option<String>>("trouble")?.map(|text| match text.as_str() {
            DATA_LOST => InstanceTrouble::DataLost,
            NODE_LOST => InstanceTrouble::NodeLost,
            _ => InstanceTrouble::NotStarted(text),
        }),
        node: row.parse_optional("node")?,
        vault: row.get("vault")?,
    })
}

/// Records a wanted instance as the last of its project; the caller commits.
pub(crate) fn insert(connection: &Connection, instance: &Instance) -> Result<(), CatalogError> {
    let shown = |view: InstanceView| view.shows(instance.family);
    let [in_flex, in_serverless, in_clusters] =
        [InstanceView::Flex, InstanceView::Serverless, InstanceView::Cluster].map(shown);
    let numbers: Option<(i64, i64, i64)> = connection
        .prepare_cached(
            "UPDATE projects SET instance_count = instance_count + ?2, serverless_count = serverless_count + ?3,
                 cluster_count = cluster_count + ?4
             WHERE id = ?1 AND deleted_at IS NULL RETURNING instance_count, serverless_count, cluster_count",
        )?
        .query_row(
            (instance.project.to_string(), in_flex, in_serverless, in_clusters),
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()?;
    let (number, serverless_number, cluster_number) =
        numbers.ok_or_else(|| CatalogError::Missing(format!("project {}", instance.project)))?;
    connection
        .prepare_cached(
            "INSERT INTO instances (id, project_id, name, family, state, settings, created_at, changed_at, port,
                 number, serverless_number, cluster_number, backing, vault)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute((
            instance.id.to_string(),
            instance.project.to_string(),
            instance.name.as_str(),
            instance.family.as_str(),
            instance.state.as_str(),
            to_json(&instance.settings),
            instance.created_at.as_second(),
            instance.changed_at.as_second(),
            instance.port,
            in_flex.then_some(number),
            in_serverless.then_some(serverless_number),
            in_clusters.then_some(cluster_number),
            instance.backing.as_str(),
            instance.vault.as_deref(),
        ))
        .map_err(|error| taken(error, instance.name.as_str()))?;
    if instance.family == InstanceFamily::Cluster {
        let schedule = BackupSchedule::new(instance.created_at);
        connection.execute(
            "INSERT INTO backup_schedules (instance_id, schedule) VALUES (?1, ?2)",
            (instance.id.to_string(), to_json(&schedule)),
        )?;
    }
    Ok(())
}

/// The record of an instance that is deleted already and whose backups are kept.
pub(crate) fn insert_retired(
    connection: &Connection,
    instance: &Instance,
    kept_until: Timestamp,
) -> Result<(), CatalogError> {
    let changed = connection.execute(
        "INSERT INTO instances (id, project_id, name, family, state, settings, created_at, changed_at,
             retained_until, vault)
         VALUES (?1, ?2, ?3, ?4, 'DELETED', ?5, ?6, ?7, ?8, ?9)",
        (
            instance.id.to_string(),
            instance.project.to_string(),
            instance.name.as_str(),
            instance.family.as_str(),
            to_json(&instance.settings),
            instance.created_at.as_second(),
            instance.changed_at.as_second(),
            kept_until.as_second(),
            instance.vault.as_deref(),
        ),
    )?;
    one_row(changed, || CatalogError::Missing(format!("instance {}", instance.id)))
}

impl Catalog {
    /// Records a wanted instance; its name must be free in its project.
    pub fn insert_instance(&self, instance: &Instance) -> Result<(), CatalogError> {
        self.transact(|catalog| {
            let transaction = catalog.lock();
            insert(&transaction, instance)?;
            Ok(())
        })
    }

    /// The instance with this name.
    pub fn find_instance(
        &self,
        project: ProjectId,
        name: &str,
    ) -> Result<Option<Instance>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT * FROM instances WHERE project_id = ?1 AND name = ?2 AND state <> 'DELETED'",
        )?;
        let mut rows = statement.query((project.to_string(), name))?;
        rows.next()?.map(decode).transpose()
    }

    /// The name of the vault in which the backups of an instance are, even if it is deleted; the common one
    /// has none.
    pub fn vault_of(&self, id: InstanceId) -> Result<Option<String>, CatalogError> {
        let connection = self.read()?;
        let sql = "SELECT vault FROM instances WHERE id = ?1";
        let found = connection.prepare_cached(sql)?.query_row([id.to_string()], |row| row.get(0));
        found.optional()?.ok_or_else(|| CatalogError::Missing(format!("instance {id}")))
    }

    /// The instance with this id, even if it is deleted.
    pub fn load_instance(&self, id: InstanceId) -> Result<Instance, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached("SELECT * FROM instances WHERE id = ?1")?;
        let mut rows = statement.query([id.to_string()])?;
        let row = rows.next()?.ok_or_else(|| CatalogError::Missing(format!("instance {id}")))?;
        decode(row)
    }

    /// The instances of a project that a view shows, by age; every page costs the same.
    pub fn list_instances(
        &self,
        project: ProjectId,
        view: InstanceView,
        page: Page,
    ) -> Result<Paged<Instance>, CatalogError> {
        let (count, number) = view.columns();
        let connection = self.read()?;
        let total: i64 = connection
            .prepare_cached(&format!("SELECT {count} FROM projects WHERE id = ?1"))?
            .query_row([project.to_string()], |row| row.get(0))?;
        let mut statement = connection.prepare_cached(&format!(
            "SELECT * FROM instances WHERE project_id = ?1 AND {number} BETWEEN ?2 AND ?3 ORDER BY {number}"
        ))?;
        let (first, last) = page.ascending(total);
        let items = decode_all(statement.query((project.to_string(), first, last))?, decode)?;
        Ok(Paged { items, total: total.unsigned_abs() })
    }

    /// All instances of a project that exist, whatever view shows them, by name.
    pub fn list_project_instances(
        &self,
        project: ProjectId,
    ) -> Result<Vec<Instance>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT * FROM instances WHERE project_id = ?1 AND state <> 'DELETED' ORDER BY name",
        )?;
        decode_all(statement.query([project.to_string()])?, decode)
    }

    /// All instances that exist, for the host that runs them.
    pub fn list_all_instances(&self) -> Result<Vec<Instance>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection
            .prepare_cached("SELECT * FROM instances WHERE state <> 'DELETED' ORDER BY id")?;
        let items = decode_all(statement.query(())?, decode)?;
        Ok(items)
    }

    /// The ports that instances on a node have; all of them where there are no nodes.
    pub fn used_ports(&self, node: Option<NodeId>) -> Result<BTreeSet<u16>, CatalogError> {
        let instances = self.list_all_instances()?;
        let here = instances.iter().filter(|instance| instance.node == node);
        Ok(here.filter_map(|instance| instance.port).collect())
    }

    /// Records what happened to an instance; answers its state after that.
    pub fn record_instance_event(
        &self,
        id: InstanceId,
        event: InstanceEvent,
        at: Timestamp,
    ) -> Result<InstanceState, CatalogError> {
        self.transact(|catalog| {
            let present = catalog.load_instance(id)?.state;
            let state = present.after(event)?;
            if state != present {
                catalog.lock().execute(
                    "UPDATE instances SET state = ?2, changed_at = ?3 WHERE id = ?1",
                    (id.to_string(), state.as_str(), at.as_second()),
                )?;
            }
            Ok(state)
        })
    }

    /// Says that the backups of an instance end with it.
    pub fn give_backups_up(&self, id: InstanceId) -> Result<(), CatalogError> {
        let sql = "UPDATE instances SET keeps_backups = 0 WHERE id = ?1";
        let changed = self.lock().execute(sql, [id.to_string()])?;
        one_row(changed, || CatalogError::Missing(format!("instance {id}")))
    }

    /// The newest deleted instance that had a name and whose backups are kept.
    pub fn find_retired_instance(
        &self,
        project: ProjectId,
        name: &str,
    ) -> Result<Option<Instance>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT * FROM instances WHERE project_id = ?1 AND name = ?2 AND state = 'DELETED'
             AND retained_until IS NOT NULL ORDER BY changed_at DESC, id DESC LIMIT 1",
        )?;
        let mut rows = statement.query((project.to_string(), name))?;
        rows.next()?.map(decode).transpose()
    }

    /// The deleted instances of a project whose backups are kept, with until when.
    pub fn list_retired_instances(
        &self,
        project: ProjectId,
    ) -> Result<Vec<(Instance, Timestamp)>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT * FROM instances WHERE project_id = ?1 AND state = 'DELETED'
             AND retained_until IS NOT NULL ORDER BY id",
        )?;
        decode_all(statement.query([project.to_string()])?, |row| {
            let until = Decoder::new("instances", row).instant("retained_until")?;
            Ok((decode(row)?, until))
        })
    }

    /// Deleted instances whose backups need not be kept any longer.
    pub fn list_expired_instances(&self, now: Timestamp) -> Result<Vec<InstanceId>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT id FROM instances WHERE state = 'DELETED' AND retained_until <= ?1",
        )?;
        let parse = |row: &Row| Decoder::new("instances", row).parse("id");
        decode_all(statement.query([now.as_second()])?, parse)
    }

    /// Records that nothing of a deleted instance is kept any more.
    pub fn record_purged_instance(&self, id: InstanceId) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE instances SET retained_until = NULL WHERE id = ?1 AND state = 'DELETED'",
            [id.to_string()],
        )?;
        one_row(changed, || CatalogError::Missing(format!("deleted instance {id}")))
    }

    /// Takes an instance that is gone out of its project: those after it move up. Its backups stay
    /// for `retention`, unless somebody gave them up.
    pub fn retire_instance(
        &self,
        id: InstanceId,
        at: Timestamp,
        retention: SignedDuration,
    ) -> Result<(), CatalogError> {
        let kept_until = at.saturating_add(retention).unwrap_or(at);
        self.transact(|catalog| {
            let project = catalog.load_instance(id)?.project.to_string();
            catalog.record_instance_event(id, InstanceEvent::Removed, at)?;
            let (connection, key) = (catalog.lock(), id.to_string());
            for view in InstanceView::ALL {
                let (count, number) = view.columns();
                let place: Option<i64> = connection.query_row(
                    &format!("SELECT {number} FROM instances WHERE id = ?1"),
                    [&key],
                    |row| row.get(0),
                )?;
                let Some(place) = place else { continue };
                connection.execute(
                    &format!(
                        "UPDATE instances SET {number} = {number} - 1 WHERE project_id = ?1 AND {number} > ?2"
                    ),
                    (&project, place),
                )?;
                connection.execute(
                    &format!("UPDATE projects SET {count} = {count} - 1 WHERE id = ?1"),
                    [&project],
                )?;
            }
            for table in ["deployments", "backup_schedules"] {
                let sql = format!("DELETE FROM {table} WHERE instance_id = ?1");
                connection.execute(&sql, [&key])?;
            }
            connection.execute(
                "UPDATE instances SET number = NULL, serverless_number = NULL, cluster_number = NULL,
                     retained_until = CASE WHEN keeps_backups = 1 THEN CAST(?3 AS BIGINT) ELSE CAST(?2 AS BIGINT) END WHERE id = ?1",
                (&key, at.as_second(), kept_until.as_second()),
            )?;
            Ok(())
        })
    }

    /// Records why an instance is not served, and that it is being repaired.
    pub fn set_instance_trouble(
        &self,
        id: InstanceId,
        trouble: &InstanceTrouble,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        let text = match trouble {
            InstanceTrouble::DataLost => DATA_LOST,
            InstanceTrouble::NodeLost => NODE_LOST,
            InstanceTrouble::NotStarted(text) => text.as_str(),
        };
        self.transact(|catalog| {
            catalog.record_instance_event(id, InstanceEvent::Unserved, at)?;
            catalog.write_trouble(id, Some(text))
        })
    }

    /// Records that an instance that was being repaired is served.
    pub fn clear_instance_trouble(
        &self,
        id: InstanceId,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        self.transact(|catalog| {
            catalog.record_instance_event(id, InstanceEvent::Repaired, at)?;
            catalog.write_trouble(id, None)
        })
    }

    fn write_trouble(&self, id: InstanceId, text: Option<&str>) -> Result<(), CatalogError> {
        let sql = "UPDATE instances SET trouble = ?2 WHERE id = ?1";
        self.lock().execute(sql, (id.to_string(), text))?;
        Ok(())
    }

    /// Lets an instance whose data is gone begin anew, empty and with another port.
    pub fn begin_instance_anew(&self, id: InstanceId, at: Timestamp) -> Result<(), CatalogError> {
        self.transact(|catalog| {
            let trouble = catalog.load_instance(id)?.trouble;
            if !matches!(trouble, Some(InstanceTrouble::DataLost | InstanceTrouble::NodeLost)) {
                return Err(CatalogError::InUse(format!("instance {id} has not lost its data")));
            }
            catalog.record_instance_event(id, InstanceEvent::BegunAnew, at)?;
            // What was captured is of a database that is no more: nothing comes after it.
            if let Some(newest) = catalog.newest_oplog_range(id)? {
                let end = OplogTime::from_u64(newest.last.to_u64().saturating_add(1));
                catalog.end_oplog_range(id, end)?;
            }
            let sql = "UPDATE instances SET port = NULL, trouble = NULL, node = NULL WHERE id = ?1";
            catalog.lock().execute(sql, [id.to_string()])?;
            Ok(())
        })
    }

    /// Takes an instance that is on no node yet; answers whether it is on this one now.
    pub fn claim_instance(&self, id: InstanceId, node: NodeId) -> Result<bool, CatalogError> {
        let sql =
            "UPDATE instances SET node = ?2 WHERE id = ?1 AND node IS NULL AND state <> 'DELETED'";
        Ok(self.lock().execute(sql, (id.to_string(), node.to_string()))? == 1)
    }

    /// Frees an instance that was about to be made on a node that is gone: another one may make it. Answers
    /// whether it was.
    pub fn abandon_creation(&self, id: InstanceId, node: NodeId) -> Result<bool, CatalogError> {
        let sql = "UPDATE instances SET node = NULL, port = NULL WHERE id = ?1 AND node = ?2 AND state = 'CREATING'";
        Ok(self.lock().execute(sql, (id.to_string(), node.to_string()))? == 1)
    }

    /// Says that the node of a lost instance is back and starts it: it does not begin anew elsewhere any more.
    /// Answers whether it is still on that node.
    pub fn take_back(&self, id: InstanceId, node: NodeId) -> Result<bool, CatalogError> {
        let sql = "UPDATE instances SET trouble = 'its node is back; it starts' WHERE id = ?1 AND node = ?2";
        Ok(self.lock().execute(sql, (id.to_string(), node.to_string()))? == 1)
    }

    /// Records the port of an instance, and that the node which took it has it still.
    pub fn set_instance_port(
        &self,
        id: InstanceId,
        port: u16,
        node: Option<NodeId>,
    ) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE instances SET port = ?2 WHERE id = ?1 AND node IS NOT DISTINCT FROM ?3",
            (id.to_string(), port, node.map(|node| node.to_string())),
        )?;
        one_row(changed, || CatalogError::Missing(format!("instance {id}")))
    }

    /// Records what users changed on an instance.
    pub fn set_instance_settings(
        &self,
        id: InstanceId,
        settings: &InstanceSettings,
    ) -> Result<(), CatalogError> {
        let changed = self.lock().execute(
            "UPDATE instances SET settings = ?2 WHERE id = ?1",
            (id.to_string(), to_json(settings)),
        )?;
        one_row(changed, || CatalogError::Missing(format!("instance {id}")))
    }
}
