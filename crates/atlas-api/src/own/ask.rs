//! What is asked below `/api/tidemark/v1`, and how answers are put together.

use serde_json::{Value, json};
use tidemark_actions::{Change, change};
use tidemark_catalog::{Backing, Catalog, Project, RestoreJob};
use tidemark_model::{Caller, Failure, Role};

use crate::api::Api;
use crate::error::{ApiError, Result};
use crate::incoming::Incoming;
use crate::ticket;

/// A request of a known caller.
pub(super) struct Ask<'a> {
    pub(super) api: &'a Api,
    pub(super) incoming: &'a Incoming,
    pub(super) caller: &'a Caller,
}

/// What of a job depends on who asks and on its target.
#[derive(Default)]
pub(super) struct Beside {
    /// The link of its download, for who may have the data.
    pub(super) link: Option<String>,
    /// What readers of its target may see meanwhile.
    pub(super) notice: Option<&'static str>,
}

impl Ask<'_> {
    /// The body; a missing one is an empty object.
    pub(super) fn body(&self) -> Result<Value> {
        if self.incoming.body.is_empty() { Ok(json!({})) } else { self.incoming.json() }
    }

    /// Refuses who has not this role in the project.
    pub(super) fn require(&self, project: &Project, role: Role) -> Result<()> {
        if self.caller.may_in_project(project.org, project.id, role) {
            Ok(())
        } else {
            Err(ApiError::not_authorized())
        }
    }

    /// Does work in one transaction, with a record of who asked for it.
    pub(super) fn change<T>(
        &self,
        action: &'static str,
        work: impl FnMut(&Catalog) -> Result<T>,
    ) -> Result<T> {
        let (actor, address) = (self.caller.principal.id(), self.incoming.address.to_string());
        let by = Change {
            at: self.api.clock.now(),
            actor: &actor,
            address: Some(&address),
            action,
            subject: self.incoming.uri.path(),
        };
        change(&self.api.catalog, by, work)
    }

    /// What of a job depends on the caller and on its target.
    pub(super) fn beside(&self, project: &Project, job: &RestoreJob) -> Beside {
        Beside { link: self.link_of(project, job), notice: self.notice_of(job) }
    }

    /// What readers of a job's target may see until it is over: an engine of ours puts everything in
    /// place at once, nobody else does.
    fn notice_of(&self, job: &RestoreJob) -> Option<&'static str> {
        let target = self.api.catalog.load_instance(job.delivery.target()?).ok()?;
        if job.documents.is_some() {
            return Some(
                "documents are written one batch after another: until this is over readers see some of them",
            );
        }
        if target.backing == Backing::Embedded {
            return None;
        }
        Some(if job.replaces_in_place {
            "the target cannot rename collections: until this is over readers see some that are half filled"
        } else {
            "collections are put in place one after another: until this is over readers see some as they were and some as restored"
        })
    }

    /// The link of a job's download, if the caller may have the data of the project.
    fn link_of(&self, project: &Project, job: &RestoreJob) -> Option<String> {
        let role = Role::GroupBackupExportOperator;
        if !self.caller.may_in_project(project.org, project.id, role) {
            return None;
        }
        let base_url = self.incoming.download_url(&self.api.config);
        ticket::link_of(self.api, &base_url, (job, self.api.clock.now()))
    }
}

/// Says why something failed.
pub(super) fn put_failure(body: &mut Value, failure: &Failure) {
    put(body, "cause", failure.cause.as_str().into());
    put(body, "reason", failure.reason.as_str().into());
}

/// Adds an attribute to an object.
pub(super) fn put(body: &mut Value, name: &str, value: Value) {
    if let Some(body) = body.as_object_mut() {
        body.insert(name.to_owned(), value);
    }
}
