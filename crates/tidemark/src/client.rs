//! The command line as a client of a server's API.

use std::path::Path;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::Value;
use tidemark_atlas_api::answer_challenge;
use tidemark_model::Secret;
use ureq::Agent;
use ureq::http::{Request, Response};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::bootstrap;

type Failure = Box<dyn std::error::Error>;

/// How long a server may take: probing a deployment that does not answer takes a while.
const PATIENCE: Duration = Duration::from_mins(2);

/// A command with what it needs to find a server.
pub(crate) fn with_server(command: Command) -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    command
        .arg(text("server", "URL", "The server's address; needs the keys"))
        .arg(text("public-key", "KEY", "The public part of an API key [$TIDEMARK_PUBLIC_KEY]"))
        .arg(text("private-key", "KEY", "The private part of an API key [$TIDEMARK_PRIVATE_KEY]"))
        .arg(text("data-dir", "DIR", "The data folder of a server on this machine, instead"))
        .arg(text("project", "ID|NAME", "The project [the one that the server began with]"))
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print what the server answers, as JSON"),
        )
}

/// A client of one project of a server.
pub(crate) struct Client {
    agent: Agent,
    base_url: String,
    public_key: String,
    private_key: Secret,
    project: String,
}

impl Client {
    /// The client that the flags of a command describe.
    pub(crate) fn new(matches: &ArgMatches) -> Result<Self, Failure> {
        let flag = |name: &str| matches.get_one::<String>(name).cloned();
        let given =
            |name: &str, variable: &str| flag(name).or_else(|| std::env::var(variable).ok());
        let (base_url, public_key, private_key, project) = match (flag("server"), flag("data-dir"))
        {
            (Some(_), Some(_)) => {
                return Err("give --server with its keys, or --data-dir, and not both".into());
            }
            (Some(server), None) => {
                let missing = |what: &str| format!("--server needs {what}");
                let public = given("public-key", "TIDEMARK_PUBLIC_KEY")
                    .ok_or_else(|| missing("--public-key"))?;
                let private = given("private-key", "TIDEMARK_PRIVATE_KEY")
                    .ok_or_else(|| missing("--private-key"))?;
                (server, public, private, None)
            }
            (None, Some(folder)) => {
                let b = bootstrap::load(Path::new(&folder))?;
                let public = flag("public-key").unwrap_or(b.public_key);
                let private = flag("private-key").unwrap_or(b.private_key);
                (b.base_url, public, private, Some(b.group_id).filter(|id| !id.is_empty()))
            }
            (None, None) => {
                return Err("say which server: --data-dir DIR for one on this machine, or --server URL with --public-key and --private-key".into());
            }
        };
        let mut client = Self {
            agent: agent(Some(PATIENCE))?,
            base_url: base_url.trim_end_matches('/').to_owned(),
            public_key,
            private_key: Secret::new(private_key),
            project: String::new(),
        };
        client.project = client.find_project(flag("project").or(project))?;
        Ok(client)
    }

    /// The id of the project that is meant.
    fn find_project(&self, wanted: Option<String>) -> Result<String, Failure> {
        let is_id = |text: &str| text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(id) = wanted.as_ref().filter(|text| is_id(text)) {
            return Ok(id.clone());
        }
        let found = self.call("GET", "/api/atlas/v2/groups?itemsPerPage=500", None)?;
        let projects = items(&found, "results");
        let is_wanted = |project: &&Value| match &wanted {
            Some(name) => text(project, "name") == name,
            None => true,
        };
        let mut matching = projects.iter().filter(is_wanted);
        match (matching.next(), matching.next(), wanted) {
            (Some(project), None, _) => Ok(text(project, "id").to_owned()),
            (None, _, Some(name)) => Err(format!("there is no project {name}").into()),
            (None, _, None) => Err("the server shows these keys no project".into()),
            (Some(_), Some(_), _) => {
                Err("there are several projects; say which with --project".into())
            }
        }
    }

    /// Calls `/api/tidemark/v1/groups/{project}` and what is below it.
    pub(crate) fn call_own(
        &self,
        method: &str,
        below: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        self.call(method, &format!("/api/tidemark/v1/groups/{}{below}", self.project), body)
    }

    /// Calls the server: once to be challenged, once with the answer to that.
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let mut challenged = self.send((method, path), body, None)?;
        let challenge = challenged.headers().get("www-authenticate");
        let challenge =
            challenge.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let keys = (self.public_key.as_str(), self.private_key.expose());
        let cnonce = Secret::random::<8>();
        let answer = answer_challenge(&challenge, keys, (method, path), cnonce.expose());
        let mut response = match answer {
            Some(answer) => {
                // Read to its end, so that the connection serves again.
                challenged.body_mut().read_to_string()?;
                self.send((method, path), body, Some(&answer))?
            }
            None => challenged,
        };
        let status = response.status();
        let body = response.body_mut().read_to_string()?;
        let answer: Value = serde_json::from_str(&body).map_err(|_| {
            format!("{} answers what is no API of Tidemark: {status}", self.base_url)
        })?;
        if status.is_success() {
            return Ok(answer);
        }
        let detail = text(&answer, "detail").trim_end_matches('.');
        Err(format!("{detail} ({})", text(&answer, "errorCode")).into())
    }

    fn send(
        &self,
        (method, path): (&str, &str),
        body: Option<&Value>,
        authorization: Option<&str>,
    ) -> Result<Response<ureq::Body>, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base_url))
            .header("Accept", "application/vnd.atlas.2025-03-12+json");
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        // The challenge comes before the body is looked at; secrets travel once.
        let sent = match body.filter(|_| authorization.is_some()) {
            Some(body) => {
                let request = request.header("Content-Type", "application/json");
                self.agent.run(request.body(body.to_string())?)
            }
            None => self.agent.run(request.body(())?),
        };
        sent.map_err(|error| format!("{} does not answer: {error}", self.base_url).into())
    }
}

/// The variable that names certificates to trust, as PEM, instead of the usual ones.
const CA_FILE: &str = "TIDEMARK_SERVER_CA_FILE";

/// Asks servers over HTTP, at most for so long.
fn agent(patience: Option<Duration>) -> Result<Agent, Failure> {
    let mut config = Agent::config_builder().http_status_as_error(false).timeout_global(patience);
    if let Some(file) = std::env::var_os(CA_FILE) {
        let told = |error: &dyn std::fmt::Display| {
            format!("{CA_FILE}: {} cannot be used: {error}", Path::new(&file).display())
        };
        let bytes = std::fs::read(&file).map_err(|error| told(&error))?;
        let mut trusted = Vec::new();
        for item in parse_pem(&bytes) {
            if let PemItem::Certificate(certificate) = item.map_err(|error| told(&error))? {
                trusted.push(certificate);
            }
        }
        if trusted.is_empty() {
            return Err(told(&"it holds no certificate").into());
        }
        let roots = RootCerts::new_with_certs(&trusted);
        config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
    }
    Ok(config.build().into())
}

/// Opens the link of a download: it is its own credential.
pub(crate) fn download(link: &str) -> Result<impl std::io::Read + use<>, Failure> {
    // However long a file takes, as long as it comes.
    let request = Request::builder().method("GET").uri(link).body(())?;
    let response = agent(None)?.run(request);
    let response = response.map_err(|error| format!("{link} does not answer: {error}"))?;
    if !response.status().is_success() {
        return Err(format!("the file is not there: {}", response.status()).into());
    }
    Ok(response.into_body().into_reader())
}

/// Sends a dump to a link that was made for it.
pub(crate) fn upload(link: &str, dump: impl std::io::Read + Send + 'static) -> Result<(), Failure> {
    let body = ureq::SendBody::from_owned_reader(dump);
    let request = Request::builder().method("PUT").uri(link).body(body)?;
    let response = agent(None)?.run(request);
    let mut response = response.map_err(|error| format!("the upload failed: {error}"))?;
    if response.status().is_success() {
        return Ok(());
    }
    let answer: Value =
        serde_json::from_str(&response.body_mut().read_to_string()?).unwrap_or_default();
    Err(format!("the upload was refused: {}", text(&answer, "detail")).into())
}

/// A text of an answer; empty if there is none.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A list of an answer; empty if there is none.
pub(crate) fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
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
