//! A known caller's request to an operation: resolve the version, find what it is about, count, run.

use axum::body::Body;
use axum::http::header::ACCEPT;
use axum::http::{Response, StatusCode};
use tidemark_actions::{Change, Made, change_and_tell};
use tidemark_catalog::{Catalog, InstanceFamily, Org, Project};
use tidemark_model::Caller;

use crate::answer::{Answer, Content};
use crate::api::{Api, Sunset};
use crate::call::{Call, PathValues, query_flag};
use crate::error::{ApiError, Result};
use crate::incoming::Incoming;
use crate::operation::{Handler, Operation, Verb};
use crate::rate_limit::{EndpointSet, REFILL_SECONDS, RateLimits, Scope, Taken};
use crate::response::{Style, add_deprecation, add_rate_limit, failure, success};
use crate::version::{Version, resolve};

/// In the extensions of an answer: the operation that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperationId(pub &'static str);

/// What an operation is carried out on.
enum Subject {
    Nothing,
    Org(Org),
    Project(Project),
}

/// A request of a known caller.
pub(crate) struct Asked<'a> {
    pub(crate) api: &'a Api,
    pub(crate) incoming: &'a Incoming,
    pub(crate) caller: &'a Caller,
    pub(crate) query: &'a [(String, String)],
    pub(crate) style: Style,
    pub(crate) edition: Edition,
}

/// Which of the API's editions is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edition {
    /// The one with versions by date.
    Dated,
    /// The one before it, which had none: the first version of each operation, as plain JSON.
    Undated,
}

impl Edition {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Dated, Self::Undated];

    /// The path under which it is.
    pub(crate) const fn root(self) -> &'static str {
        match self {
            Self::Dated => "/api/atlas/v2",
            Self::Undated => "/api/atlas/v1.0",
        }
    }

    /// Whether it has an operation.
    pub(crate) fn has(self, operation: &Operation) -> bool {
        self == Self::Dated || operation.path.starts_with(UNDATED)
    }

    /// The version in which a request is answered.
    fn resolve(self, accept: Option<&str>, versions: &'static [Version]) -> Option<Version> {
        match self {
            Self::Dated => resolve(accept, versions),
            Self::Undated => versions.first().copied(),
        }
    }
}

/// What scripts that are older than the dated API call: clusters and their backups.
const UNDATED: &str = "/groups/{groupId}/clusters";

impl Asked<'_> {
    /// Carries out an operation.
    pub(crate) fn respond(&self, operation: &Operation, path_values: PathValues) -> Response<Body> {
        self.api.counts.note(operation.id);
        let accept = self.incoming.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        let Some(version) = self.edition.resolve(accept, operation.versions) else {
            return failure(&ApiError::invalid_version(), self.style);
        };
        let mut limit = None;
        let outcome = self.carry_out(operation, version, path_values, &mut limit);
        let mut response = match outcome {
            Ok(answer) => {
                let dated = (self.edition == Edition::Dated).then_some(version);
                success(dated, answer, self.style)
            }
            Err(error) => failure(&error, self.style),
        };
        if self.edition == Edition::Dated {
            add_deprecation(&mut response, version);
        }
        if let Some(limit) = limit.filter(|_| response.status() != StatusCode::UNAUTHORIZED) {
            add_rate_limit(&mut response, limit);
        }
        response.extensions_mut().insert(OperationId(operation.id));
        let status = response.status().as_u16();
        tracing::debug!(operation = operation.id, status, "a request was answered");
        response
    }

    /// Answers the operation, and in `limit` the capacity and the rest of its bucket.
    pub(crate) fn carry_out(
        &self,
        operation: &Operation,
        version: Version,
        path_values: PathValues,
        limit: &mut Option<(u64, u64)>,
    ) -> Result<Answer> {
        let (api, incoming) = (self.api, self.incoming);
        let path = incoming.uri.path();
        let today = || api.clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
        if api.config.sunset == Sunset::Enforce
            && self.edition == Edition::Dated
            && version.sunset.is_some_and(|sunset| sunset <= today())
            && !operation.is_added
        {
            return Err(ApiError::version_gone(&version.date.to_string(), path));
        }
        // A transaction that others are in the way of is done again.
        let mut work = |catalog: &Catalog| {
            self.carry_out_with(catalog, (operation, version, path_values.clone()), limit)
        };
        if operation.verb == Verb::Get {
            return work(&api.catalog);
        }
        let (actor, address) = (self.caller.principal.id(), incoming.address.to_string());
        let by = Change {
            at: api.clock.now(),
            actor: &actor,
            address: Some(&address),
            action: operation.id,
            subject: path,
        };
        let values = &path_values;
        change_and_tell(&api.catalog, by, work, |answer| told(operation, values, answer))
    }

    /// The same with the records of one transaction, if the operation changes something.
    fn carry_out_with(
        &self,
        catalog: &Catalog,
        (operation, version, path_values): (&Operation, Version, PathValues),
        limit: &mut Option<(u64, u64)>,
    ) -> Result<Answer> {
        let (api, incoming) = (self.api, self.incoming);
        let base_url = incoming.base_url(&api.config);
        let download_url = incoming.download_url(&api.config);
        let mut call = Call {
            api,
            catalog,
            caller: self.caller,
            address: incoming.address,
            base_url: &base_url,
            download_url: &download_url,
            version,
            root: self.edition.root(),
            path: incoming.uri.path(),
            path_values,
            query: self.query,
            body: None,
        };
        let subject = find_subject(&call, operation)?;
        *limit = count_request(&call, operation)?;
        if !incoming.body.is_empty() && operation.verb.takes_body() {
            call.body = Some(incoming.json()?);
        }
        query_flag(self.query, "pretty", false)?;
        query_flag(self.query, "envelope", false)?;
        run(&call, operation, &subject)
    }
}

/// What the answer and the path tell of a change that the path alone does not place.
fn told(operation: &Operation, values: &PathValues, answer: &Answer) -> Made {
    let body = match &answer.body {
        Some(Content::Tree(tree)) => tree.clone(),
        Some(Content::Text(text)) => serde_json::from_str(text).unwrap_or_default(),
        None => serde_json::Value::Null,
    };
    let text = |path: &str| body.pointer(path).and_then(serde_json::Value::as_str);
    let mut made = Made::default();
    match operation.id {
        "createOrg" => made.org = text("/organization/id").and_then(|id| id.parse().ok()),
        "createGroup" => {
            made.org = text("/orgId").and_then(|id| id.parse().ok());
            made.project = text("/id").and_then(|id| id.parse().ok());
        }
        "createGroupServerlessInstance" | "createGroupFlexCluster" => {
            made.instance = text("/name").map(str::to_owned);
        }
        _ => {}
    }
    let value = |name: &str| values.get(name).map(String::as_str);
    let mut tell = |name: &str, told: Option<&str>| {
        if let Some(told) = told {
            made.detail.insert(name.to_owned(), told.into());
        }
    };
    if operation.path.contains("/databaseUsers") {
        tell("dbUserUsername", value("username").or(text("/username")));
    }
    if operation.path.contains("/apiKeys") {
        tell("targetPublicKey", text("/publicKey"));
    }
    if operation.path.contains("ccessList") {
        tell("whitelistEntry", value("ipAddress").or(value("entryValue")));
    }
    made
}

/// Finds what the path names, if the caller may do there what the operation does.
fn find_subject(call: &Call<'_>, operation: &Operation) -> Result<Subject> {
    match operation.handler {
        Handler::Open(_) => Ok(Subject::Nothing),
        Handler::Org(roles, _) => call.find_org(roles).map(Subject::Org),
        Handler::Project(roles, _) | Handler::Instance(roles, ..) | Handler::Cluster(roles) => {
            call.find_project(roles).map(Subject::Project)
        }
        Handler::NotOffered(roles) => {
            if operation.path.contains("{groupId}") {
                call.find_project(roles).map(Subject::Project)
            } else {
                call.find_org(roles).map(Subject::Org)
            }
        }
    }
}

fn run(call: &Call<'_>, operation: &Operation, subject: &Subject) -> Result<Answer> {
    match (operation.handler, subject) {
        (Handler::Open(run), Subject::Nothing) => run(call),
        (Handler::Org(_, run), Subject::Org(org)) => run(call, org),
        (Handler::Project(_, run), Subject::Project(project)) => run(call, project),
        (Handler::Instance(_, view, run), Subject::Project(project)) => {
            let is_backup = operation.path.contains("/backup/");
            let target = if is_backup {
                call.find_backup_target(project, view)?
            } else {
                call.find_target(project, view)?
            };
            run(call, &target)
        }
        (Handler::Cluster(_), Subject::Project(project)) => {
            Err(refuse_cluster(call, operation, project)?)
        }
        (Handler::NotOffered(_), _) => Err(ApiError::not_offered(operation.id)),
        _ => Err(ApiError::unexpected()),
    }
}

/// The error by which clients find out what a cluster is.
fn refuse_cluster(call: &Call<'_>, operation: &Operation, project: &Project) -> Result<ApiError> {
    let name = call.instance_name();
    Ok(match call.catalog.find_instance(project.id, name)? {
        Some(instance) if instance.family == InstanceFamily::Cluster => {
            ApiError::not_offered(operation.id)
        }
        Some(_) => ApiError::flex_in_cluster_api(name),
        None => ApiError::cluster_not_found(name, project.id),
    })
}

/// Takes a request out of the bucket of its endpoint set; answers capacity and rest.
fn count_request(call: &Call<'_>, operation: &Operation) -> Result<Option<(u64, u64)>> {
    let mode = call.api.config.rate_limits;
    let Some(set) = EndpointSet::of_path(operation.path).filter(|_| mode != RateLimits::Off) else {
        return Ok(None);
    };
    let principal;
    let key = match set.scope {
        Scope::Group => call.path_value("groupId"),
        Scope::Organization => call.path_value("orgId"),
        Scope::User => {
            principal = call.caller.principal.id();
            &principal
        }
    };
    let bucket = (set.id, set.capacity, set.refill);
    match call.api.buckets.take(bucket, key, call.api.clock.now()) {
        Taken::Left(left) => Ok(Some((set.capacity, left))),
        Taken::Empty(_) if mode == RateLimits::Report => Ok(Some((set.capacity, 0))),
        Taken::Empty(seconds) => {
            let sizes = (set.capacity, set.refill, REFILL_SECONDS);
            Err(ApiError::rate_limited(call.path, sizes, seconds))
        }
    }
}
