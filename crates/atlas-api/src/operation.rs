//! What an operation is, and how a request finds the one it means.

use std::collections::BTreeMap;

use tidemark_catalog::{InstanceView, Org, Project};
use tidemark_model::Role;

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::Result;
use crate::operations::OPERATIONS;
use crate::version::{self, Version};

/// The method of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Get,
    Post,
    Patch,
    Put,
    Delete,
}

impl Verb {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    /// Whether requests have a body that means something.
    pub(crate) fn takes_body(self) -> bool {
        !matches!(self, Self::Get | Self::Delete)
    }
}

/// What an operation works on, which roles suffice for it, and what does it.
#[derive(Clone, Copy)]
pub(crate) enum Handler {
    /// On nothing in particular; any caller.
    Open(fn(&Call<'_>) -> Result<Answer>),
    /// On the organization of the path.
    Org(&'static [Role], fn(&Call<'_>, &Org) -> Result<Answer>),
    /// On the project of the path.
    Project(&'static [Role], fn(&Call<'_>, &Project) -> Result<Answer>),
    /// On the instance of the path, if the view shows it.
    Instance(&'static [Role], InstanceView, fn(&Call<'_>, &Target) -> Result<Answer>),
    /// On a dedicated cluster; there are none, and the errors tell clients what there is.
    Cluster(&'static [Role]),
    /// Official, but not offered.
    NotOffered(&'static [Role]),
}

/// The body of a successful answer; names are those of the published schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// No body.
    Nothing,
    /// One object or value.
    One(&'static str),
    /// An array.
    Many(&'static str),
    /// A page of a list.
    Page(&'static str),
}

/// The body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Nothing,
    One(&'static str),
    Many(&'static str),
}

/// An operation of the API.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    /// Its official id.
    pub(crate) id: &'static str,
    pub(crate) verb: Verb,
    /// Below `/api/atlas/v2`.
    pub(crate) path: &'static str,
    pub(crate) versions: &'static [Version],
    pub(crate) handler: Handler,
    /// Whether it is ours and not of the real service.
    pub(crate) is_added: bool,
    pub(crate) takes: Taken,
    pub(crate) status: u16,
    pub(crate) answers: Shape,
    /// Query parameters besides those that all share.
    pub(crate) query: &'static [&'static str],
}

const fn unhandled(id: &'static str, verb: Verb, path: &'static str) -> Operation {
    Operation {
        id,
        verb,
        path,
        versions: version::V2023_01_01,
        handler: Handler::NotOffered(&[]),
        is_added: false,
        takes: Taken::Nothing,
        status: 200,
        answers: Shape::Nothing,
        query: &[],
    }
}

pub(crate) const fn get(id: &'static str, path: &'static str) -> Operation {
    unhandled(id, Verb::Get, path)
}

pub(crate) const fn post(id: &'static str, path: &'static str) -> Operation {
    unhandled(id, Verb::Post, path)
}

pub(crate) const fn patch(id: &'static str, path: &'static str) -> Operation {
    unhandled(id, Verb::Patch, path)
}

pub(crate) const fn put(id: &'static str, path: &'static str) -> Operation {
    unhandled(id, Verb::Put, path)
}

/// A `DELETE` that answers 204 unless another status is given.
pub(crate) const fn delete(id: &'static str, path: &'static str) -> Operation {
    Operation { status: 204, ..unhandled(id, Verb::Delete, path) }
}

impl Operation {
    pub(crate) const fn versions(self, versions: &'static [Version]) -> Self {
        Self { versions, ..self }
    }

    pub(crate) const fn open(self, run: fn(&Call<'_>) -> Result<Answer>) -> Self {
        Self { handler: Handler::Open(run), ..self }
    }

    pub(crate) const fn org(
        self,
        roles: &'static [Role],
        run: fn(&Call<'_>, &Org) -> Result<Answer>,
    ) -> Self {
        Self { handler: Handler::Org(roles, run), ..self }
    }

    pub(crate) const fn project(
        self,
        roles: &'static [Role],
        run: fn(&Call<'_>, &Project) -> Result<Answer>,
    ) -> Self {
        Self { handler: Handler::Project(roles, run), ..self }
    }

    pub(crate) const fn serverless(
        self,
        roles: &'static [Role],
        run: fn(&Call<'_>, &Target) -> Result<Answer>,
    ) -> Self {
        Self { handler: Handler::Instance(roles, InstanceView::Serverless, run), ..self }
    }

    pub(crate) const fn flex(
        self,
        roles: &'static [Role],
        run: fn(&Call<'_>, &Target) -> Result<Answer>,
    ) -> Self {
        Self { handler: Handler::Instance(roles, InstanceView::Flex, run), ..self }
    }

    pub(crate) const fn cluster(self, roles: &'static [Role]) -> Self {
        Self { handler: Handler::Cluster(roles), ..self }
    }

    pub(crate) const fn not_offered(self, roles: &'static [Role]) -> Self {
        Self { handler: Handler::NotOffered(roles), ..self }
    }

    pub(crate) const fn added(self) -> Self {
        Self { is_added: true, ..self }
    }

    pub(crate) const fn takes(self, schema: &'static str) -> Self {
        Self { takes: Taken::One(schema), ..self }
    }

    pub(crate) const fn takes_many(self, schema: &'static str) -> Self {
        Self { takes: Taken::Many(schema), ..self }
    }

    pub(crate) const fn answers(self, status: u16, answers: Shape) -> Self {
        Self { status, answers, ..self }
    }

    /// Answers 200 with one object.
    pub(crate) const fn one(self, schema: &'static str) -> Self {
        self.answers(200, Shape::One(schema))
    }

    /// Answers 200 with a page of a list.
    pub(crate) const fn page(self, schema: &'static str) -> Self {
        self.answers(200, Shape::Page(schema))
    }

    pub(crate) const fn query(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }

    /// Whether the operation is carried out.
    pub(crate) fn is_offered(&self) -> bool {
        !matches!(self.handler, Handler::NotOffered(_))
    }

    /// The roles of which one suffices; none means that any caller may.
    pub(crate) fn roles(&self) -> &'static [Role] {
        match self.handler {
            Handler::Open(_) => &[],
            Handler::Org(roles, _)
            | Handler::Project(roles, _)
            | Handler::Instance(roles, ..)
            | Handler::Cluster(roles)
            | Handler::NotOffered(roles) => roles,
        }
    }
}

/// The values of a path's placeholders.
pub(crate) type PathValues = BTreeMap<&'static str, String>;

/// What a path and a method lead to.
pub(crate) enum Route {
    /// The operation's place in the table, and the values of its path.
    Found(usize, PathValues),
    /// The path exists for these methods only.
    WrongMethod(Vec<&'static str>),
    Unknown,
}

/// Finds the operation for a path below `/api/atlas/v2`.
pub(crate) fn route(method: &str, path: &str) -> Route {
    let mut verbs = Vec::new();
    for (place, operation) in OPERATIONS.iter().enumerate() {
        let Some(values) = match_path(operation.path, path) else {
            continue;
        };
        if operation.verb.as_str() == method {
            return Route::Found(place, values);
        }
        verbs.push(operation.verb.as_str());
    }
    if verbs.is_empty() {
        return Route::Unknown;
    }
    // The recorded order: POST before GET, OPTIONS last.
    verbs.sort_unstable_by(|a, b| b.cmp(a));
    verbs.dedup();
    verbs.push("OPTIONS");
    Route::WrongMethod(verbs)
}

fn match_path(template: &'static str, path: &str) -> Option<PathValues> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut parts = path.split('/');
    let mut values = PathValues::new();
    for expected in template.split('/') {
        match_part(expected, parts.next()?, &mut values)?;
    }
    parts.next().is_none().then_some(values)
}

/// Matches one part: a word, or a placeholder with a word around it such as `{clientId}:invite`.
fn match_part(expected: &'static str, part: &str, values: &mut PathValues) -> Option<()> {
    let Some((prefix, rest)) = expected.split_once('{') else {
        return (expected == part).then_some(());
    };
    let (name, suffix) = rest.split_once('}')?;
    let part = part.strip_prefix(prefix)?.strip_suffix(suffix)?;
    let value = percent_encoding::percent_decode_str(part).decode_utf8().ok()?;
    if value.is_empty() {
        return None;
    }
    values.insert(name, value.into_owned());
    Some(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn found(method: &str, path: &str) -> (&'static str, PathValues) {
        match route(method, path) {
            Route::Found(place, values) => (OPERATIONS[place].id, values),
            _ => panic!("no route for {method} {path}"),
        }
    }

    #[test]
    fn ids_and_routes_are_unique() {
        let ids: HashSet<_> = OPERATIONS.iter().map(|operation| operation.id).collect();
        let routes: HashSet<_> =
            OPERATIONS.iter().map(|operation| (operation.verb.as_str(), operation.path)).collect();
        assert_eq!((ids.len(), routes.len()), (OPERATIONS.len(), OPERATIONS.len()));
    }

    #[test]
    fn every_route_leads_to_its_own_operation() {
        for operation in OPERATIONS {
            let path = operation.path.replace(['{', '}'], "");
            assert_eq!(found(operation.verb.as_str(), &path).0, operation.id, "{path}");
        }
    }

    #[test]
    fn paths_lead_to_their_operation_with_their_values() {
        let (id, values) = found("GET", "/groups/abc/serverless/my%20db/backup/restoreJobs/1");
        assert_eq!(id, "getGroupServerlessBackupRestoreJob");
        assert_eq!(values["clusterName"], "my db");
        let (id, values) = found("POST", "/groups/abc/serviceAccounts/mdb_sa_id_1:invite");
        assert_eq!((id, values["clientId"].as_str()), ("inviteGroupServiceAccount", "mdb_sa_id_1"));
        assert_eq!(
            found("GET", "/groups/abc/accessList/10.0.0.0%2F8").1["entryValue"],
            "10.0.0.0/8"
        );
        assert!(
            matches!(route("PUT", "/groups"), Route::WrongMethod(methods) if methods == ["POST", "GET", "OPTIONS"])
        );
        assert!(matches!(route("GET", "/nothing"), Route::Unknown));
        assert!(matches!(route("GET", ""), Route::Found(..)));
    }
}
