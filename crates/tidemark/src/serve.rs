//! `tidemark serve`: everything wired together, started and stopped in order.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response, StatusCode, Uri};
use axum::routing::{any, get, put};
use jiff::SignedDuration;
use tidemark_actions::Rehearsal;
use tidemark_atlas_api::{Api, ApiConfig, DevMode, RateLimits, ReportKey, Sunset};
use tidemark_catalog::Catalog;
use tidemark_console::Console;
use tidemark_model::{BackupPolicy, Clock, NodeRole, TRACE_TARGET};
use tidemark_vault::{Location, Vault, VaultKey, Vaults};
use tidemark_worker::{
    Membership, Moments, NewNode, Severity, ShownCertificate, Trouble, Worker, WorkerConfig,
    WorkerWatch,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::alerting::{self, Channels, Watched};
use crate::attached::Attached;
use crate::audit_log;
use crate::config::{Config, RateLimitSetting, SunsetSetting};
use crate::console_route::{self, ApiGate};
use crate::dev::Dev;
use crate::downloads::{self, Downloads};
use crate::hosting::{Hosting, HostingConfig};
use crate::inspection::Inspection;
use crate::metrics;
use crate::node::{self, NodeHosts};
use crate::rehearsal::Rehearser;
use crate::seed::Seed;
use crate::service_manager;
use crate::tls::{CertificateFiles, Certificates};
use crate::traces::{self, Traces};
use crate::uploads::{self, Uploads};
use crate::vault_look::Look;
use crate::{bootstrap, folder, listening, scratch, users};

type Failure = Box<dyn std::error::Error>;

/// How long captured entries are in the catalog only, where an object in the vault has its price.
const PAID_SEGMENT_INTERVAL: Duration = Duration::from_mins(1);

/// Where scratch databases are in the data folder; nothing in it outlives the process.
const SCRATCH: &str = "scratch";

/// Whether callers may move the clock and reset the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Production,
    Development,
}

/// Runs the server until it is told to stop.
pub(crate) fn run(config: &Config, mode: Mode) -> Result<(), Failure> {
    let _traces = start_log(config)?;
    let _lock = folder::lock(&config.data_dir)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    let Listening { listener, certificates, base_url } = listen(config, &runtime)?;
    let role = config.role()?;
    let parts = Parts::open(config, &base_url)?;
    let membership = Arc::clone(&parts.membership);

    let hosting = parts.hosting(config);
    let rounds = role.works().then(|| {
        hosting.start_fence();
        hosting.run_round();
        hosting.start()
    });
    let audit = follow_audit(config, (&parts.catalog, &hosting))?;
    let mut worker = role.works().then(|| Worker::start(parts.worker_config(config, &hosting)));
    let is_draining = Arc::new(AtomicBool::new(false));
    let health = Health::of(&parts, (role, &is_draining, &hosting), worker.as_ref());
    let channels = Arc::new(Channels {
        all: config.alert_channels()?,
        clock: parts.clock.clone(),
        server: base_url.clone(),
    });
    let alerts = watch_for(&parts, &health, &channels);
    let router = parts.router((config, mode), (&base_url, channels), health)?;
    tracing::info!(%base_url, role = role.as_str(), node = %membership.id(), "the API listens");

    let grace = Duration::from_secs(config.server.shutdown_seconds);
    let head = Duration::from_secs(config.server.deadline_seconds);
    let drain = Duration::from_secs(config.server.drain_seconds);
    let patience = listening::Patience { head, drain, end: grace };
    let mut databases = None;
    runtime.spawn(accompany(role, Arc::clone(&hosting)));
    let begin_to_drain = || {
        tracing::info!("the server stops");
        service_manager::stopping();
        is_draining.store(true, Ordering::SeqCst);
    };
    let begin_to_stop = || {
        if let Some(worker) = &worker {
            worker.request_stop();
        }
        hosting.request_stop();
        let stopping = Arc::clone(&hosting);
        // While the API's requests finish nothing listens any more.
        databases = Some(std::thread::spawn(move || stopping.stop_all()));
    };
    let serving = listening::serve(
        (listener, certificates),
        router,
        patience,
        (begin_to_drain, begin_to_stop),
    );
    let told_at = runtime.block_on(serving)?;
    // One deadline for all: what does not end in time ends with the process, and is taken up again.
    let deadline = told_at + grace;
    if let Some(worker) = &mut worker {
        worker.stop(deadline);
    }
    wait_for(databases.iter().chain(&rounds).chain(&audit).chain(&alerts), deadline);
    membership.leave();
    runtime.shutdown_timeout(deadline.saturating_duration_since(Instant::now()).min(SHORT));
    Ok(())
}

/// Where the API listens, with what it shows there, and its address in links.
struct Listening {
    listener: TcpListener,
    certificates: Option<Arc<Certificates>>,
    base_url: String,
}

fn listen(config: &Config, runtime: &Runtime) -> Result<Listening, Failure> {
    let listen = config.server.listen;
    let listener = runtime.block_on(TcpListener::bind(listen)).map_err(|error| {
        format!("the API cannot listen on {listen}: {error}; free the port or change --listen")
    })?;
    let address = listener.local_addr()?;
    let certificates = load_certificates(config)?;
    let scheme = if certificates.is_some() { "https" } else { "http" };
    let base_url =
        config.server.public_url.clone().unwrap_or_else(|| format!("{scheme}://{address}"));
    Ok(Listening { listener, certificates, base_url })
}

/// What is open for as long as the server runs.
struct Parts {
    catalog: Arc<Catalog>,
    membership: Arc<Membership>,
    vaults: Vaults,
    key: VaultKey,
    clock: Clock,
    seed: Seed,
    downloads: PathBuf,
    imports: PathBuf,
    attached: Arc<Attached>,
    /// What instances show, if they speak TLS.
    instance_certificates: Option<Arc<Certificates>>,
}

impl Parts {
    fn open(config: &Config, base_url: &str) -> Result<Self, Failure> {
        let clock = Clock::system();
        // Vaults first: where one is refused nothing else is made.
        let vaults = open_vaults(config)?;
        // The vault says which of its keys seals.
        let (location, key) = (config.vault_location()?, vaults.common().key().clone());
        let catalog = Arc::new(config.open_catalog()?);
        let kept_for = vaults.iter().map(|(name, vault)| {
            let kept_for = SignedDuration::try_from(vault.kept_for());
            (name.map(str::to_owned), kept_for.unwrap_or(SignedDuration::MAX))
        });
        catalog.keep_snapshots_for(kept_for.collect(), clock.clone());
        let instance_certificates = load_instance_certificates(config)?;
        let shown = instance_certificates.clone();
        let certificate = Arc::new(move || shown.as_ref().map(|shown| shown.fingerprint()));
        let node = new_node(config, (&location, &vaults), (&clock, certificate))?;
        let membership = Membership::join(Arc::clone(&catalog), clock.clone(), node)?;
        let seed = load_seed(config)?;
        bootstrap::run(&catalog, &clock, (&config.data_dir, base_url), &seed)?;
        let downloads = config.data_dir.join("downloads");
        let imports = config.data_dir.join("imports");
        scratch::remove(&config.data_dir.join(SCRATCH))?;
        for folder in [&downloads, &imports] {
            std::fs::create_dir_all(folder)?;
        }
        let records = (Arc::clone(&catalog), clock.clone());
        let retention = policy(config).retention_after_delete;
        let secrets = (key.clone(), Arc::clone(&membership));
        let attached = Attached::new(records, secrets, retention);
        attached.reseal_secrets()?;
        Ok(Self {
            catalog,
            membership,
            vaults,
            key,
            clock,
            seed,
            downloads,
            imports,
            attached,
            instance_certificates,
        })
    }

    fn hosting(&self, config: &Config) -> Arc<Hosting> {
        Hosting::new(
            Arc::clone(&self.catalog),
            self.clock.clone(),
            HostingConfig {
                instances: config.instances.clone(),
                nodes: config.nodes,
                folder: config.data_dir.join("instances"),
                scratch_folder: config.data_dir.join(SCRATCH),
                retention_after_delete: policy(config).retention_after_delete,
                certificates: self.instance_certificates.clone(),
            },
            (Arc::clone(&self.membership), &self.key),
            Arc::clone(&self.attached),
        )
    }

    fn worker_config(&self, config: &Config, hosting: &Arc<Hosting>) -> WorkerConfig {
        WorkerConfig {
            catalog: Arc::clone(&self.catalog),
            membership: Arc::clone(&self.membership),
            vaults: self.vaults.clone(),
            clock: self.clock.clone(),
            deployments: Arc::clone(hosting) as Arc<dyn tidemark_worker::Deployments>,
            policy: policy(config),
            downloads: self.downloads.clone(),
            imports: self.imports.clone(),
            segment_interval: |vault| {
                if vault.is_paid_by_request() { PAID_SEGMENT_INTERVAL } else { Duration::ZERO }
            },
            parallel_snapshots: config.backup.parallel_snapshots,
            parallel_restores: config.backup.parallel_restores,
            hook: None,
        }
    }

    /// Everything that the API answers.
    fn router(
        self,
        (config, mode): (&Config, Mode),
        (base_url, channels): (&str, Arc<Channels>),
        health: Health,
    ) -> Result<Router, Failure> {
        let vaults = self.vaults.clone();
        let look = Arc::new(Look::new(vaults.clone()));
        let moments = Moments {
            catalog: Arc::clone(&self.catalog),
            vaults: vaults.clone(),
            clock: self.clock.clone(),
            worker: health.worker.clone(),
        };
        let hosting = Arc::clone(&health.hosting);
        let rehearsal = Arc::new(Rehearser {
            vaults: self.vaults.clone(),
            deployments: Arc::clone(&health.hosting) as Arc<dyn tidemark_worker::Deployments>,
            moments: moments.clone(),
        });
        let dev = (mode == Mode::Development).then(|| Dev {
            catalog: Arc::clone(&self.catalog),
            clock: self.clock.clone(),
            vaults: self.vaults,
            data_dir: config.data_dir.clone(),
            base_url: base_url.to_owned(),
            seed: self.seed,
        });
        let hosts = NodeHosts {
            membership: self.membership,
            host: config.instances.advertised(),
            ports: ports(config),
            tls: self.instance_certificates.is_some(),
        };
        let for_console = Arc::clone(&rehearsal) as Arc<dyn Rehearsal>;
        let catalog = Arc::clone(&self.catalog);
        let api_config = ApiConfig {
            report_key: ReportKey::new(move || tidemark_worker::public_key(&catalog)),
            inspector: Some(Arc::new(Inspection { moments, hosting })),
            alerting: Some(channels.clone()),
            vault_look: Some(look.clone()),
            ..api_config(config, dev, (self.attached, rehearsal, hosts))
        };
        let records = Arc::clone(&self.catalog);
        let api = Api::new(self.catalog, self.clock.clone(), api_config)?;
        let api = Arc::new(api);
        let console = console(
            (config, base_url),
            (records, self.clock.clone()),
            (&api, for_console, channels, look),
        );
        let clock = self.clock.clone();
        let downloads = Downloads {
            api: Arc::clone(&api),
            clock,
            folder: self.downloads,
            vaults: vaults.clone(),
        };
        let uploads =
            Uploads { api: Arc::clone(&api), clock: self.clock, folder: self.imports, vaults };
        let deadline = Duration::from_secs(config.server.deadline_seconds);
        Ok(router((api, Arc::new(console), deadline), (downloads, uploads), health))
    }
}

/// The pages for people, which ask the API.
fn console(
    (config, base_url): (&Config, &str),
    (catalog, clock): (Arc<Catalog>, Clock),
    (api, rehearsal, alerting, vault_look): (
        &Arc<Api>,
        Arc<dyn Rehearsal>,
        Arc<Channels>,
        Arc<Look>,
    ),
) -> Console {
    Console {
        catalog,
        clock,
        gate: Arc::new(ApiGate(Arc::clone(api))),
        operations: Arc::new(ApiGate(Arc::clone(api))),
        rehearsal,
        alerting,
        vault_look,
        vaults: config.vault_rules(),
        policy: policy(config),
        download_lifetime: download_lifetime(config),
        offers_serverless: config.server.sunset == SunsetSetting::Ignore,
        is_secure: base_url.starts_with("https:"),
    }
}

fn download_lifetime(config: &Config) -> SignedDuration {
    SignedDuration::from_mins(i64::from(config.backup.download_lifetime_minutes))
}

/// Opens all vaults to write to them, and makes those that are not there yet.
fn open_vaults(config: &Config) -> Result<Vaults, Failure> {
    let open = |config: &Config| -> Result<Arc<Vault>, Failure> {
        let (location, key) = (config.vault_location()?, config.vault_key()?);
        let vault = Vault::open_cached(&location, key, config.vault_cache())?;
        vault.keep_for(config.vault.immutable_hours)?;
        Ok(vault)
    };
    let named = config.vault_names().map(|name| {
        let vault = config.for_vault(name).map_err(Failure::from).and_then(|config| open(&config));
        Ok((name.to_owned(), vault.map_err(|error| format!("vault {name}: {error}"))?))
    });
    let named = named.collect::<Result<BTreeMap<_, _>, Failure>>()?;
    Ok(Vaults::new(open(config)?, named))
}

/// Waits for threads, at most until `deadline`.
fn wait_for<'a>(threads: impl Iterator<Item = &'a JoinHandle<()>>, deadline: Instant) {
    for thread in threads {
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What is left of the API's tasks after the deadline.
const SHORT: Duration = Duration::from_secs(1);

/// Begins to log, and to send traces if the environment asks for it.
fn start_log(config: &Config) -> Result<Option<Traces>, Failure> {
    let traces = Traces::asked_for()?;
    // The log has its own words for what traces show.
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log.filter)?
        .add_directive(format!("{TRACE_TARGET}=off").parse()?);
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_filter(filter);
    tracing_subscriber::registry().with(log).with(traces.as_ref().map(Traces::layer)).init();
    Ok(traces)
}

fn load_seed(config: &Config) -> Result<Seed, Failure> {
    match &config.dev.seed_file {
        Some(path) => Ok(Seed::load(path).map_err(|error| format!("the seed file: {error}"))?),
        None => Ok(Seed::default()),
    }
}

fn policy(config: &Config) -> BackupPolicy {
    let backup = &config.backup;
    BackupPolicy {
        snapshot_interval: SignedDuration::from_mins(i64::from(backup.snapshot_interval_minutes)),
        snapshot_retention: SignedDuration::from_hours(i64::from(backup.snapshot_retention_hours)),
        oplog_retention: SignedDuration::from_hours(i64::from(backup.oplog_retention_hours)),
        full_read_interval: SignedDuration::from_hours(i64::from(backup.full_read_interval_hours)),
        retention_after_delete: SignedDuration::from_hours(i64::from(
            backup.retain_after_delete_hours,
        )),
    }
}

/// What the API shows, if it speaks TLS.
fn load_certificates(config: &Config) -> Result<Option<Arc<Certificates>>, Failure> {
    let Some(certificate_key) = config.tls.certificate_key_file.clone() else { return Ok(None) };
    let files = CertificateFiles { certificate_key, client_ca: config.tls.client_ca_file.clone() };
    Ok(Some(Certificates::load(files)?))
}

/// The same for instances, whose clients prove who they are with a password.
fn load_instance_certificates(config: &Config) -> Result<Option<Arc<Certificates>>, Failure> {
    match config.tls.certificate_key_file.clone().filter(|_| config.tls.instances) {
        None => Ok(None),
        Some(certificate_key) => {
            Ok(Some(Certificates::load(CertificateFiles { certificate_key, client_ca: None })?))
        }
    }
}

fn ports(config: &Config) -> usize {
    usize::from(config.instances.last_port - config.instances.first_port) + 1
}

/// Tells a service manager how the server is.
async fn accompany(role: NodeRole, hosting: Arc<Hosting>) {
    service_manager::accompany(|| !role.works() || hosting.is_ready()).await;
}

/// Tells people what goes wrong, if there are any to tell.
fn watch_for(parts: &Parts, health: &Health, channels: &Arc<Channels>) -> Option<JoinHandle<()>> {
    let (asked, hosting) = (health.clone(), Arc::clone(&health.hosting));
    alerting::watch(Watched {
        channels: Arc::clone(channels),
        catalog: Arc::clone(&parts.catalog),
        membership: Arc::clone(&parts.membership),
        complaints: Box::new(move || asked.complaints()),
        is_stopping: Box::new(move || hosting.is_stopping()),
    })
}

/// Writes who does what into a file as well, if there is to be one.
fn follow_audit(
    config: &Config,
    (catalog, hosting): (&Arc<Catalog>, &Arc<Hosting>),
) -> Result<Option<JoinHandle<()>>, String> {
    let follow = |path: &PathBuf| {
        let hosting = Arc::clone(hosting);
        audit_log::follow(path, Arc::clone(catalog), move || hosting.is_stopping())
    };
    config.server.audit_file.as_ref().map(follow).transpose()
}

/// This node, as others are told.
fn new_node(
    config: &Config,
    (location, vaults): (&Location, &Vaults),
    (clock, certificate): (&Clock, ShownCertificate),
) -> Result<NewNode, Failure> {
    let id = node::load_or_create_id(&config.data_dir, clock.now())?;
    // A folder is nobody else's, wherever it is.
    let describe = |location: &Location, key: &VaultKey| match location {
        Location::Folder(_) => format!("a folder of node {id}, key {}", key.mark()),
        Location::Bucket(_) => format!("{location}, key {}", key.mark()),
    };
    let keys: Vec<String> = vaults
        .iter()
        .map(|(name, vault)| format!("{}={}", name.unwrap_or_default(), vault.key().number()))
        .collect();
    let mut described = describe(location, vaults.common().key());
    for rule in config.vault_rules() {
        let location = config.for_vault(&rule.vault)?.vault_location()?;
        let key = vaults.find(Some(&rule.vault))?.key();
        let projects = rule.projects.join(", ");
        let named = format!("; {}: {} for {projects}", rule.vault, describe(&location, key));
        described.push_str(&named);
    }
    let role = config.role()?;
    Ok(NewNode {
        id,
        role,
        host: config.instances.advertised(),
        ports: if role.works() { u32::try_from(ports(config)).unwrap_or(u32::MAX) } else { 0 },
        vault: described,
        keys: keys.join(" "),
        certificate,
    })
}

fn api_config(
    config: &Config,
    dev: Option<Dev>,
    (attached, rehearsal, hosts): (Arc<Attached>, Arc<Rehearser>, NodeHosts),
) -> ApiConfig {
    if dev.is_some() {
        tracing::warn!(
            "development mode: organization owners can move the clock and reset the server"
        );
    }
    ApiConfig {
        public_url: config.server.public_url.clone(),
        trust_forwarded_for: config.server.trust_forwarded_for,
        rate_limits: match config.server.rate_limits {
            RateLimitSetting::Off => RateLimits::Off,
            RateLimitSetting::Report => RateLimits::Report,
            RateLimitSetting::Enforce => RateLimits::Enforce,
        },
        download_lifetime: download_lifetime(config),
        attacher: Some(attached),
        rehearsal: Some(rehearsal),
        inspector: None,
        alerting: None,
        vault_look: None,
        report_key: ReportKey::none(),
        dev: dev.map(|dev| Arc::new(dev) as Arc<dyn DevMode>),
        sunset: match config.server.sunset {
            SunsetSetting::Ignore => Sunset::Ignore,
            SunsetSetting::Enforce => Sunset::Enforce,
        },
        policy: policy(config),
        hosts: Arc::new(hosts),
        placement: config.placement_rules().unwrap_or_default(),
        vaults: config.vault_rules(),
        largest_body_bytes: config.server.largest_body_bytes,
        deadline: Duration::from_secs(config.server.deadline_seconds),
        hash_password: users::hash_password,
    }
}

/// What the endpoints for operators look at.
#[derive(Clone)]
struct Health {
    role: NodeRole,
    /// Whether it stops soon, so that nobody new is to ask it.
    is_draining: Arc<AtomicBool>,
    membership: Arc<Membership>,
    hosting: Arc<Hosting>,
    worker: Option<WorkerWatch>,
    catalog: Arc<Catalog>,
    clock: Clock,
    vaults: Vaults,
    attached: Arc<Attached>,
}

fn router(
    (api, console, deadline): (Arc<Api>, Arc<Console>, Duration),
    (downloads, uploads): (Downloads, Uploads),
    health: Health,
) -> Router {
    let (for_metrics, vault) = (Arc::clone(&api), health.clone());
    let metrics = move || async move {
        // The records are asked by a thread that may wait.
        let told = move || for_metrics.metrics() + &vault.metrics();
        tokio::task::spawn_blocking(told).await.unwrap_or_default()
    };
    let role = health.role;
    let for_api = move |request: Request<Body>| async move {
        if !role.answers() {
            not_here()
        } else if Console::has(request.uri().path()) {
            console_route::serve((api, console), request, deadline).await
        } else {
            tidemark_atlas_api::serve(api, request).await
        }
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(health))
        .route("/download/{token}/{file}", get(downloads::serve).with_state(Arc::new(downloads)))
        .route(
            "/upload/{token}/{instance}/{snapshot}/{expires}",
            put(uploads::serve).with_state(Arc::new(uploads)),
        )
        .fallback(any(for_api))
        .layer(axum::middleware::from_fn(traces::request))
}

impl Health {
    fn of(
        parts: &Parts,
        (role, is_draining, hosting): (NodeRole, &Arc<AtomicBool>, &Arc<Hosting>),
        worker: Option<&Worker>,
    ) -> Self {
        Self {
            role,
            is_draining: Arc::clone(is_draining),
            membership: Arc::clone(&parts.membership),
            hosting: Arc::clone(hosting),
            worker: worker.map(Worker::watch),
            catalog: Arc::clone(&parts.catalog),
            clock: parts.clock.clone(),
            vaults: parts.vaults.clone(),
            attached: Arc::clone(&parts.attached),
        }
    }

    /// What is wrong at the moment. An instance that is not served is a failure.
    fn complaints(&self) -> Vec<Trouble> {
        let failing = |text| Trouble { severity: Severity::Failing, text };
        let mut complaints: Vec<_> = self.hosting.complaints().into_iter().map(failing).collect();
        let degraded = |text| Trouble { severity: Severity::Degraded, text };
        complaints.extend(self.attached.complaints().into_iter().map(degraded));
        complaints.extend(self.worker.iter().flat_map(WorkerWatch::troubles));
        if !self.membership.is_there() {
            let text = "this node cannot say that it is there; other nodes do its work".to_owned();
            complaints.push(Trouble { severity: Severity::Failing, text });
        }
        complaints
    }

    fn metrics(&self) -> String {
        let complaints = self.complaints().len();
        metrics::of_node(self.worker.as_ref(), complaints)
            + &metrics::of_vaults(&self.vaults)
            + &metrics::of_records(&self.catalog, &self.clock)
    }
}

/// The answer of a node that does not answer the API.
fn not_here() -> Response<Body> {
    let text = "This node is a worker; ask a node with the role api or all.\n";
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// What of readiness a probe of a load balancer asks for: only whether requests are taken.
const TRAFFIC: &str = "traffic";

async fn ready(State(health): State<Health>, asked: Uri) -> (StatusCode, String) {
    if health.is_draining.load(Ordering::SeqCst) {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    if health.role.works() && !health.hosting.is_ready() {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned());
    }
    if asked.query() == Some(TRAFFIC) {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let asked = tokio::task::spawn_blocking(move || health.complaints()).await;
    let Ok(complaints) = asked else {
        return (StatusCode::SERVICE_UNAVAILABLE, "what is wrong is not known\n".to_owned());
    };
    let text = complaints.iter().fold(String::new(), |text, c| text + &c.text + "\n");
    if complaints.iter().any(|complaint| complaint.severity == Severity::Failing) {
        return (StatusCode::SERVICE_UNAVAILABLE, text);
    }
    // What is damaged does not make the rest unusable.
    let verdict = if complaints.is_empty() { "ok\n" } else { "ok, but:\n" };
    (StatusCode::OK, format!("{verdict}{text}"))
}
