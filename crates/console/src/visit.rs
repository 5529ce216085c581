//! A visit: a request of somebody who is signed in, what they may do, and what is recorded of it.

use http::StatusCode;
use serde_json::Value;
use tidemark_actions::{Change, change};
use tidemark_catalog::{Catalog, CatalogError, Instance, Project};
use tidemark_model::{ProjectId, Role};

use crate::asked::encode;
use crate::explained::Explained;
use crate::problem::Problem;
use crate::session::Visitor;
use crate::shown::Frame;
use crate::{Console, Request, Wanted};

/// A request of somebody who is signed in.
pub(crate) struct Visit<'a> {
    pub(crate) console: &'a Console,
    pub(crate) request: &'a Request,
    pub(crate) visitor: &'a Visitor,
    pub(crate) frame: Frame,
}

impl Visit<'_> {
    /// A project that the visitor may see. One that they may not see is not there.
    pub(crate) fn find_project(&self, text: &str) -> Result<Project, Problem> {
        let id: ProjectId = text.parse().map_err(|_| Problem::Unknown)?;
        let project = self.console.catalog.find_project(id)?.ok_or(Problem::Unknown)?;
        let caller = &self.visitor.caller;
        if caller.may_in_project(project.org, project.id, Role::GroupReadOnly) {
            Ok(project)
        } else {
            Err(Problem::Unknown)
        }
    }

    pub(crate) fn find_instance(&self, project: &Project, name: &str) -> Result<Instance, Problem> {
        let found = self.console.catalog.find_instance(project.id, name)?;
        found.ok_or(Problem::Unknown)
    }

    /// Whether the visitor has a role in a project.
    pub(crate) fn may(&self, project: &Project, role: Role) -> bool {
        self.visitor.caller.may_in_project(project.org, project.id, role)
    }

    /// Refuses who has not this role.
    pub(crate) fn require(&self, project: &Project, role: Role) -> Result<(), Problem> {
        if self.may(project, role) { Ok(()) } else { Err(Problem::Forbidden(role)) }
    }

    /// Does an operation of the API in a project; answers its body.
    pub(crate) fn ask(&self, project: &Project, wanted: Wanted<'_>) -> Result<Value, Problem> {
        let project = project.id.to_string();
        let values = [&[("groupId", project.as_str())], wanted.values].concat();
        let by = (&self.visitor.caller, self.request.address);
        let done = self.console.operations.act(by, wanted.with_values(&values));
        done.map_err(|refused| match refused.status {
            500.. => Problem::Failed(refused.reason),
            _ => Problem::Refused(Explained::refusal(&self.frame, &refused)),
        })
    }

    /// Does work in one transaction, with a record of who asked for it.
    pub(crate) fn change<T, E: From<CatalogError>>(
        &self,
        action: &'static str,
        work: impl FnMut(&Catalog) -> Result<T, E>,
    ) -> Result<T, E> {
        let (actor, address) =
            (self.visitor.caller.principal.id(), self.request.address.to_string());
        let by = Change {
            at: self.frame.now,
            actor: &actor,
            address: Some(&address),
            action,
            subject: self.request.uri.path(),
        };
        change(&self.console.catalog, by, work)
    }
}

/// A path of ours; anything else leads to the first page.
pub(crate) fn local(path: &str) -> String {
    // Browsers leave out what is no letter, and read \ as /.
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let is_ours = path.starts_with('/') && !path.starts_with("//") && is_plain;
    if is_ours { path.to_owned() } else { "/".to_owned() }
}

/// The status of a page that shows a form again, with what is wrong with it.
pub(crate) const AGAIN: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;

/// The path of an instance.
pub(crate) fn path_of(project: &Project, instance: &Instance) -> String {
    format!("/projects/{}/instances/{}", project.id, encode(instance.name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for (path, expected) in [
            ("/projects/1?a=b", "/projects/1?a=b"),
            ("//evil.example", "/"),
            ("https://evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/\t/evil.example", "/"),
            ("/a\r\nSet-Cookie: b", "/"),
            ("", "/"),
        ] {
            assert_eq!(local(path), expected);
        }
    }
}
