//! One request to an operation, after authentication.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tidemark_catalog::{Catalog, Instance, InstanceView, Org, Page, Project};
use tidemark_model::{
    ApiKeyId, Caller, OrgId, ProjectId, RestoreJobId, Role, SecretId, ServiceAccountId, SnapshotId,
};

use crate::api::Api;
use crate::body::Body;
use crate::credentials::account_of;
use crate::error::{ApiError, Result};
use crate::version::Version;

/// Items on a page unless the client says otherwise, and at most.
const DEFAULT_PAGE_SIZE: u64 = 100;
const LARGEST_PAGE_SIZE: u64 = 500;

/// The values of a path's placeholders.
pub(crate) type PathValues = BTreeMap<&'static str, String>;

/// One request to an operation.
pub(crate) struct Call<'a> {
    pub(crate) api: &'a Api,
    /// The records; those of one transaction where the operation changes something.
    pub(crate) catalog: &'a Catalog,
    pub(crate) caller: &'a Caller,
    /// From where it came.
    pub(crate) address: IpAddr,
    /// Scheme and host in links.
    pub(crate) base_url: &'a str,
    /// Scheme and host in links to downloads: never what an unknown client says they are.
    pub(crate) download_url: &'a str,
    /// The version that is answered in.
    pub(crate) version: Version,
    /// Under which path the API was asked.
    pub(crate) root: &'static str,
    /// The path as requested.
    pub(crate) path: &'a str,
    pub(crate) path_values: PathValues,
    pub(crate) query: &'a [(String, String)],
    pub(crate) body: Option<serde_json::Value>,
}

/// The instance of a path, with its project.
pub(crate) struct Target {
    pub(crate) project: Project,
    pub(crate) instance: Instance,
}

impl Call<'_> {
    /// A value of the path template.
    pub(crate) fn path_value(&self, name: &str) -> &str {
        self.path_values.get(name).map_or("", String::as_str)
    }

    pub(crate) fn query_value(&self, name: &str) -> Option<&str> {
        query_value(self.query, name)
    }

    /// All values of a parameter that may be given several times.
    pub(crate) fn query_values(&self, name: &str) -> Vec<&str> {
        let found = self.query.iter().filter(|(candidate, _)| candidate == name);
        found.map(|(_, value)| value.as_str()).collect()
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

    /// The objects of a body that is an array.
    pub(crate) fn items(&self) -> Result<Vec<Body<'_>>> {
        let items = self.body.as_ref().and_then(serde_json::Value::as_array);
        items.ok_or_else(ApiError::invalid_json)?.iter().map(Body::new).collect()
    }

    /// The organization of the path, if the caller has one of the roles in it.
    pub(crate) fn find_org(&self, roles: &[Role]) -> Result<Org> {
        let text = self.path_value("orgId");
        let id: OrgId = text.parse().map_err(|_| ApiError::invalid_org_id(text))?;
        let org = self.catalog.find_org(id)?.ok_or_else(|| ApiError::org_not_found(text))?;
        if self.caller.org != org.id {
            return Err(ApiError::cannot_access_org());
        }
        if !roles.iter().any(|role| self.caller.may_in_org(org.id, *role)) {
            return Err(ApiError::not_authorized());
        }
        Ok(org)
    }

    /// The project of the path, if the caller has one of the roles in it.
    pub(crate) fn find_project(&self, roles: &[Role]) -> Result<Project> {
        let text = self.path_value("groupId");
        let id: ProjectId = text.parse().map_err(|_| ApiError::invalid_group_id(text))?;
        let project =
            self.catalog.find_project(id)?.ok_or_else(|| ApiError::group_not_found(id))?;
        self.check_project(&project, roles)?;
        Ok(project)
    }

    /// Refuses a caller that does not see a project or has none of the roles in it.
    pub(crate) fn check_project(&self, project: &Project, roles: &[Role]) -> Result<()> {
        if !self.caller.sees_project(project.org, project.id) {
            return Err(ApiError::not_in_group());
        }
        let may = |role: &Role| self.caller.may_in_project(project.org, project.id, *role);
        if roles.iter().any(may) { Ok(()) } else { Err(ApiError::not_authorized()) }
    }

    /// The name of the instance in the path.
    pub(crate) fn instance_name(&self) -> &str {
        match self.path_value("clusterName") {
            "" => self.path_value("name"),
            name => name,
        }
    }

    /// The instance of the path, if the view shows it.
    pub(crate) fn find_target(&self, project: &Project, view: InstanceView) -> Result<Target> {
        let name = self.instance_name();
        let instance = self.catalog.find_instance(project.id, name)?;
        let instance = instance.ok_or_else(|| ApiError::cluster_not_found(name, project.id))?;
        if !view.shows(instance.family) {
            return Err(match view {
                InstanceView::Serverless => ApiError::cluster_in_serverless_api(name),
                InstanceView::Flex => ApiError::cluster_in_flex_api(name),
                InstanceView::Cluster => ApiError::flex_in_cluster_api(name),
            });
        }
        Ok(Target { project: project.clone(), instance })
    }

    /// The instance of the path whose backups are looked at: the one that exists, or the last one
    /// of that name whose backups are kept.
    pub(crate) fn find_backup_target(
        &self,
        project: &Project,
        view: InstanceView,
    ) -> Result<Target> {
        let name = self.instance_name();
        if self.catalog.find_instance(project.id, name)?.is_none()
            && let Some(instance) = self.catalog.find_retired_instance(project.id, name)?
            && view.shows(instance.family)
        {
            return Ok(Target { project: project.clone(), instance });
        }
        self.find_target(project, view)
    }

    /// The snapshot id of the path.
    pub(crate) fn snapshot_id(&self) -> Result<SnapshotId> {
        let text = self.path_value("snapshotId");
        text.parse().map_err(|_| ApiError::invalid_snapshot_id(text))
    }

    /// The restore job id of the path.
    pub(crate) fn restore_job_id(&self) -> Result<RestoreJobId> {
        let text = self.path_value("restoreJobId");
        text.parse().map_err(|_| ApiError::invalid_job_id(text))
    }

    /// The API key id of the path.
    pub(crate) fn api_key_id(&self) -> Result<ApiKeyId> {
        let text = self.path_value("apiUserId");
        text.parse().map_err(|_| ApiError::invalid_key_id(text))
    }

    /// The service account of the path.
    pub(crate) fn account_id(&self) -> Result<ServiceAccountId> {
        let text = self.path_value("clientId");
        account_of(text).ok_or_else(|| ApiError::service_account_not_found(text))
    }

    /// The secret id of the path.
    pub(crate) fn secret_id(&self) -> Result<SecretId> {
        let text = self.path_value("secretId");
        text.parse().map_err(|_| ApiError::secret_not_found(text))
    }

    /// The address of a resource below the API's root.
    pub(crate) fn href(&self, path: &str) -> String {
        format!("{}{}{path}", self.base_url, self.root)
    }
}

/// The last value of a parameter.
fn query_value<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = query.iter().rev().find(|(candidate, _)| candidate == name);
    found.map(|(_, value)| value.as_str())
}

/// A flag of a query.
pub(crate) fn query_flag(query: &[(String, String)], name: &str, default: bool) -> Result<bool> {
    match query_value(query, name) {
        None | Some("") => Ok(default),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(ApiError::invalid_query_parameter(name)),
    }
}
