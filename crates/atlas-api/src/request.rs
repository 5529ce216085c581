//! From an HTTP request to an answer: authenticate, route, resolve the version, find what it is
//! about, count, run, render.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::header::{
    ACCEPT, ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER, SERVER,
    WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Value, json};
use tidemark_actions::{Change, change};
use tidemark_catalog::{Catalog, Org, Project};
use tidemark_model::Caller;

use crate::answer::Answer;
use crate::api::{Api, Sunset};
use crate::auth::AuthError;
use crate::call::{Call, query_flag};
use crate::error::{ApiError, Result};
use crate::guessing::{self, Turn};
use crate::operation::{Handler, Operation, PathValues, Route, Verb, route};
use crate::operations::OPERATIONS;
use crate::rate_limit::{EndpointSet, REFILL_SECONDS, RateLimits, Scope, Taken};
use crate::render::{compact, pretty};
use crate::strict_json;
use crate::version::{Version, header_date, resolve};
use crate::{dev, openapi, own, private, token_endpoint};

const ROOT: &str = "/api/atlas/v2";
/// What the real service calls itself on every answer.
const SERVER_NAME: HeaderValue = HeaderValue::from_static("mdbws");
/// Headers that every answer but a challenge has.
const COMMON_HEADERS: &[(&str, &str)] = &[
    ("strict-transport-security", "max-age=31536000; includeSubdomains;"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("x-permitted-cross-domain-policies", "none"),
];

/// A request whose body was read.
pub(crate) struct Incoming {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// From where it came.
    pub(crate) address: IpAddr,
    /// At which address of this server it arrived, if that is known.
    pub(crate) local_address: Option<SocketAddr>,
}

/// The two ends of a connection; requests carry it as `ConnectInfo`.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// The client's.
    pub peer: SocketAddr,
    /// The server's.
    pub local: Option<SocketAddr>,
}

/// How an answer is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) pretty: bool,
    pub(crate) envelope: bool,
}

/// An answer in JSON without anything around it.
pub(crate) const PLAIN: Style = Style { pretty: false, envelope: false };

/// Answers a request to anything below `/api`.
pub async fn serve(api: Arc<Api>, request: Request<Body>) -> Response<Body> {
    let deadline = api.config.deadline;
    tokio::time::timeout(deadline, answer(api, request)).await.unwrap_or_else(|_| {
        // Whoever is that slow must not keep the connection.
        let mut response = failure(&ApiError::out_of_time(), PLAIN);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    })
}

async fn answer(api: Arc<Api>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let limit = api.config.largest_body_bytes;
    let body = match Limited::new(body, limit).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return failure(&ApiError::body_too_large(limit), PLAIN);
        }
        Err(_) => return failure(&ApiError::malformed_json(), PLAIN),
    };
    let ends = head.extensions.get::<ConnectInfo<Ends>>().map(|info| info.0);
    let address = client_address(&api, ends.map(|ends| ends.peer.ip()), &head.headers);
    let incoming = Incoming {
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        body,
        address,
        local_address: ends.and_then(|ends| ends.local),
    };
    let turn = guessing::turn(&api, &incoming);
    if matches!(turn, Turn::Refused) {
        return failure(&ApiError::too_many_attempts(), PLAIN);
    }
    let for_running = Arc::clone(&api);
    let running = tokio::task::spawn_blocking(move || respond(&for_running, &incoming));
    let response = running.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a handler ended in the middle");
        failure(&ApiError::unexpected(), PLAIN)
    });
    if let Turn::Claimed(attempt) = turn {
        let wait = attempt.finish(&api, &response);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
    response
}

/// The address of the client: the peer's, or what a trusted proxy says.
fn client_address(api: &Api, peer: Option<IpAddr>, headers: &HeaderMap) -> IpAddr {
    let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_canonical();
    if !api.config.trust_forwarded_for {
        return peer;
    }
    // The last entry is the one that the proxy itself wrote.
    let forwarded = headers.get_all("x-forwarded-for").iter().next_back();
    let last = forwarded.and_then(|value| value.to_str().ok()?.rsplit(',').next());
    let Some(text) = last.map(str::trim) else {
        return peer;
    };
    let with_port = || text.parse().map(|address: SocketAddr| address.ip());
    // What cannot be read must not pass for the proxy itself.
    let address = text.parse().or_else(|_| with_port());
    address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address: IpAddr| address.to_canonical())
}

fn respond(api: &Api, incoming: &Incoming) -> Response<Body> {
    let path = incoming.uri.path();
    match path {
        "/api/oauth/token" => return token_endpoint::issue(api, incoming),
        "/api/oauth/revoke" => return token_endpoint::revoke(api, incoming),
        "/api/atlas/v2/openapi.json" if incoming.method == Method::GET => {
            return build(StatusCode::OK, "application/json", Some(openapi::text()));
        }
        _ => {}
    }
    if let Some(response) = private::respond_to_anybody(path) {
        return response;
    }
    let query = parse_query(incoming.uri.query().unwrap_or_default());
    let style = Style {
        pretty: query_flag(&query, "pretty", false).unwrap_or(false),
        envelope: query_flag(&query, "envelope", false).unwrap_or(false),
    };
    let target = incoming.uri.path_and_query().map_or(path, |target| target.as_str());
    let asked = (incoming.method.as_str(), target);
    let identity = match api.authenticate(asked, &incoming.headers, incoming.address) {
        Ok(identity) => identity,
        Err(AuthError::Challenge(challenge)) => return challenge_response(&challenge),
        Err(AuthError::Refused(error)) => return failure(&error, style),
        Err(AuthError::Catalog(error)) => return failure(&error.into(), style),
    };
    if let Some(response) = private::respond(path, incoming.address) {
        return response;
    }
    if let Some(path) = path.strip_prefix(dev::ROOT) {
        return dev::respond(api, incoming, &identity.caller, path);
    }
    if let Some(path) = path.strip_prefix(own::ROOT) {
        return own::respond(api, incoming, &identity.caller, path);
    }
    let below = path.strip_prefix(ROOT).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    match below.map_or(Route::Unknown, |below| route(incoming.method.as_str(), below)) {
        Route::Found(place, path_values) => {
            let asked = Asked { api, incoming, caller: &identity.caller, query: &query, style };
            asked.respond(place, path_values)
        }
        Route::WrongMethod(methods) => wrong_method(&methods),
        Route::Unknown => failure(&ApiError::unknown_route(path), style),
    }
}

/// What an operation is carried out on.
enum Subject {
    Nothing,
    Org(Org),
    Project(Project),
}

/// A request of a known caller.
struct Asked<'a> {
    api: &'a Api,
    incoming: &'a Incoming,
    caller: &'a Caller,
    query: &'a [(String, String)],
    style: Style,
}

impl Asked<'_> {
    /// Carries out the operation at a place of the table.
    fn respond(&self, place: usize, path_values: PathValues) -> Response<Body> {
        let (api, path) = (self.api, self.incoming.uri.path());
        let Some((operation, count)) = OPERATIONS.get(place).zip(api.counts.get(place)) else {
            return failure(&ApiError::unknown_route(path), self.style);
        };
        count.fetch_add(1, Ordering::Relaxed);
        let accept = self.incoming.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        let Some(version) = resolve(accept, operation.versions) else {
            return failure(&ApiError::invalid_version(), self.style);
        };
        let mut limit = None;
        let outcome = self.carry_out(operation, version, path_values, &mut limit);
        let mut response = match outcome {
            Ok(answer) => success(version, answer, self.style),
            Err(error) => failure(&error, self.style),
        };
        add_deprecation(&mut response, version);
        if let Some((capacity, left)) = limit
            && response.status() != StatusCode::UNAUTHORIZED
        {
            insert(&mut response, RATE_LIMIT_LIMIT, &capacity.to_string());
            insert(&mut response, RATE_LIMIT_REMAINING, &left.to_string());
        }
        let status = response.status().as_u16();
        tracing::debug!(operation = operation.id, status, "a request was answered");
        response
    }

    /// Answers the operation, and in `limit` the capacity and the rest of its bucket.
    fn carry_out(
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
            && version.sunset.is_some_and(|sunset| sunset <= today())
            && !operation.is_added
        {
            return Err(ApiError::version_gone(&version.date.to_string(), path));
        }
        let work =
            |catalog: &Catalog| self.carry_out_with(catalog, (operation, path_values), limit);
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
        change(&api.catalog, by, work)
    }

    /// The same with the records of one transaction, if the operation changes something.
    fn carry_out_with(
        &self,
        catalog: &Catalog,
        (operation, path_values): (&Operation, PathValues),
        limit: &mut Option<(u64, u64)>,
    ) -> Result<Answer> {
        let (api, incoming) = (self.api, self.incoming);
        let base_url = base_url(api, &incoming.headers);
        let download_url = download_url(api, incoming);
        let mut call = Call {
            api,
            catalog,
            caller: self.caller,
            address: incoming.address,
            base_url: &base_url,
            download_url: &download_url,
            path: incoming.uri.path(),
            path_values,
            query: self.query,
            body: None,
        };
        let subject = find_subject(&call, operation)?;
        *limit = count_request(&call, operation)?;
        if !incoming.body.is_empty() && operation.verb.takes_body() {
            call.body = Some(read_body(incoming)?);
        }
        query_flag(self.query, "pretty", false)?;
        query_flag(self.query, "envelope", false)?;
        run(&call, operation, &subject)
    }
}

fn read_body(incoming: &Incoming) -> Result<Value> {
    let content_type = incoming
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let is_json = media_type == "application/json"
        || (media_type.starts_with("application/vnd.atlas.") && media_type.ends_with("+json"));
    if !is_json {
        return Err(ApiError::unsupported_media_type(content_type));
    }
    strict_json::parse(&incoming.body)
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
        (Handler::Cluster(_), Subject::Project(project)) => Err(refuse_cluster(call, project)?),
        (Handler::NotOffered(_), _) => Err(ApiError::not_offered(operation.id)),
        _ => Err(ApiError::unexpected()),
    }
}

/// The error by which clients find out what a cluster is.
fn refuse_cluster(call: &Call<'_>, project: &Project) -> Result<ApiError> {
    let name = call.instance_name();
    Ok(match call.catalog.find_instance(project.id, name)? {
        Some(_) => ApiError::flex_in_cluster_api(name),
        None => ApiError::cluster_not_found(name, project.id),
    })
}

/// Takes a request out of the bucket of its endpoint set; answers capacity and rest.
fn count_request(call: &Call<'_>, operation: &Operation) -> Result<Option<(u64, u64)>> {
    let mode = call.api.config.rate_limits;
    let Some(set) = EndpointSet::of(operation).filter(|_| mode != RateLimits::Off) else {
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

/// A name or value of a query or a form.
pub(crate) fn decode_form(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

fn parse_query(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode_form(name), decode_form(value))
        })
        .collect()
}

/// The address that the client used, unless the configuration says another. Only a trusted proxy
/// may say that it was an encrypted one.
fn base_url(api: &Api, headers: &HeaderMap) -> String {
    if let Some(url) = &api.config.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let forwarded = text("x-forwarded-proto").filter(|_| api.config.trust_forwarded_for);
    let scheme = forwarded.filter(|scheme| *scheme == "https").unwrap_or("http");
    format!("{scheme}://{}", text(HOST.as_str()).unwrap_or("localhost"))
}

/// The address in links to downloads: the configured one, what a trusted proxy says, or the one at
/// which this server was reached.
fn download_url(api: &Api, incoming: &Incoming) -> String {
    match incoming.local_address {
        Some(local) if api.config.public_url.is_none() && !api.config.trust_forwarded_for => {
            format!("http://{local}")
        }
        _ => base_url(api, &incoming.headers),
    }
}

fn success(version: Version, answer: Answer, style: Style) -> Response<Body> {
    let status = answer.status;
    let body = match (answer.body, style.envelope) {
        (Some(Value::Object(mut list)), true) if answer.is_list => {
            list.insert("status".to_owned(), status.as_u16().into());
            Some(Value::Object(list))
        }
        (Some(entity), true) => Some(envelope(entity, status)),
        (body, _) => body,
    };
    let content_type = format!("application/vnd.atlas.{}+json;charset=utf-8", version.date);
    let mut response = build(status, &content_type, body.map(|body| write(body, style)));
    if let Some(location) = answer.location {
        insert(&mut response, LOCATION, &location);
    }
    response
}

fn envelope(content: Value, status: StatusCode) -> Value {
    json!({ "content": content, "status": status.as_u16() })
}

fn write(body: Value, style: Style) -> String {
    if style.pretty { pretty(body) } else { compact(body) }
}

/// An error answer. In an envelope it keeps its status: a client that can see it should.
pub(crate) fn failure(error: &ApiError, style: Style) -> Response<Body> {
    let body = if style.envelope { envelope(error.body(), error.status) } else { error.body() };
    let mut response = build(error.status, "application/json", Some(write(body, style)));
    if error.status != StatusCode::UNAUTHORIZED {
        insert(&mut response, X_ERROR_CODE, error.code);
    }
    if let Some(hint) = &error.hint {
        insert(&mut response, HINT, hint);
    }
    if let Some(seconds) = error.retry_after {
        insert(&mut response, RETRY_AFTER, &seconds.to_string());
    }
    response
}

/// What to do, where a recorded text does not say it.
const HINT: HeaderName = HeaderName::from_static("x-tidemark-hint");
const X_ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");
const RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// Says since when a version is deprecated and when it ends, on whatever is answered.
fn add_deprecation(response: &mut Response<Body>, version: Version) {
    for (name, date) in [(DEPRECATION, version.deprecated), (SUNSET, version.sunset)] {
        if let Some(date) = date {
            insert(response, name, &header_date(date));
        }
    }
}

fn insert(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

pub(crate) fn build(
    status: StatusCode,
    content_type: &str,
    text: Option<String>,
) -> Response<Body> {
    let mut response = Response::new(text.map_or_else(Body::empty, Body::from));
    *response.status_mut() = status;
    insert(&mut response, CONTENT_TYPE, content_type);
    response.headers_mut().insert(SERVER, SERVER_NAME);
    for (name, value) in COMMON_HEADERS {
        response.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    response
}

/// The challenge: the one answer whose body is neither compact nor in alphabetical order.
fn challenge_response(challenge: &str) -> Response<Body> {
    const BODY: &str = "{\n  \"error\" : 401,\n  \"reason\" : \"Unauthorized\",\n  \"detail\" : \"You are not authorized for this resource.\",\n  \"errorCode\" : \"UNEXPECTED_ERROR\"\n}";
    let mut response = Response::new(Body::from(BODY));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response.headers_mut().insert(SERVER, SERVER_NAME);
    insert(&mut response, CONTENT_TYPE, "application/json");
    insert(&mut response, WWW_AUTHENTICATE, challenge);
    response
}

pub(crate) fn wrong_method(methods: &[&str]) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(SERVER, SERVER_NAME);
    insert(&mut response, ALLOW, &methods.join(","));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}
