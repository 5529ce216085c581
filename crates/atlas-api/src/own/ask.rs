//! What is asked below `/api/tidemark/v1`, and how answers are put together.

use serde_json::Value;
use tidemark_catalog::{Project, RestoreJob};
use tidemark_model::{Caller, Role};

use crate::api::Api;
use crate::incoming::Incoming;
use crate::ticket;

/// A request of a known caller.
pub(super) struct Ask<'a> {
    pub(super) api: &'a Api,
    pub(super) incoming: &'a Incoming,
    pub(super) caller: &'a Caller,
}

impl Ask<'_> {
    /// The link of a job's download, if the caller may have the data of the project.
    pub(super) fn link_of(&self, project: &Project, job: &RestoreJob) -> Option<String> {
        let role = Role::GroupBackupExportOperator;
        if !self.caller.may_in_project(project.org, project.id, role) {
            return None;
        }
        let base_url = self.incoming.download_url(&self.api.config);
        ticket::link_of(self.api, &base_url, (job, self.api.clock.now()))
    }
}

/// Adds an attribute to an object.
pub(super) fn put(body: &mut Value, name: &str, value: Value) {
    if let Some(body) = body.as_object_mut() {
        body.insert(name.to_owned(), value);
    }
}
