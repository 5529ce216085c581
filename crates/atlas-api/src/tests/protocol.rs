//! Rules of the protocol: headers, versions, styles, bodies, limits, addresses.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidemark_catalog::NewSecret;
use tidemark_model::{Role, SecretId};

use super::{World, world, world_with};
use crate::digest_auth::ha1;
use crate::{RateLimits, Sunset, serve};

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    fn code(&self) -> String {
        self.body()["errorCode"].as_str().unwrap_or_default().to_owned()
    }
}

impl World {
    /// Sends a request as the service account; later headers replace earlier ones.
    async fn send(&self, target: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let (method, path) = target.split_once(' ').unwrap();
        let path = path
            .replace("{group}", &self.project.to_string())
            .replace("{org}", &self.org.to_string());
        let bearer = self.bearer();
        let mut all = vec![
            ("authorization", bearer.as_str()),
            ("accept", "application/vnd.atlas.2025-03-12+json"),
            ("content-type", "application/json"),
        ];
        all.retain(|(name, _)| !headers.iter().any(|(given, _)| given == name));
        all.extend(headers.iter().filter(|(_, value)| !value.is_empty()));
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in all {
            request = request.header(name, value);
        }
        let response = serve(Arc::clone(&self.api), request.body(body.into()).unwrap()).await;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: head.status, headers: head.headers, text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET /api/atlas/v2{path}"), &[], "").await
    }
}

fn owner() -> World {
    world(&[Role::OrgOwner], &[])
}

const DATED: &str = "application/vnd.atlas.";

#[tokio::test]
async fn versions_resolve_and_say_when_they_end() {
    let world = owner();
    let cases = [
        (
            "/groups/{group}/clusters",
            "2023-01-01",
            "2023-01-01",
            Some("Wed, 1 Feb 2023 00:00:00 GMT"),
            Some("Thu, 1 Jul 2027 00:00:00 GMT"),
        ),
        (
            "/groups/{group}/clusters",
            "2024-01-01",
            "2023-02-01",
            Some("Mon, 5 Aug 2024 00:00:00 GMT"),
            Some("Thu, 1 Jul 2027 00:00:00 GMT"),
        ),
        ("/groups/{group}/clusters", "2099-01-01", "2024-08-05", None, None),
        (
            "/groups/{group}/serverless",
            "2023-02-01",
            "2023-01-01",
            Some("Wed, 10 Dec 2025 00:00:00 GMT"),
            Some("Thu, 15 Jan 2026 00:00:00 GMT"),
        ),
        ("/groups/{group}/flexClusters", "2025-03-12", "2024-11-13", None, None),
    ];
    for (path, asked, served, deprecation, sunset) in cases {
        let accept = format!("{DATED}{asked}+json");
        let target = format!("GET /api/atlas/v2{path}");
        let answer = world.send(&target, &[("accept", &accept)], "").await;
        assert_eq!(answer.status, StatusCode::OK, "{path} {asked}");
        let expected = format!("{DATED}{served}+json;charset=utf-8");
        assert_eq!(answer.header("content-type"), Some(expected.as_str()));
        assert_eq!((answer.header("deprecation"), answer.header("sunset")), (deprecation, sunset));
    }
    for (path, accept) in [
        ("/groups/{group}/flexClusters", "application/vnd.atlas.2024-11-12+json"),
        ("/groups", ""),
        ("/groups", "*/*"),
        ("/rateLimits", "application/vnd.atlas.preview+json"),
    ] {
        let target = format!("GET /api/atlas/v2{path}");
        let answer = world.send(&target, &[("accept", accept)], "").await;
        assert_eq!(answer.status, StatusCode::NOT_ACCEPTABLE);
        assert_eq!(
            answer.text,
            r#"{"detail":"Invalid accept header or version date.","error":406,"errorCode":"INVALID_VERSION_DATE","parameters":[],"reason":"Not Acceptable"}"#
        );
    }
    let missing = world.get("/groups/{group}/serverless/nobody").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(missing.header("sunset").is_some(), "errors of a deprecated version say so too");
}

#[tokio::test]
async fn a_version_that_was_switched_off_is_gone_if_that_is_enforced() {
    let world = world_with(&[Role::OrgOwner], &[], |config| config.sunset = Sunset::Enforce);
    let early = world.get("/groups/{group}/serverless").await;
    assert_eq!(early.status, StatusCode::OK, "in 2023 it is not off yet");
    // To 2026, which needs a new token.
    world.clock.advance(70_000_000);
    let secret = NewSecret {
        id: SecretId::new(world.clock.now()),
        hash: "later".into(),
        masked: "mdb_sa_sk_...".into(),
        created_at: world.clock.now(),
        expires_at: world.clock.now().saturating_add(jiff::SignedDuration::from_hours(1)).unwrap(),
    };
    world.api.catalog.insert_account_secret(world.account.0, &secret, 5).unwrap();
    let account = (world.account.0, secret.id);
    let later = World {
        token: world.api.signing.newest().issue_token(account, world.clock.now()),
        ..world
    };
    let gone = later.get("/groups/{group}/serverless").await;
    assert_eq!((gone.status, gone.code().as_str()), (StatusCode::GONE, "VERSION_GONE"));
    assert!(gone.header("sunset").is_some());
    assert_eq!(later.get("/groups/{group}/flexClusters").await.status, StatusCode::OK);
}

#[tokio::test]
async fn envelopes_and_pretty_print_hold_for_success_lists_and_errors() {
    let world = owner();
    let one = world.get("/groups/{group}?envelope=true").await.body();
    assert_eq!((one["status"].clone(), one["content"]["name"].clone()), (json!(200), json!("p")));
    let list = world.get("/groups?envelope=true").await.body();
    assert_eq!((list["status"].clone(), list["totalCount"].clone()), (json!(200), json!(1)));
    let error = world.get("/groups/xyz?envelope=true&pretty=true").await;
    assert_eq!(error.status, StatusCode::NOT_FOUND);
    let start =
        "{\n  \"content\" : {\n    \"detail\" : \"An invalid group ID xyz was specified.\",\n";
    assert!(error.text.starts_with(start), "{}", error.text);
    assert!(error.text.ends_with("\"reason\" : \"Not Found\"\n  },\n  \"status\" : 404\n}"));
    let flag = world.get("/groups/{group}/managedSlowMs").await;
    assert_eq!(flag.text, "true");
    let wrong = world.get("/groups?pretty=maybe").await;
    assert_eq!(wrong.code(), "INVALID_QUERY_PARAMETER");
}

#[tokio::test]
async fn headers_are_where_they_were_recorded() {
    let world = owner();
    let secure = |answer: &Answer| answer.header("strict-transport-security").is_some();
    let ok = world.get("/groups/{group}").await;
    assert!(secure(&ok));
    assert_eq!(ok.header("ratelimit-limit"), Some("1200"));
    assert_eq!(ok.header("ratelimit-remaining"), Some("1199"));
    assert_eq!(ok.header("x-error-code"), None);
    let missing = world.get("/groups/{group}/flexClusters/nobody").await;
    assert_eq!(missing.header("x-error-code"), Some("CLUSTER_NOT_FOUND"));
    assert_eq!(missing.header("content-type"), Some("application/json"));
    let no_group = world.get(&format!("/groups/{}", "1".repeat(24))).await;
    assert_eq!(
        (no_group.code().as_str(), no_group.header("ratelimit-limit")),
        ("GROUP_NOT_FOUND", None)
    );
    let challenge = world.send("GET /api/atlas/v2/groups", &[("authorization", "")], "").await;
    assert_eq!((challenge.status, secure(&challenge)), (StatusCode::UNAUTHORIZED, false));
    assert_eq!(challenge.header("x-error-code"), None);
    let method = world.send("DELETE /api/atlas/v2/groups/", &[], "").await;
    assert_eq!((method.status, method.text.as_str()), (StatusCode::METHOD_NOT_ALLOWED, ""));
    assert_eq!((method.header("allow"), secure(&method)), (Some("POST,GET,OPTIONS"), false));
    let created = world
        .send(
            "POST /api/atlas/v2/groups",
            &[],
            json!({ "name": "n", "orgId": world.org.to_string() }).to_string(),
        )
        .await;
    assert_eq!(created.header("location"), Some("http://localhost//api/atlas/v1.0"));
}

#[tokio::test]
async fn bodies_are_read_strictly() {
    let world = owner();
    let post = async |headers: &[(&str, &str)], body: &[u8]| {
        let answer = world.send("POST /api/atlas/v2/groups", headers, body.to_vec()).await;
        (answer.status.as_u16(), answer.code())
    };
    let cases: [(&[u8], u16, &str); 8] = [
        (b"", 400, "MISSING_ATTRIBUTE"),
        (b"{", 400, "MALFORMED_JSON"),
        (b"[]", 400, "INVALID_JSON"),
        (b"{\"name\":\"\xff\"}", 400, "MALFORMED_JSON"),
        (b"{\"name\":\"a\",\"name\":\"b\"}", 400, "MALFORMED_JSON"),
        (b"{\"name\":1}", 400, "INVALID_JSON_ATTRIBUTE"),
        (b"{\"name\":null}", 400, "MISSING_ATTRIBUTE"),
        (b"{\"colour\":\"red\"}", 400, "INVALID_ATTRIBUTE"),
    ];
    for (body, status, code) in cases {
        assert_eq!(
            post(&[], body).await,
            (status, code.to_owned()),
            "{}",
            String::from_utf8_lossy(body)
        );
    }
    for content_type in
        ["text/plain", "application/x-www-form-urlencoded", "application/vnd.atlas.x+csv"]
    {
        assert_eq!(post(&[("content-type", content_type)], b"{}").await.0, 415);
    }
    let deep = vec![b'['; 2_000];
    assert_eq!(post(&[], &deep).await, (400, "MALFORMED_JSON".into()));
    assert_eq!(post(&[], &vec![b' '; 20_000]).await, (413, "REQUEST_TOO_LARGE".into()));
}

#[tokio::test]
async fn a_rate_limit_refuses_only_where_it_is_enforced() {
    for (mode, last) in
        [(RateLimits::Report, 200), (RateLimits::Enforce, 429), (RateLimits::Off, 200)]
    {
        let world = world_with(&[Role::OrgOwner], &[], |config| config.rate_limits = mode);
        for _ in 0..10 {
            assert_eq!(world.get("/orgs/{org}/settings").await.status, StatusCode::OK);
        }
        let answer = world.get("/orgs/{org}/settings").await;
        assert_eq!(answer.status.as_u16(), last, "{mode:?}");
        match mode {
            RateLimits::Off => assert_eq!(answer.header("ratelimit-limit"), None),
            RateLimits::Report => assert_eq!(answer.header("ratelimit-remaining"), Some("0")),
            RateLimits::Enforce => {
                assert_eq!(answer.code(), "RATE_LIMITED_TOKEN_BUCKET");
                assert_eq!(answer.header("retry-after"), Some("12"));
                let path = format!("api/atlas/v2/orgs/{}/settings", world.org);
                assert_eq!(answer.body()["parameters"], json!([path, 12, 10, 5, 60]));
                world.clock.advance(12);
                assert_eq!(world.get("/orgs/{org}/settings").await.status, StatusCode::OK);
            }
        }
    }
}

#[tokio::test]
async fn the_token_endpoint_has_a_limit_of_its_own() {
    let world =
        world_with(&[Role::OrgOwner], &[], |config| config.rate_limits = RateLimits::Enforce);
    let ask = async |body: &str, from: &str| {
        let headers = [("authorization", "Basic eDp5"), ("x-forwarded-for", from)];
        world.send("POST /api/oauth/token", &headers, body.to_owned()).await
    };
    for _ in 0..10 {
        let answer = ask("grant_type=client_credentials", "192.0.2.1").await;
        assert_eq!(
            answer.text,
            r#"{"error_description":"Invalid credentials provided.","error":"invalid_client"}"#
        );
    }
    let limited = ask("grant_type=client_credentials", "192.0.2.1").await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        limited.body(),
        json!({ "error": "rate_limited", "error_description": "Resource /api/oauth/token is limited to 10 requests every 1 minutes." })
    );
    assert_eq!(ask("", "192.0.2.2").await.status, StatusCode::UNAUTHORIZED);
    world.clock.advance(6);
    assert_eq!(ask("", "192.0.2.1").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_access_list_holds_for_a_key_and_for_an_account() {
    let world = owner();
    let from = async |address: &str| {
        world.send("GET /api/atlas/v2/groups", &[("x-forwarded-for", address)], "").await
    };
    let account = format!("mdb_sa_id_{}", world.account.0);
    let path = format!("POST /api/atlas/v2/orgs/{{org}}/serviceAccounts/{account}/accessList");
    let blocks = json!([{ "cidrBlock": "192.0.2.0/24" }, { "ipAddress": "127.0.0.1" }]).to_string();
    assert_eq!(world.send(&path, &[], blocks).await.status, StatusCode::OK);
    assert_eq!(from("192.0.2.77").await.status, StatusCode::OK);
    let refused = from("203.0.113.9").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(
        refused.text,
        r#"{"detail":"IP address 203.0.113.9 is not allowed to access this resource.","error":403,"errorCode":"IP_ADDRESS_NOT_ON_ACCESS_LIST","parameters":["203.0.113.9"],"reason":"Forbidden"}"#
    );
    let listed = world.send(&path.replace("POST", "GET"), &[], "").await.body();
    assert_eq!(listed["results"][0]["requestCount"], 1);
    assert_eq!(listed["results"][0]["lastUsedAddress"], "192.0.2.77");
    let own = format!("{}/127.0.0.1", path.replace("POST", "DELETE"));
    assert_eq!(world.send(&own, &[], "").await.code(), "CANNOT_REMOVE_CALLER_FROM_WHITELIST");
    let other = format!("{}/192.0.2.0%2F24", path.replace("POST", "DELETE"));
    assert_eq!(world.send(&other, &[], "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(from("192.0.2.77").await.status, StatusCode::FORBIDDEN);
    for (address, status) in [
        ("127.0.0.1:5123", StatusCode::OK),
        ("::ffff:127.0.0.1", StatusCode::OK),
        // What cannot be read is not taken for the proxy.
        ("nowhere", StatusCode::FORBIDDEN),
    ] {
        assert_eq!(from(address).await.status, status, "{address}");
    }
}

#[tokio::test]
async fn nobody_gives_more_than_they_have() {
    let manager = world(&[Role::OrgMember], &[Role::GroupAccessManager]);
    let keys = "POST /api/atlas/v2/groups/{group}/apiKeys";
    let body = |role: &str| json!({ "desc": "a key", "roles": [role] }).to_string();
    let made = manager.send(keys, &[], body("GROUP_READ_ONLY")).await;
    assert_eq!(made.status, StatusCode::OK);
    let one = format!("{keys}/{}", made.body()["id"].as_str().unwrap());
    let promotion = manager.send(&one.replace("POST", "PATCH"), &[], body("GROUP_OWNER")).await;
    let another = manager.send(keys, &[], body("GROUP_OWNER")).await;
    let assigned = json!([{ "roles": ["GROUP_OWNER"] }]).to_string();
    let assigned = manager.send(&one, &[], assigned).await;
    for refused in [promotion, another, assigned] {
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (401, "USER_UNAUTHORIZED"));
    }
}

#[tokio::test]
async fn an_account_that_may_more_is_not_a_project_owners_to_use() {
    let world = world(&[Role::OrgMember], &[Role::GroupOwner]);
    let now = world.clock.now();
    let secrets = async |org_roles: &[Role]| {
        let account = tidemark_catalog::ServiceAccount {
            id: tidemark_model::ServiceAccountId::new(now),
            org: world.org,
            name: "a".into(),
            description: String::new(),
            roles: tidemark_model::Roles {
                org: org_roles.to_vec(),
                projects: vec![(world.project, Role::GroupReadOnly)],
            },
            created_at: now,
        };
        let secret = crate::secret_record(
            &crate::new_account_secret(),
            now,
            jiff::SignedDuration::from_hours(24),
        );
        world.api.catalog.insert_service_account(&account, &secret).unwrap();
        let path = format!(
            "POST /api/atlas/v2/groups/{{group}}/serviceAccounts/{}/secrets",
            crate::client_id_of(account.id)
        );
        let body = json!({ "secretExpiresAfterHours": 8 }).to_string();
        world.send(&path, &[], body).await.status.as_u16()
    };
    assert_eq!(secrets(&[Role::OrgMember]).await, 201);
    assert_eq!(secrets(&[Role::OrgOwner]).await, 401);
}

#[tokio::test]
async fn an_organization_can_ask_every_caller_for_an_access_list() {
    let world = owner();
    let settings = json!({ "apiAccessListRequired": true }).to_string();
    let path = "PATCH /api/atlas/v2/orgs/{org}/settings";
    assert_eq!(world.send(path, &[], settings).await.status, StatusCode::OK);
    let refused = world.get("/groups").await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::FORBIDDEN, "ORG_REQUIRES_WHITELIST")
    );
}

#[tokio::test]
async fn digest_answers_hold_once_and_for_their_nonce() {
    let world = owner();
    let nonce_of = |answer: &Answer| {
        let challenge = answer.header("www-authenticate").unwrap().to_owned();
        let nonce = challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
        (nonce.to_owned(), challenge.ends_with("stale=true"))
    };
    let path = "/api/atlas/v2/groups?pretty=true";
    let answer_to = |nonce: &str, count: &str, private_key: &str, uri: &str| {
        use md5::{Digest, Md5};
        let hash = |text: String| {
            Md5::digest(text.as_bytes()).iter().fold(String::new(), |t, b| t + &format!("{b:02x}"))
        };
        let ha2 = hash(format!("GET:{uri}"));
        let response = hash(format!("{}:{nonce}:{count}:c:auth:{ha2}", ha1("public", private_key)));
        format!(
            r#"Digest username="public", realm="MMS Public API", nonce="{nonce}", uri="{uri}", response="{response}", algorithm="MD5", qop=auth, nc={count}, cnonce="c""#
        )
    };
    let target = format!("GET {path}");
    let send = async |authorization: &str| {
        world.send(&target, &[("authorization", authorization)], "").await
    };
    let (nonce, is_stale) = nonce_of(&send("").await);
    assert!(!is_stale);
    let good = answer_to(&nonce, "00000001", "private", path);
    assert_eq!(send(&good).await.status, StatusCode::OK);
    let replayed = send(&good).await;
    assert_eq!((replayed.status, nonce_of(&replayed).1), (StatusCode::UNAUTHORIZED, true));
    assert_eq!(send(&answer_to(&nonce, "00000002", "private", path)).await.status, StatusCode::OK);
    for wrong in [
        answer_to(&nonce, "00000003", "guessed", path),
        answer_to(&nonce, "00000003", "private", "/api/atlas/v2/orgs"),
        answer_to(&"A".repeat(32), "00000003", "private", path),
        good.replace("public", "nobody"),
        good.replace("MMS Public API", "Another"),
    ] {
        let refused = send(&wrong).await;
        assert_eq!((refused.status, nonce_of(&refused).1), (StatusCode::UNAUTHORIZED, false));
    }
    world.clock.advance(301);
    let old = send(&answer_to(&nonce, "00000004", "private", path)).await;
    assert_eq!((old.status, nonce_of(&old).1), (StatusCode::UNAUTHORIZED, true));
}

#[tokio::test]
async fn tokens_are_revoked_and_end_with_their_account() {
    let world = owner();
    assert_eq!(world.get("/groups").await.status, StatusCode::OK);
    let path =
        format!("DELETE /api/atlas/v2/orgs/{{org}}/serviceAccounts/mdb_sa_id_{}", world.account.0);
    assert_eq!(world.send(&path, &[], "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.get("/groups").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_development_endpoints_are_refused_without_the_mode() {
    let world = owner();
    for target in [
        "GET /api/tidemark/v1/dev/clock",
        "POST /api/tidemark/v1/dev/clock",
        "POST /api/tidemark/v1/dev/reset",
    ] {
        let refused = world.send(target, &[], "").await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (StatusCode::FORBIDDEN, "NOT_IN_DEV_MODE")
        );
        let anonymous = world.send(target, &[("authorization", "")], "").await;
        assert_eq!(anonymous.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn what_clients_ask_for_privately_is_answered() {
    let world = owner();
    let anonymous = [("authorization", ""), ("accept", "")];
    let version =
        world.send("GET /api/private/unauth/nds/defaultMongoDBMajorVersion", &anonymous, "").await;
    assert_eq!((version.status, version.text.as_str()), (StatusCode::OK, "7.0"));
    let events = world.send("POST /api/private/unauth/telemetry/events", &anonymous, "[]").await;
    assert_eq!(events.status, StatusCode::OK);
    let info = world.send("GET /api/private/ipinfo", &[("x-forwarded-for", "192.0.2.8")], "").await;
    assert_eq!(info.body(), json!({ "currentIpv4Address": "192.0.2.8" }));
    let info = world.send("GET /api/private/ipinfo", &anonymous, "").await;
    assert_eq!(info.status, StatusCode::UNAUTHORIZED);
    let document = world.send("GET /api/atlas/v2/openapi.json", &anonymous, "").await;
    assert_eq!(document.body()["openapi"], "3.0.3");
}

#[tokio::test]
async fn requests_are_counted_whether_the_operation_is_offered_or_not() {
    let world = owner();
    world.get("/groups").await;
    let refused = world.get("/groups/{group}/backup/exportBuckets").await;
    assert_eq!(refused.body()["parameters"], json!(["listGroupBackupExportBuckets"]));
    let metrics = world.api.metrics();
    for line in [
        r#"tidemark_api_requests_total{operation="listGroups",offered="true"} 1"#,
        r#"tidemark_api_requests_total{operation="listGroupBackupExportBuckets",offered="false"} 1"#,
        r#"tidemark_api_requests_total{operation="getGroup",offered="true"} 0"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_path_and_no_query_breaks_the_server(path in "[a-z%0-9A-F/{}:.-]{0,40}", query in "[a-zA-Z=&%0-9]{0,30}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let status = runtime.block_on(async {
            let world = owner();
            let uri: Result<axum::http::Uri, _> = format!("/api/atlas/v2/{path}?{query}").parse();
            match uri {
                Ok(uri) => world.send(&format!("GET {uri}"), &[], "").await.status,
                Err(_) => StatusCode::OK,
            }
        });
        prop_assert!(!status.is_server_error());
    }
}
