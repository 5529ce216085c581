//! The client of an attached deployment: the official driver, as its settings describe it.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use mongodb::ServerInfo;
use mongodb::options::{
    ClientOptions, ReadPreference, SelectionCriteria, ServerAddress, Tls, TlsOptions,
};
use tidemark_model::{LinkSettings, ReadFrom};
use tokio::runtime::{Handle, Runtime};

use crate::error::LinkError;
use crate::memory_file::MemoryFile;
use crate::scope::Scope;

/// What the deployment's log calls us.
const APP_NAME: &str = "tidemark";
/// How long a server is looked for: less than anybody's patience, so that what is said is why none
/// was found.
const SELECTION: Duration = Duration::from_secs(8);
/// What the driver says of a refusal without a code.
const NO_CODE: &str = "missing field `code`";
/// Where systems keep the certificates that they trust.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The threads on which all drivers run.
fn runtime() -> Result<&'static Handle, LinkError> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let built = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("driver")
            .enable_all()
            .build()
    });
    let failed = |error: &std::io::Error| LinkError::Settings {
        reason: format!("no threads for the driver: {error}"),
    };
    built.as_ref().map(Runtime::handle).map_err(failed)
}

/// A client of a deployment that somebody else runs. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    /// The one member that it speaks to; otherwise the primary, whichever that is.
    member: Option<ServerAddress>,
    /// The part of the deployment that is taken for the whole.
    scope: Option<Scope>,
}

struct Shared {
    driver: mongodb::Client,
    runtime: &'static Handle,
    name: String,
    read_from: ReadFrom,
    /// Whether the connection string leads to one server, whatever that is.
    is_direct: bool,
    pace: Option<Pace>,
    /// What the driver opens again for each new server.
    _files: Vec<MemoryFile>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.shared.name).finish()
    }
}

impl Client {
    /// A client for these settings. Names are resolved here; servers are looked for later.
    pub fn new(settings: &LinkSettings) -> Result<Self, LinkError> {
        let runtime = runtime()?;
        let mut files = Vec::new();
        let mut options = parse(runtime, settings)?;
        set_tls(&mut options, settings, &mut files)?;
        options.app_name.get_or_insert_with(|| APP_NAME.to_owned());
        options.server_selection_timeout.get_or_insert(SELECTION);
        let name = name_of(&options.hosts);
        let is_direct = options.direct_connection == Some(true);
        let driver = {
            let _inside = runtime.enter();
            mongodb::Client::with_options(options).map_err(|error| settings_error(&error))?
        };
        let pace = settings.read_rate_megabytes.map(Pace::new);
        let read_from = settings.read_from;
        let shared = Shared { driver, runtime, name, read_from, is_direct, pace, _files: files };
        Ok(Self { shared: Arc::new(shared), member: None, scope: None })
    }

    /// The same for a part of the deployment: the databases whose names begin with `prefix`, which are
    /// called here what comes after it. Others are not seen, in no list and in no entry of the oplog.
    #[must_use]
    pub fn within(self, prefix: &str) -> Self {
        Self { scope: Some(Scope::new(prefix)), ..self }
    }

    pub(crate) fn scope(&self) -> Option<Scope> {
        self.scope.clone()
    }

    /// The same, speaking to one member from which data is to be read: what one member shows and
    /// what its oplog says belong together.
    pub(crate) fn reading(&self) -> Result<Self, LinkError> {
        let preference = match self.shared.read_from {
            ReadFrom::Primary => return Ok(self.clone()),
            ReadFrom::Secondary => ReadPreference::Secondary { options: None },
            ReadFrom::SecondaryPreferred => ReadPreference::SecondaryPreferred { options: None },
            ReadFrom::Nearest => ReadPreference::Nearest { options: None },
        };
        if self.shared.is_direct {
            return Ok(self.clone());
        }
        let doing =
            format!("looking for a member to read from ({})", self.shared.read_from.as_str());
        let hello = self.wait((&doing, SELECTION), async {
            let database = self.driver().database("admin");
            let asking = database.run_command(bson::doc! { "hello": 1 });
            asking.selection_criteria(SelectionCriteria::ReadPreference(preference)).await
        })?;
        // One on its own does not say who it is.
        let Ok(me) = hello.get_str("me") else { return Ok(self.clone()) };
        let member = ServerAddress::parse(me).map_err(|error| settings_error(&error))?;
        let scope = self.scope.clone();
        Ok(Self { shared: Arc::clone(&self.shared), member: Some(member), scope })
    }

    /// To which server a command goes.
    pub(crate) fn criteria(&self) -> SelectionCriteria {
        match self.member.clone() {
            None => SelectionCriteria::ReadPreference(ReadPreference::Primary),
            Some(member) => {
                let is_meant = move |server: &ServerInfo<'_>| *server.address() == member;
                SelectionCriteria::Predicate(Arc::new(is_meant))
            }
        }
    }

    /// The hosts, without credentials.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    pub(crate) fn driver(&self) -> &mongodb::Client {
        &self.shared.driver
    }

    pub(crate) fn runtime(&self) -> &'static Handle {
        self.shared.runtime
    }

    /// Waits for an answer of the driver, at most so long.
    pub(crate) fn wait<T>(
        &self,
        (doing, patience): (&str, Duration),
        answer: impl Future<Output = mongodb::error::Result<T>>,
    ) -> Result<T, LinkError> {
        self.shared.runtime.block_on(async {
            match tokio::time::timeout(patience, answer).await {
                Ok(answered) => answered.map_err(|error| self.error(doing, &error)),
                Err(_) => Err(self.too_slow(doing, patience)),
            }
        })
    }

    pub(crate) fn too_slow(&self, doing: &str, patience: Duration) -> LinkError {
        let reason = format!("no answer within {} s", patience.as_secs());
        LinkError::Connection {
            address: self.shared.name.clone(),
            doing: doing.to_owned(),
            source: std::io::Error::new(std::io::ErrorKind::TimedOut, reason),
        }
    }

    /// An error of the driver in our words.
    pub(crate) fn error(&self, doing: &str, error: &mongodb::error::Error) -> LinkError {
        use mongodb::error::ErrorKind;
        let address = self.shared.name.clone();
        match &*error.kind {
            ErrorKind::Command(refused) => LinkError::Command {
                address,
                command: doing.to_owned(),
                code: refused.code,
                message: refused.message.clone(),
            },
            ErrorKind::Authentication { message, .. } => {
                LinkError::Login { address, reason: message.clone() }
            }
            ErrorKind::InvalidTlsConfig { .. } | ErrorKind::InvalidArgument { .. } => {
                settings_error(error)
            }
            // Some servers refuse without a code, and the driver does not read such an answer.
            ErrorKind::InvalidResponse { message, .. } if message.contains(NO_CODE) => {
                LinkError::Command {
                    address,
                    command: doing.to_owned(),
                    code: 0,
                    message: "no reason that the driver understands".to_owned(),
                }
            }
            ErrorKind::InvalidResponse { message, .. } => {
                LinkError::Protocol { address, reason: message.clone() }
            }
            _ => LinkError::Connection {
                address,
                doing: doing.to_owned(),
                source: std::io::Error::other(reason_of(error)),
            },
        }
    }

    /// Waits so long that reading stays below the rate that was asked for.
    pub(crate) fn keep_pace(&self, bytes: usize) {
        if let Some(pace) = &self.shared.pace {
            std::thread::sleep(pace.reserve(bytes, Instant::now()));
        }
    }
}

fn settings_error(error: &mongodb::error::Error) -> LinkError {
    LinkError::Settings { reason: error.kind.to_string() }
}

/// What an error of the driver says, for people: of servers that were not found, why not.
fn reason_of(error: &mongodb::error::Error) -> String {
    let text = error.kind.to_string();
    if !matches!(&*error.kind, mongodb::error::ErrorKind::ServerSelection { .. }) {
        return text;
    }
    let mut reasons: Vec<&str> = text
        .split("Error: Kind: ")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(", labels")?.0.trim()))
        .collect();
    reasons.sort_unstable();
    reasons.dedup();
    if reasons.is_empty() { text } else { format!("no server answers ({})", reasons.join("; ")) }
}

fn parse(runtime: &Handle, settings: &LinkSettings) -> Result<ClientOptions, LinkError> {
    let text = settings.connection_string.expose();
    let parsed = runtime.block_on(async {
        let parsed = async { ClientOptions::parse(text).await };
        tokio::time::timeout(SELECTION, parsed).await
    });
    match parsed {
        Ok(parsed) => parsed.map_err(|error| match &*error.kind {
            // A record that is missing now may be there later.
            mongodb::error::ErrorKind::DnsResolve { .. } => LinkError::Connection {
                address: settings.redacted(),
                doing: "resolving its name".to_owned(),
                source: std::io::Error::other(error.to_string()),
            },
            _ => settings_error(&error),
        }),
        Err(_) => Err(LinkError::Connection {
            address: settings.redacted(),
            doing: "resolving its name".to_owned(),
            source: std::io::ErrorKind::TimedOut.into(),
        }),
    }
}

/// Sets certificates and roots. Files that a connection string names would be the server's own,
/// and whoever may attach a deployment need not be allowed to read those.
fn set_tls(
    options: &mut ClientOptions,
    settings: &LinkSettings,
    files: &mut Vec<MemoryFile>,
) -> Result<(), LinkError> {
    let refuse = |reason: &str| LinkError::Settings { reason: reason.to_owned() };
    let given = &settings.tls;
    let has_files = given.ca_certificates.is_some() || given.certificate_key.is_some();
    let tls = match &mut options.tls {
        Some(Tls::Enabled(tls)) => tls,
        Some(Tls::Disabled) if has_files => {
            return Err(refuse(
                "the connection string switches TLS off, and certificates are given",
            ));
        }
        _ if has_files => {
            options.tls = Some(Tls::Enabled(TlsOptions::default()));
            return set_tls(options, settings, files);
        }
        _ => return Ok(()),
    };
    if tls.ca_file_path.is_some() || tls.cert_key_file_path.is_some() {
        return Err(refuse(
            "tlsCAFile and tlsCertificateKeyFile name files of the server; give the certificates themselves, as tls.caCertificates and tls.certificateKey",
        ));
    }
    let mut keep = |text: &str| -> Result<PathBuf, LinkError> {
        let file = MemoryFile::new(text.as_bytes())
            .map_err(|error| refuse(&format!("a certificate could not be kept: {error}")))?;
        let path = file.path();
        files.push(file);
        Ok(path)
    };
    tls.ca_file_path = match &given.ca_certificates {
        Some(text) => Some(keep(text)?),
        None => SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists()).map(Path::to_owned),
    };
    if let Some(key) = &given.certificate_key {
        tls.cert_key_file_path = Some(keep(key.expose())?);
    }
    if let Some(password) = &given.certificate_key_password {
        tls.tls_certificate_key_file_password = Some(password.expose().as_bytes().to_vec());
    }
    Ok(())
}

fn name_of(hosts: &[ServerAddress]) -> String {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    hosts.join(",")
}

/// Keeps reading below a rate, over all connections of a client.
struct Pace {
    bytes_per_second: u64,
    /// When what was read so far is due to have been read. Held for adding to it.
    due: Mutex<Option<Instant>>,
}

impl Pace {
    fn new(megabytes: u32) -> Self {
        Self { bytes_per_second: u64::from(megabytes.max(1)) * 1_000_000, due: Mutex::default() }
    }

    /// Notes what was read; answers how long to wait before more is read.
    fn reserve(&self, bytes: usize, now: Instant) -> Duration {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let nanoseconds = (bytes as u64).saturating_mul(1_000_000_000) / self.bytes_per_second;
        let next = due.unwrap_or(now).max(now) + Duration::from_nanos(nanoseconds);
        *due = Some(next);
        next.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_held_below_its_rate_over_all_connections() {
        let pace = Pace::new(10);
        let now = Instant::now();
        assert_eq!(pace.reserve(1_000_000, now), Duration::from_millis(100));
        assert_eq!(pace.reserve(2_000_000, now), Duration::from_millis(300));
        // What was not read in time past is not caught up with.
        let later = now + Duration::from_mins(1);
        assert_eq!(pace.reserve(1_000_000, later), Duration::from_millis(100));
    }
}
