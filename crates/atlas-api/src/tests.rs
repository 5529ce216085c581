//! Rules that hold for every operation of the table.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidemark_catalog::{Catalog, PasswordRecord};
use tidemark_model::{BackupPolicy, Clock, OrgId, ProjectId, Role};

use crate::operation::{OPERATIONS, Operation};
use crate::{Api, ApiConfig, Sunset, serve};

/// What a caller who only reads the project may do.
const READ_ONLY: &[&str] = &[
    "getSystemStatus",
    "listGroups",
    "getGroup",
    "listGroupDatabaseUsers",
    "getGroupDatabaseUser",
    "listGroupServerlessInstances",
    "getGroupServerlessInstance",
    "listGroupServerlessBackupSnapshots",
    "getGroupServerlessBackupSnapshot",
];
/// What needs no role at all.
const OPEN: &[&str] = &["getSystemStatus", "listGroups"];

struct World {
    api: Arc<Api>,
    clock: Clock,
    token: String,
    org: OrgId,
    project: ProjectId,
}

fn world(org_roles: &[Role], project_roles: &[Role]) -> World {
    let clock = Clock::fixed(Timestamp::from_second(1_700_000_000).unwrap());
    let catalog = Arc::new(Catalog::in_memory().unwrap());
    let ha1 = crate::ha1("public", "private");
    let tenant = tidemark_testkit::tenant(&catalog, &clock, ha1, (org_roles, project_roles));
    let config = ApiConfig {
        public_url: None,
        sunset: Sunset::Ignore,
        policy: BackupPolicy::default(),
        advertised_host: "localhost".into(),
        largest_body_bytes: 10_000,
        deadline: Duration::from_mins(1),
        hash_password: |_| PasswordRecord {
            salt: String::new(),
            iterations: 1,
            stored_key: String::new(),
            server_key: String::new(),
        },
    };
    let api = Arc::new(Api::new(catalog, clock.clone(), config).unwrap());
    let token = api.signer.issue_token(tenant.account, clock.now());
    World { api, clock, token, org: tenant.org, project: tenant.project }
}

impl World {
    async fn ask(
        &self,
        method: &Method,
        path: &str,
        authorization: Option<&str>,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("accept", "application/vnd.atlas.2023-01-01+json")
            .header("content-type", "application/json");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        // The body of createGroup; the others check roles before they look at it.
        let body = json!({ "name": "new", "orgId": self.org.to_string() }).to_string();
        let response = serve(Arc::clone(&self.api), request.body(Body::from(body)).unwrap()).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    fn path(&self, operation: &Operation) -> String {
        let path = operation
            .path
            .replace("{groupId}", &self.project.to_string())
            .replace("{clusterName}", "one")
            .replace("{name}", "one")
            .replace("{snapshotId}", &"0".repeat(24))
            .replace("{restoreJobId}", &"0".repeat(24))
            .replace("{databaseName}", "admin")
            .replace("{username}", "nobody");
        format!("/api/atlas/v2{path}")
    }

    async fn code_of(&self, operation: &Operation) -> (StatusCode, String) {
        let bearer = format!("Bearer {}", self.token);
        let (status, body) =
            self.ask(&operation.method, &self.path(operation), Some(&bearer)).await;
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
                world.ask(&operation.method, &world.path(operation), authorization).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{}", operation.id);
            assert_eq!(body["detail"], "You are not authorized for this resource.");
        }
    }
}

#[tokio::test]
async fn every_operation_refuses_a_caller_without_its_role() {
    let reader = world(&[Role::OrgMember], &[Role::GroupReadOnly]);
    let stranger = world(&[Role::OrgMember], &[]);
    for operation in OPERATIONS {
        let (status, code) = reader.code_of(operation).await;
        if READ_ONLY.contains(&operation.id) {
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{}", operation.id);
        } else {
            assert_eq!(
                (status.as_u16(), code.as_str()),
                (401, "USER_UNAUTHORIZED"),
                "{}",
                operation.id
            );
        }
        let (status, code) = stranger.code_of(operation).await;
        if OPEN.contains(&operation.id) {
            assert_eq!(status, StatusCode::OK, "{}", operation.id);
        } else {
            assert_eq!(status.as_u16(), 401, "{}", operation.id);
            assert!(
                ["NOT_IN_GROUP", "USER_UNAUTHORIZED"].contains(&code.as_str()),
                "{}",
                operation.id
            );
        }
    }
}

#[tokio::test]
async fn an_owner_is_never_refused_for_its_role() {
    let owner = world(&[Role::OrgOwner], &[]);
    for operation in OPERATIONS {
        let (status, code) = owner.code_of(operation).await;
        assert_ne!(status, StatusCode::UNAUTHORIZED, "{}: {code}", operation.id);
        assert!(!status.is_server_error(), "{}: {code}", operation.id);
    }
}

#[tokio::test]
async fn a_token_ends_with_its_hour() {
    let world = world(&[Role::OrgOwner], &[]);
    let bearer = format!("Bearer {}", world.token);
    world.clock.advance(3_599);
    assert_eq!(
        world.ask(&Method::GET, "/api/atlas/v2/groups", Some(&bearer)).await.0,
        StatusCode::OK
    );
    world.clock.advance(1);
    assert_eq!(
        world.ask(&Method::GET, "/api/atlas/v2/groups", Some(&bearer)).await.0,
        StatusCode::UNAUTHORIZED
    );
}
