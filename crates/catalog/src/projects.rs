//! Projects.

use std::collections::BTreeMap;

use crate::database::{Connection, Row};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tidemark_model::{Caller, OrgId, ProjectId, Role};

use crate::catalog::{Catalog, Page, Paged, one_row, taken};
use crate::error::CatalogError;
use crate::instances::Tag;
use crate::roles;
use crate::row::{Decoder, to_json};

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// Its organization.
    pub org: OrgId,
    /// Its name, unique in the organization.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// How many instances it has, clusters among them.
    pub instance_count: u64,
    /// What was set, by the names of the API; absent is the default.
    pub settings: Map<String, Value>,
    /// The limits that were set, by the names of the API; absent is the default.
    pub limits: BTreeMap<String, i64>,
}

impl Project {
    /// A project as it begins.
    pub fn new(org: OrgId, name: &str, created_at: Timestamp) -> Self {
        Self {
            id: ProjectId::new(created_at),
            org,
            name: name.to_owned(),
            created_at,
            tags: Vec::new(),
            instance_count: 0,
            settings: Map::new(),
            limits: BTreeMap::new(),
        }
    }
}

fn decode(row: &Row) -> Result<Project, CatalogError> {
    let row = Decoder::new("projects", row);
    Ok(Project {
        id: row.parse("id")?,
        org: row.parse("org_id")?,
        name: row.get("name")?,
        created_at: row.instant("created_at")?,
        tags: row.json("tags")?,
        instance_count: (row.get::<i64>("instance_count")? + row.get::<i64>("cluster_count")?)
            .unsigned_abs(),
        settings: row.json("settings")?,
        limits: row.json("limits")?,
    })
}

pub(crate) fn insert(connection: &Connection, project: &Project) -> Result<(), CatalogError> {
    connection
        .execute(
            "INSERT INTO projects (id, org_id, name, created_at, tags, settings, limits)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (
                project.id.to_string(),
                project.org.to_string(),
                &project.name,
                project.created_at.as_second(),
                to_json(&project.tags),
                to_json(&project.settings),
                to_json(&project.limits),
            ),
        )
        .map_err(|error| taken(error, &project.name))?;
    Ok(())
}

impl Catalog {
    /// Records a project; its name must be free in its organization.
    ///
    /// Whoever made it owns it, by a role of its own unless it is an owner anyway.
    pub fn insert_project(&self, project: &Project, maker: &Caller) -> Result<(), CatalogError> {
        self.transact(|catalog| {
            let transaction = catalog.lock();
            insert(&transaction, project)?;
            if !maker.may_in_project(project.org, project.id, Role::GroupOwner) {
                roles::grant(&transaction, maker.principal, (project.id, Role::GroupOwner))?;
            }
            Ok(())
        })
    }

    /// Records name, tags, settings and limits of a project; its name must be free.
    pub fn update_project(&self, project: &Project) -> Result<(), CatalogError> {
        let changed = self
            .lock()
            .execute(
                "UPDATE projects SET name = ?2, tags = ?3, settings = ?4, limits = ?5
                 WHERE id = ?1 AND deleted_at IS NULL",
                (
                    project.id.to_string(),
                    &project.name,
                    to_json(&project.tags),
                    to_json(&project.settings),
                    to_json(&project.limits),
                ),
            )
            .map_err(|error| taken(error, &project.name))?;
        one_row(changed, || CatalogError::Missing(format!("project {}", project.id)))
    }

    /// The project with this id.
    pub fn find_project(&self, id: ProjectId) -> Result<Option<Project>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection
            .prepare_cached("SELECT * FROM projects WHERE id = ?1 AND deleted_at IS NULL")?;
        let mut rows = statement.query([id.to_string()])?;
        rows.next()?.map(decode).transpose()
    }

    /// The project with this name.
    pub fn find_project_by_name(
        &self,
        org: OrgId,
        name: &str,
    ) -> Result<Option<Project>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT * FROM projects WHERE org_id = ?1 AND name = ?2 AND deleted_at IS NULL",
        )?;
        let mut rows = statement.query((org.to_string(), name))?;
        rows.next()?.map(decode).transpose()
    }

    /// How many projects an organization has.
    pub fn count_projects(&self, org: OrgId) -> Result<u64, CatalogError> {
        let count: i64 = self.read()?.query_row(
            "SELECT count(*) FROM projects WHERE org_id = ?1 AND deleted_at IS NULL",
            [org.to_string()],
            |row| row.get(0),
        )?;
        Ok(count.unsigned_abs())
    }

    /// The projects that a caller sees and whose name begins with `prefix`, by name.
    ///
    /// An organization has at most a few hundred, so all are looked at.
    pub fn list_projects(
        &self,
        caller: &Caller,
        prefix: &str,
        page: Page,
    ) -> Result<Paged<Project>, CatalogError> {
        let connection = self.read()?;
        let mut statement = connection.prepare_cached(
            "SELECT * FROM projects WHERE org_id = ?1 AND deleted_at IS NULL ORDER BY name",
        )?;
        let mut rows = statement.query([caller.org.to_string()])?;
        let prefix = prefix.to_lowercase();
        let mut visible = Vec::new();
        while let Some(row) = rows.next()? {
            let project = decode(row)?;
            let is_asked = project.name.to_lowercase().starts_with(&prefix);
            if is_asked && caller.sees_project(project.org, project.id) {
                visible.push(project);
            }
        }
        Ok(page.of(visible))
    }

    /// Deletes a project that has no instances; roles in it end with it.
    pub fn delete_project(&self, id: ProjectId, at: Timestamp) -> Result<(), CatalogError> {
        self.transact(|catalog| {
            let transaction = catalog.lock();
            let project = id.to_string();
            let changed = transaction.execute(
                "UPDATE projects SET deleted_at = ?2
             WHERE id = ?1 AND deleted_at IS NULL AND instance_count = 0 AND cluster_count = 0",
                (&project, at.as_second()),
            )?;
            if changed == 0 {
                let exists: bool = transaction.query_row(
                    "SELECT EXISTS (SELECT 1 FROM projects WHERE id = ?1 AND deleted_at IS NULL)",
                    [&project],
                    |row| row.get(0),
                )?;
                return Err(if exists {
                    CatalogError::InUse("the project has active clusters".to_owned())
                } else {
                    CatalogError::Missing(format!("project {id}"))
                });
            }
            roles::forget_project(&transaction, id)?;
            transaction.execute("DELETE FROM database_users WHERE project_id = ?1", [&project])?;
            transaction.execute("DELETE FROM network_entries WHERE project_id = ?1", [&project])?;
            Ok(())
        })
    }
}
