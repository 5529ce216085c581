//! One request to an operation, after authentication.

use std::collections::BTreeMap;

use tidemark_catalog::{Instance, Page, Project};
use tidemark_model::{Caller, ProjectId, Role, SnapshotId};

use crate::api::Api;
use crate::body::Body;
use crate::error::{ApiError, Result};

/// Items on a page unless the client says otherwise, and at most.
const DEFAULT_PAGE_SIZE: u64 = 100;
const LARGEST_PAGE_SIZE: u64 = 500;

/// One request to an operation.
pub(crate) struct Call<'a> {
    pub(crate) api: &'a Api,
    pub(crate) caller: &'a Caller,
    /// Scheme and host in links.
    pub(crate) base_url: &'a str,
    /// The path as requested.
    pub(crate) path: &'a str,
    pub(crate) path_values: BTreeMap<&'static str, String>,
    pub(crate) query: &'a [(String, String)],
    pub(crate) body: Option<serde_json::Value>,
}

impl Call<'_> {
    /// A value of the path template.
    pub(crate) fn path_value(&self, name: &str) -> &str {
        self.path_values.get(name).map_or("", String::as_str)
    }

    pub(crate) fn query_value(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .rev()
            .find(|(candidate, _)| candidate == name)
            .map(|(_, value)| value.as_str())
    }

    /// A flag of the query.
    pub(crate) fn query_flag(&self, name: &str, default: bool) -> Result<bool> {
        query_flag(self.query, name, default)
    }

    /// Which page of a list is wanted: absent and 0 are the default, too many are the most.
    pub(crate) fn page(&self) -> Result<Page> {
        let number = |name: &str| match self.query_value(name) {
            None | Some("") => Ok(0),
            Some(text) => text.parse::<u64>().map_err(|_| ApiError::invalid_query_parameter(name)),
        };
        let size = match number("itemsPerPage")? {
            0 => DEFAULT_PAGE_SIZE,
            size => size.min(LARGEST_PAGE_SIZE),
        };
        Ok(Page { number: number("pageNum")?.max(1), size })
    }

    /// The body's attributes; a missing body is an empty one.
    pub(crate) fn body(&self) -> Result<Body<'_>> {
        static EMPTY: std::sync::LazyLock<serde_json::Value> =
            std::sync::LazyLock::new(|| serde_json::Value::Object(serde_json::Map::new()));
        Body::new(self.body.as_ref().unwrap_or(&EMPTY))
    }

    /// The project of the path, if the caller may do there what needs `role`.
    pub(crate) fn project(&self, role: Role) -> Result<Project> {
        let text = self.path_value("groupId");
        let id: ProjectId = text.parse().map_err(|_| ApiError::invalid_group_id(text))?;
        let project =
            self.api.catalog.find_project(id)?.ok_or_else(|| ApiError::group_not_found(id))?;
        if !self.caller.sees_project(project.org, project.id) {
            return Err(ApiError::not_in_group());
        }
        if !self.caller.may_in_project(project.org, project.id, role) {
            return Err(ApiError::not_authorized());
        }
        Ok(project)
    }

    /// The project and the instance of the path.
    pub(crate) fn instance(&self, role: Role) -> Result<(Project, Instance)> {
        let project = self.project(role)?;
        let name = match self.path_value("clusterName") {
            "" => self.path_value("name"),
            name => name,
        };
        let instance = self.api.catalog.find_instance(project.id, name)?;
        let instance = instance.ok_or_else(|| ApiError::cluster_not_found(name, project.id))?;
        Ok((project, instance))
    }

    /// The snapshot id of the path.
    pub(crate) fn snapshot_id(&self) -> Result<SnapshotId> {
        let text = self.path_value("snapshotId");
        text.parse().map_err(|_| ApiError::invalid_snapshot_id(text))
    }

    /// The address of a resource below the API's root.
    pub(crate) fn href(&self, path: &str) -> String {
        format!("{}/api/atlas/v2{path}", self.base_url)
    }
}

/// A flag of a query.
pub(crate) fn query_flag(query: &[(String, String)], name: &str, default: bool) -> Result<bool> {
    match query
        .iter()
        .rev()
        .find(|(candidate, _)| candidate == name)
        .map(|(_, value)| value.as_str())
    {
        None | Some("") => Ok(default),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(ApiError::invalid_query_parameter(name)),
    }
}
