//! What an operation is.

use tidemark_catalog::{InstanceView, Org, Project};
use tidemark_model::Role;

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::error::Result;
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
    /// On a cluster, and not offered; the errors tell clients what there is.
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

    pub(crate) const fn on_cluster(
        self,
        roles: &'static [Role],
        run: fn(&Call<'_>, &Target) -> Result<Answer>,
    ) -> Self {
        Self { handler: Handler::Instance(roles, InstanceView::Cluster, run), ..self }
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
