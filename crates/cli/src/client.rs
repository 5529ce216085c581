//! Calls to a server: with an API key (digest) or a service account (bearer).

use std::cell::OnceCell;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;
use serde_json::{Value, json};
use tidemark_atlas_api::answer_challenge;
use tidemark_model::Secret;
pub(crate) use ureq::Agent;
use ureq::http::{Request, Response, StatusCode};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::bootstrap_file::Bootstrap;
use crate::command::given;
use crate::error::{CliError, Exit};
use crate::profiles::{self, Profile, Profiles};

/// How long a server may take: probing a deployment that does not answer takes a while.
const PATIENCE: Duration = Duration::from_mins(2);
/// No answer that is read as a whole is larger.
const LARGEST_ANSWER_BYTES: u64 = 256 << 20;
/// The version of Atlas's part that is asked for.
const ACCEPT: &str = "application/vnd.atlas.2025-03-12+json";
/// The variable that names certificates to trust, as PEM, instead of the usual ones.
const CA_FILE: &str = "TIDEMARK_SERVER_CA_FILE";

/// Where the server says what to do, if the text of its refusal does not.
const HINT: &str = "x-tidemark-hint";

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    Patch,
    Put,
    Delete,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// As whom a server is asked.
enum Credentials {
    Key {
        public: String,
        private: Secret,
    },
    /// A token, got at the first call.
    Account {
        id: String,
        secret: Secret,
        token: OnceCell<Secret>,
    },
}

/// A client of a server.
pub(crate) struct Client {
    agent: Agent,
    /// For what takes as long as it comes: scans, comparisons, files.
    patient: Agent,
    base_url: String,
    credentials: Credentials,
    /// The project that was named, by its id or name.
    wanted: Option<String>,
    project: OnceCell<String>,
}

impl Client {
    /// The client that flags, environment and profile describe; in this order.
    pub(crate) fn new(matches: &ArgMatches) -> Result<Self, CliError> {
        let target = find_target(matches)?;
        Self::of(&target)
    }

    /// A client of what a profile says.
    pub(crate) fn of(profile: &Profile) -> Result<Self, CliError> {
        let p = profile.clone();
        let credentials = match (p.client_id, p.client_secret, p.public_key, p.private_key) {
            (Some(id), Some(secret), ..) => {
                Credentials::Account { id, secret: Secret::new(secret), token: OnceCell::new() }
            }
            (_, _, Some(public), Some(private)) => {
                Credentials::Key { public, private: Secret::new(private) }
            }
            _ => {
                return Err(CliError::usage(format!("it is not said as whom to ask {}", p.server))
                    .hint("give --public-key and --private-key, --client-id and --client-secret, or `tidemark login`"));
            }
        };
        Ok(Self {
            agent: agent(Some(PATIENCE), p.ca_file.as_deref())?,
            patient: agent(None, p.ca_file.as_deref())?,
            base_url: p.server.trim_end_matches('/').to_owned(),
            credentials,
            wanted: p.project,
            project: OnceCell::new(),
        })
    }

    /// The id of the project that is meant.
    pub(crate) fn project(&self) -> Result<&str, CliError> {
        if let Some(found) = self.project.get() {
            return Ok(found);
        }
        let found = self.find_project()?;
        Ok(self.project.get_or_init(|| found))
    }

    fn find_project(&self) -> Result<String, CliError> {
        let is_id = |text: &str| text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(id) = self.wanted.as_ref().filter(|text| is_id(text)) {
            return Ok(id.clone());
        }
        let found = self.call(Method::Get, "/api/atlas/v2/groups?itemsPerPage=500", None)?;
        let projects = found.get("results").and_then(Value::as_array);
        let is_wanted = |project: &&Value| match &self.wanted {
            Some(name) => text(project, "name") == name,
            None => true,
        };
        let mut matching = projects.into_iter().flatten().filter(is_wanted);
        match (matching.next(), matching.next(), &self.wanted) {
            (Some(project), None, _) => Ok(text(project, "id").to_owned()),
            (None, _, Some(name)) => {
                Err(CliError::new(Exit::NotFound, format!("there is no project {name}"))
                    .hint("`tidemark projects list` shows them"))
            }
            (None, _, None) => {
                Err(CliError::new(Exit::NotFound, "the server shows these credentials no project")
                    .hint("make one with `tidemark projects create NAME`"))
            }
            (Some(_), Some(_), _) => Err(CliError::usage("there are several projects")
                .hint("say which with --project; `tidemark projects list` shows them")),
        }
    }

    /// Calls the server; answers the body of a success.
    pub(crate) fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, CliError> {
        let mut response = self.respond(&self.agent, (method, path), body)?;
        let status = response.status();
        let body = self.read(&mut response)?;
        if status == StatusCode::NO_CONTENT || (status.is_success() && body.is_empty()) {
            return Ok(json!({}));
        }
        if status.is_success() {
            return self.parse(status, &body);
        }
        Err(self.refused(&response, &body))
    }

    /// Calls the server for an answer of one JSON object a line, and shows each as it comes.
    pub(crate) fn stream(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        mut each: impl FnMut(Value) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let mut response = self.respond(&self.patient, (method, path), Some(body))?;
        if !response.status().is_success() {
            let body = self.read(&mut response)?;
            return Err(self.refused(&response, &body));
        }
        let lines = BufReader::new(response.into_body().into_reader()).lines();
        for line in lines {
            let line = line.map_err(|error| {
                CliError::new(Exit::Unreachable, format!("the answer ended early: {error}"))
                    .hint("try again")
            })?;
            each(serde_json::from_str(&line)?)?;
        }
        Ok(())
    }

    fn respond(
        &self,
        agent: &Agent,
        (method, path): (Method, &str),
        body: Option<&Value>,
    ) -> Result<Response<ureq::Body>, CliError> {
        let request = (method.as_str(), path);
        match &self.credentials {
            Credentials::Key { public, private } => {
                self.call_with_digest(agent, request, body, (public, private))
            }
            Credentials::Account { id, secret, token } => {
                let token = if let Some(token) = token.get() {
                    token
                } else {
                    let got = self.get_token(id, secret)?;
                    token.get_or_init(|| got)
                };
                let authorization = format!("Bearer {}", token.expose());
                self.send(agent, request, body, Some(&authorization))
            }
        }
    }

    fn parse(&self, status: StatusCode, body: &str) -> Result<Value, CliError> {
        serde_json::from_str(body).map_err(|_| {
            let what = format!("{} answers what is no API of Tidemark: {status}", self.base_url);
            CliError::new(Exit::Unreachable, what).hint("look at the address")
        })
    }

    /// Why the server refuses, with what it says to do.
    fn refused(&self, response: &Response<ureq::Body>, body: &str) -> CliError {
        let answer = match self.parse(response.status(), body) {
            Ok(answer) => answer,
            Err(error) => return error,
        };
        let refusal = refusal(response.status(), &answer);
        match response.headers().get(HINT).and_then(|value| value.to_str().ok()) {
            Some(hint) => refusal.hint(hint),
            None => refusal,
        }
    }

    /// Once to be challenged, once with the answer to that.
    fn call_with_digest(
        &self,
        agent: &Agent,
        request: (&str, &str),
        body: Option<&Value>,
        (public, private): (&str, &Secret),
    ) -> Result<Response<ureq::Body>, CliError> {
        // The challenge comes before the body is looked at; secrets travel once.
        let mut challenged = self.send(&self.agent, request, None, None)?;
        let challenge = challenged.headers().get("www-authenticate");
        let challenge =
            challenge.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let cnonce = Secret::random::<8>();
        let keys = (public, private.expose());
        let Some(answer) = answer_challenge(&challenge, keys, request, cnonce.expose()) else {
            return Ok(challenged);
        };
        // Read to its end, so that the connection serves again.
        self.read(&mut challenged)?;
        self.send(agent, request, body, Some(&answer))
    }

    fn get_token(&self, id: &str, secret: &Secret) -> Result<Secret, CliError> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret.expose()),
        ];
        let url = format!("{}/api/oauth/token", self.base_url);
        let sent = self.agent.post(&url).send_form(form);
        let mut response = sent.map_err(|error| self.unreachable(&error))?;
        let body = self.read(&mut response)?;
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        match answer.get("access_token").and_then(Value::as_str) {
            Some(token) if response.status().is_success() => Ok(Secret::new(token.to_owned())),
            _ => Err(CliError::new(
                Exit::Denied,
                format!("the server gives {id} no token: {}", text(&answer, "errorDescription")),
            )
            .hint("look at the client id and its secret; `tidemark login` takes new ones")),
        }
    }

    fn read(&self, response: &mut Response<ureq::Body>) -> Result<String, CliError> {
        let body = response.body_mut().with_config().limit(LARGEST_ANSWER_BYTES);
        body.read_to_string().map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &ureq::Error) -> CliError {
        CliError::new(Exit::Unreachable, format!("{} does not answer: {error}", self.base_url))
            .hint("start the server, or look at the address")
    }

    fn send(
        &self,
        agent: &Agent,
        (method, path): (&str, &str),
        body: Option<&Value>,
        authorization: Option<&str>,
    ) -> Result<Response<ureq::Body>, CliError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base_url))
            .header("Accept", ACCEPT);
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        let wrong = |error: ureq::http::Error| {
            CliError::usage(format!("{} is no address of a server: {error}", self.base_url))
        };
        let sent = match body {
            Some(body) => {
                let request = request.header("Content-Type", "application/json");
                agent.run(request.body(body.to_string()).map_err(wrong)?)
            }
            None => agent.run(request.body(()).map_err(wrong)?),
        };
        sent.map_err(|error| self.unreachable(&error))
    }

    /// Opens the link of a download: it is its own credential.
    pub(crate) fn download(&self, link: &str) -> Result<impl Read + use<>, CliError> {
        let wrong = |error: ureq::http::Error| CliError::failed(format!("{link}: {error}"));
        let request = Request::builder().method("GET").uri(link).body(()).map_err(wrong)?;
        let response = self.patient.run(request).map_err(|error| {
            CliError::new(Exit::Unreachable, format!("{link} does not answer: {error}"))
        })?;
        let status = response.status();
        if !status.is_success() {
            return Err(CliError::new(Exit::NotFound, format!("the file is not there: {status}"))
                .hint("its time may be over; ask for another one"));
        }
        Ok(response.into_body().into_reader())
    }

    /// Sends a dump to a link that was made for it.
    pub(crate) fn upload(
        &self,
        link: &str,
        dump: impl Read + Send + 'static,
    ) -> Result<(), CliError> {
        let wrong = |error: ureq::http::Error| CliError::failed(format!("{link}: {error}"));
        let body = ureq::SendBody::from_owned_reader(dump);
        let request = Request::builder().method("PUT").uri(link).body(body).map_err(wrong)?;
        let mut response = self.patient.run(request).map_err(|error| {
            CliError::new(Exit::Unreachable, format!("the upload failed: {error}"))
        })?;
        if response.status().is_success() {
            return Ok(());
        }
        let status = response.status();
        let said = response.body_mut().read_to_string().unwrap_or_default();
        let answer: Value = serde_json::from_str(&said).unwrap_or_default();
        Err(CliError::failed(format!("the upload was refused: {}", text(&answer, "detail")))
            .hint(format!("the server answered {status}")))
    }
}

/// What a refusal of the server means to who asked.
fn refusal(status: StatusCode, answer: &Value) -> CliError {
    let detail = text(answer, "detail").trim_end_matches('.');
    let code = text(answer, "errorCode");
    let message = format!("{detail} ({code})");
    let (exit, hint) = match (status.as_u16(), code) {
        (401, "NOT_IN_GROUP" | "USER_UNAUTHORIZED") | (403, _) => {
            (Exit::Denied, "use credentials that may do this, or have their roles changed")
        }
        (401, _) => (Exit::Denied, "look at the keys; `tidemark login` takes new ones"),
        (404, "CLUSTER_NOT_FOUND") => (Exit::NotFound, "`tidemark instances list` shows them"),
        (404, "GROUP_NOT_FOUND") => (Exit::NotFound, "`tidemark projects list` shows them"),
        (404, _) => (Exit::NotFound, "the command `list` of the same noun shows what there is"),
        (409, _) => (Exit::Conflict, "wait until what is going on is over, and try again"),
        (400, "INVALID_PIT_RESTORE_TIME") => {
            (Exit::Conflict, "`tidemark instances show NAME` says what can be restored")
        }
        (400, _) => (Exit::Usage, "change what the message names"),
        (429, _) => (Exit::Conflict, "wait a minute, and try again"),
        (503, _) => (Exit::Unreachable, "try again in a moment; the server's /readyz says why"),
        _ => (Exit::Failed, "look at the server's log"),
    };
    CliError::new(exit, message).hint(hint).coded(code)
}

/// What flags, environment and profile say, in this order.
fn find_target(matches: &ArgMatches) -> Result<Profile, CliError> {
    let set = |flag: &str, variable: &str| {
        let flag = given(matches, flag).map(str::to_owned);
        flag.or_else(|| std::env::var(variable).ok().filter(|value| !value.is_empty()))
    };
    // A key that flags name is meant, whatever account the environment has; and the reverse.
    let has = |flag: &str| given(matches, flag).is_some();
    let (is_key, is_account) =
        (has("public-key") || has("private-key"), has("client-id") || has("client-secret"));
    let said = Profile {
        server: set("server", "TIDEMARK_SERVER").unwrap_or_default(),
        project: set("project", "TIDEMARK_PROJECT"),
        public_key: set("public-key", "TIDEMARK_PUBLIC_KEY").filter(|_| !is_account),
        private_key: set("private-key", "TIDEMARK_PRIVATE_KEY").filter(|_| !is_account),
        client_id: set("client-id", "TIDEMARK_CLIENT_ID").filter(|_| !is_key),
        client_secret: set("client-secret", "TIDEMARK_CLIENT_SECRET").filter(|_| !is_key),
        ca_file: std::env::var_os(CA_FILE).map(PathBuf::from),
    };
    if let Some(folder) = given(matches, "data-dir") {
        if given(matches, "server").is_some() {
            return Err(CliError::usage(
                "give --server with its keys, or --data-dir, and not both",
            ));
        }
        // The folder says who asks, unless a flag does.
        let by_flag = |flag: &str| given(matches, flag).map(str::to_owned);
        let said = Profile {
            project: by_flag("project"),
            public_key: by_flag("public-key"),
            private_key: by_flag("private-key"),
            client_id: by_flag("client-id"),
            client_secret: by_flag("client-secret"),
            ..said
        };
        return of_folder(folder, said);
    }
    let name = set("profile", "TIDEMARK_PROFILE");
    if name.is_none() && !said.server.is_empty() {
        return Ok(said);
    }
    let profiles = Profiles::load(&profiles::path()?)?;
    let Some(profile) = profiles.find(name.as_deref())? else {
        return Err(CliError::usage("it is not said which server").hint(
            "`tidemark login --server URL` once, or --data-dir DIR for one on this machine",
        ));
    };
    Ok(merge(said, profile.clone()))
}

/// What is said, and of a profile what is not said.
fn merge(said: Profile, profile: Profile) -> Profile {
    let is_other_caller = said.public_key.is_some() || said.client_id.is_some();
    let is_same = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
    let is_elsewhere = !said.server.is_empty() && !is_same(&said.server, &profile.server);
    let known = if is_other_caller || is_elsewhere {
        // Keys of one caller do not go with secrets of another, nor to another server.
        Profile {
            public_key: None,
            private_key: None,
            client_id: None,
            client_secret: None,
            ..profile
        }
    } else {
        profile
    };
    Profile {
        server: if said.server.is_empty() { known.server } else { said.server },
        project: said.project.or(known.project),
        public_key: said.public_key.or(known.public_key),
        private_key: said.private_key.or(known.private_key),
        client_id: said.client_id.or(known.client_id),
        client_secret: said.client_secret.or(known.client_secret),
        ca_file: said.ca_file.or(known.ca_file),
    }
}

/// The server of a data folder, with what its first start wrote.
pub(crate) fn of_folder(folder: &str, said: Profile) -> Result<Profile, CliError> {
    let found = Bootstrap::load(Path::new(folder)).map_err(|error| {
        CliError::usage(error.to_string()).hint(format!(
            "start a server with `tidemark serve --data-dir {folder}`, or use an API key"
        ))
    })?;
    let profile = Profile {
        server: found.base_url,
        project: Some(found.group_id).filter(|id| !id.is_empty()),
        public_key: Some(found.public_key),
        private_key: Some(found.private_key),
        ..Profile::default()
    };
    Ok(merge(Profile { server: String::new(), ..said }, profile))
}

/// Asks servers over HTTP, at most for so long.
pub(crate) fn agent(patience: Option<Duration>, ca_file: Option<&Path>) -> Result<Agent, CliError> {
    let mut config = Agent::config_builder().http_status_as_error(false).timeout_global(patience);
    let named = std::env::var_os(CA_FILE).map(PathBuf::from);
    if let Some(file) = ca_file.map(Path::to_owned).or(named) {
        let told = |error: &dyn std::fmt::Display| {
            CliError::usage(format!(
                "the certificates of {} cannot be used: {error}",
                file.display()
            ))
            .hint(format!("${CA_FILE}, or `ca_file` of the profile, names a PEM file"))
        };
        let bytes = std::fs::read(&file).map_err(|error| told(&error))?;
        let mut trusted = Vec::new();
        for item in parse_pem(&bytes) {
            if let PemItem::Certificate(certificate) = item.map_err(|error| told(&error))? {
                trusted.push(certificate);
            }
        }
        if trusted.is_empty() {
            return Err(told(&"it holds no certificate"));
        }
        let roots = RootCerts::new_with_certs(&trusted);
        config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
    }
    Ok(config.build().into())
}

/// A text of an answer; empty if there is none.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A name as a part of a path.
pub(crate) fn percent_encode(name: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes().fold(String::new(), |text, byte| {
        if keep(byte) {
            text + &char::from(byte).to_string()
        } else {
            text + &format!("%{byte:02X}")
        }
    })
}
