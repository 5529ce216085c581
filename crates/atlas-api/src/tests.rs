//! Rules that hold for every operation of the table.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidemark_catalog::{Catalog, PasswordRecord};
use tidemark_model::{BackupPolicy, Clock, OrgId, ProjectId, Role};

use crate::operation::{Handler, Operation, Verb};
use crate::operations::OPERATIONS;
use crate::rate_limit::RateLimits;
use crate::{Api, ApiConfig, OneHost, Sunset, serve};

mod grants;
mod protocol;

struct World {
    api: Arc<Api>,
    clock: Clock,
    token: String,
    /// The service account, and its secret.
    account: (tidemark_model::ServiceAccountId, tidemark_model::SecretId),
    org: OrgId,
    project: ProjectId,
}

fn world(org_roles: &[Role], project_roles: &[Role]) -> World {
    world_with(org_roles, project_roles, |_| {})
}

fn world_with(
    org_roles: &[Role],
    project_roles: &[Role],
    configure: impl FnOnce(&mut ApiConfig),
) -> World {
    let clock = Clock::fixed(Timestamp::from_second(1_700_000_000).unwrap());
    let catalog = Arc::new(Catalog::in_memory().unwrap());
    let ha1 = crate::ha1("public", "private");
    let tenant = tidemark_testkit::tenant(&catalog, &clock, ha1, (org_roles, project_roles));
    let mut config = ApiConfig {
        public_url: None,
        trust_forwarded_for: true,
        sunset: Sunset::Ignore,
        rate_limits: RateLimits::Report,
        download_lifetime: jiff::SignedDuration::from_hours(1),
        attacher: None,
        rehearsal: None,
        inspector: None,
        alerting: None,
        vault_look: None,
        report_key: crate::ReportKey::none(),
        dev: None,
        policy: BackupPolicy::default(),
        hosts: Arc::new(OneHost { host: "localhost".into(), ports: 100 }),
        placement: Vec::new(),
        vaults: Vec::new(),
        largest_body_bytes: 10_000,
        deadline: Duration::from_mins(1),
        hash_password: |_| PasswordRecord {
            salt: String::new(),
            iterations: 1,
            stored_key: String::new(),
            server_key: String::new(),
        },
    };
    configure(&mut config);
    let api = Arc::new(Api::new(catalog, clock.clone(), config).unwrap());
    let account = (tenant.account, tenant.secret);
    let token = api.signing.newest().issue_token(account, clock.now());
    World { api, clock, token, account, org: tenant.org, project: tenant.project }
}

impl World {
    async fn ask(
        &self,
        method: &str,
        path: &str,
        authorization: Option<&str>,
    ) -> (StatusCode, Value) {
        // The body of createGroup; the others check roles before they look at it.
        let body = json!({ "name": "new", "orgId": self.org.to_string() });
        self.ask_with(method, path, authorization, &body).await
    }

    async fn ask_with(
        &self,
        method: &str,
        path: &str,
        authorization: Option<&str>,
        body: &Value,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("accept", "application/vnd.atlas.2025-03-12+json")
            .header("content-type", "application/json");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let body = Body::from(body.to_string());
        let response = serve(Arc::clone(&self.api), request.body(body).unwrap()).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    fn path(&self, operation: &Operation) -> String {
        let path = operation
            .path
            .replace("{groupId}", &self.project.to_string())
            .replace("{orgId}", &self.org.to_string())
            .replace("{clusterName}", "one")
            .replace("{name}", "one")
            .replace("{clientId}", &format!("mdb_sa_id_{}", "0".repeat(24)))
            .replace("{ipAddress}", "192.0.2.1")
            .replace("Id}", &format!("Id{}", "0".repeat(24)))
            .replace("{snapshotId0", "0")
            .replace("{restoreJobId0", "0")
            .replace("{apiUserId0", "0")
            .replace("{secretId0", "0")
            .replace(['{', '}'], "");
        format!("/api/atlas/v2{path}")
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    async fn code_of(&self, operation: &Operation) -> (StatusCode, String) {
        let (status, body) =
            self.ask(operation.verb.as_str(), &self.path(operation), Some(&self.bearer())).await;
        (status, body["errorCode"].as_str().unwrap_or_default().to_owned())
    }
}

#[tokio::test]
async fn every_operation_refuses_an_anonymous_caller() {
    let world = world(&[Role::OrgOwner], &[]);
    for operation in OPERATIONS {
        for authorization in
            [None, Some("Bearer nonsense"), Some("Digest nonsense"), Some("Basic eDp5")]
        {
            let (status, body) =
                world.ask(operation.verb.as_str(), &world.path(operation), authorization).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{}", operation.id);
            assert_eq!(body["detail"], "You are not authorized for this resource.");
        }
    }
}

/// What callers without a role of the table are told; open operations tell it themselves.
const REFUSALS: &[&str] = &[
    "NOT_IN_GROUP",
    "NOT_ORG_GROUP_CREATOR",
    "NOT_ORG_OWNER",
    "USER_CANNOT_ACCESS_ORG",
    "USER_UNAUTHORIZED",
];

#[tokio::test]
async fn every_operation_refuses_a_caller_without_its_role() {
    let reader = world(&[Role::OrgMember], &[Role::GroupReadOnly]);
    let stranger = world(&[Role::OrgMember], &[]);
    for operation in OPERATIONS {
        let roles = operation.roles();
        let is_open = matches!(operation.handler, Handler::Open(_));
        let (status, code) = reader.code_of(operation).await;
        let suffices =
            is_open || roles.contains(&Role::GroupReadOnly) || roles.contains(&Role::OrgMember);
        if suffices && operation.verb == Verb::Get {
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{}: {code}", operation.id);
        } else if !suffices {
            assert_eq!(
                (status.as_u16(), code.as_str()),
                (401, "USER_UNAUTHORIZED"),
                "{}",
                operation.id
            );
        }
        if operation.path.contains("{groupId}") {
            let (status, code) = stranger.code_of(operation).await;
            assert_eq!((status.as_u16(), code.as_str()), (401, "NOT_IN_GROUP"), "{}", operation.id);
        }
    }
}

#[tokio::test]
async fn each_role_that_the_table_names_suffices() {
    for operation in OPERATIONS {
        for role in operation.roles() {
            let world = if role.is_org_role() {
                world(&[*role], &[])
            } else {
                world(&[Role::OrgMember], &[*role])
            };
            let (status, code) = world.code_of(operation).await;
            let is_refused = REFUSALS.contains(&code.as_str());
            assert!(!is_refused, "{} by {role:?}: {status} {code}", operation.id);
        }
    }
}

#[tokio::test]
async fn an_owner_is_never_refused_for_its_role() {
    for operation in OPERATIONS {
        let owner = world(&[Role::OrgOwner], &[]);
        let (status, code) = owner.code_of(operation).await;
        assert_ne!(status, StatusCode::UNAUTHORIZED, "{}: {code}", operation.id);
        assert!(!status.is_server_error(), "{}: {code}", operation.id);
        if !operation.is_offered() {
            assert_eq!((status.as_u16(), code.as_str()), (403, "FEATURE_UNSUPPORTED"));
        }
    }
}

#[tokio::test]
async fn nobody_enters_another_organization() {
    let here = world(&[Role::OrgOwner], &[]);
    let elsewhere = world(&[Role::OrgOwner], &[]);
    let now = here.clock.now();
    let org = tidemark_catalog::Org {
        id: elsewhere.org,
        name: "other".into(),
        created_at: now,
        settings: serde_json::Map::new(),
    };
    let mut project = tidemark_catalog::Project::new(org.id, "theirs", now);
    project.id = elsewhere.project;
    let projects = [project];
    let new = tidemark_catalog::NewOrg { org: &org, projects: &projects, keys: &[], accounts: &[] };
    here.api.catalog().insert_org(&new).unwrap();
    for operation in OPERATIONS.iter().filter(|operation| !operation.roles().is_empty()) {
        let path = elsewhere.path(operation);
        let (status, body) = here.ask(operation.verb.as_str(), &path, Some(&here.bearer())).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{}: {body}", operation.id);
    }
}

#[tokio::test]
async fn a_token_ends_with_its_hour() {
    let world = world(&[Role::OrgOwner], &[]);
    let bearer = world.bearer();
    world.clock.advance(3_599);
    assert_eq!(world.ask("GET", "/api/atlas/v2/groups", Some(&bearer)).await.0, StatusCode::OK);
    world.clock.advance(1);
    assert_eq!(
        world.ask("GET", "/api/atlas/v2/groups", Some(&bearer)).await.0,
        StatusCode::UNAUTHORIZED
    );
}

/// `docs/reference/operations.md`, as the table says it.
fn documented() -> String {
    let rows: Vec<String> = OPERATIONS.iter().map(documented_row).collect();
    include_str!("tests/operations_head.md").to_owned() + &rows.concat()
}

fn documented_row(operation: &Operation) -> String {
    let versions: Vec<_> =
        operation.versions.iter().map(|version| version.date.to_string()).collect();
    let roles: Vec<_> = operation.roles().iter().map(|role| role.as_str()).collect();
    let note = match operation.handler {
        Handler::NotOffered(_) => "not offered",
        Handler::Cluster(_) => "dedicated",
        _ if operation.is_added => "added",
        _ => "",
    };
    format!(
        "| {} | {} `{}` | {} | {} | {note} |\n",
        operation.id,
        operation.verb.as_str(),
        if operation.path.is_empty() { "/" } else { operation.path },
        versions.join(", "),
        if roles.is_empty() { "any".to_owned() } else { roles.join(" or ") },
    )
}

#[test]
fn the_documented_operations_are_those_of_the_table() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/operations.md");
    if std::env::var_os("TIDEMARK_WRITE_DOCS").is_some() {
        std::fs::write(file, documented()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), documented());
}
