//! `tidemark serve`: everything wired together, started and stopped in order.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{any, get};
use jiff::SignedDuration;
use tidemark_atlas_api::{Api, ApiConfig, DevMode, RateLimits, Sunset};
use tidemark_catalog::Catalog;
use tidemark_model::{BackupPolicy, Clock};
use tidemark_vault::{Vault, VaultKey};
use tidemark_worker::{Worker, WorkerConfig};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, RateLimitSetting, SunsetSetting};
use crate::dev::Dev;
use crate::downloads::{self, Downloads};
use crate::hosting::Hosting;
use crate::seed::Seed;
use crate::{bootstrap, folder, users};

type Failure = Box<dyn std::error::Error>;

/// Whether callers may move the clock and reset the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Production,
    Development,
}

/// Runs the server until it is told to stop.
pub(crate) fn run(config: &Config, mode: Mode) -> Result<(), Failure> {
    start_log(config)?;
    let _lock = folder::lock(&config.data_dir)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let listen = config.server.listen;
    let listener = runtime.block_on(TcpListener::bind(listen)).map_err(|error| {
        format!("the API cannot listen on {listen}: {error}; free the port or change --listen")
    })?;
    let address = listener.local_addr()?;
    let base_url = config.server.public_url.clone().unwrap_or_else(|| format!("http://{address}"));

    let clock = Clock::system();
    let catalog = Arc::new(Catalog::open(&config.data_dir.join("catalog.sqlite"))?);
    let vault =
        Vault::open(&config.vault_folder(), VaultKey::load_or_create(&config.vault_key_file())?)?;
    let seed = load_seed(config)?;
    bootstrap::run(&catalog, &clock, (&config.data_dir, &base_url), &seed)?;
    let downloads = config.data_dir.join("downloads");
    std::fs::create_dir_all(&downloads)?;

    let hosting = Hosting::new(
        Arc::clone(&catalog),
        clock.clone(),
        config.instances.clone(),
        config.data_dir.join("instances"),
    );
    hosting.run_round();
    let rounds = hosting.start();
    let mut worker = Worker::start(WorkerConfig {
        catalog: Arc::clone(&catalog),
        vault: Arc::clone(&vault),
        clock: clock.clone(),
        deployments: Arc::clone(&hosting) as Arc<dyn tidemark_worker::Deployments>,
        policy: policy(config),
        downloads: downloads.clone(),
    })?;
    let dev = (mode == Mode::Development).then(|| Dev {
        catalog: Arc::clone(&catalog),
        clock: clock.clone(),
        vault,
        data_dir: config.data_dir.clone(),
        base_url: base_url.clone(),
        seed,
    });
    let api_config = api_config(config, dev);
    let api = Arc::new(Api::new(Arc::clone(&catalog), clock.clone(), api_config)?);
    let router = router(api, Downloads { catalog, clock, folder: downloads }, Arc::clone(&hosting));
    tracing::info!(%base_url, "the API listens");
    let grace = Duration::from_secs(config.server.shutdown_seconds);
    let served = runtime.block_on(serve(listener, router, grace));

    tracing::info!("the server stops");
    worker.stop();
    hosting.request_stop();
    let _ = rounds.join();
    hosting.stop_all();
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(served?)
}

fn start_log(config: &Config) -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_new(&config.log.filter)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
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
    }
}

fn api_config(config: &Config, dev: Option<Dev>) -> ApiConfig {
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
        download_lifetime: SignedDuration::from_mins(i64::from(
            config.backup.download_lifetime_minutes,
        )),
        dev: dev.map(|dev| Arc::new(dev) as Arc<dyn DevMode>),
        sunset: match config.server.sunset {
            SunsetSetting::Ignore => Sunset::Ignore,
            SunsetSetting::Enforce => Sunset::Enforce,
        },
        policy: policy(config),
        advertised_host: config.instances.advertised(),
        largest_body_bytes: config.server.largest_body_bytes,
        deadline: Duration::from_secs(config.server.deadline_seconds),
        hash_password: users::hash_password,
    }
}

fn router(api: Arc<Api>, downloads: Downloads, hosting: Arc<Hosting>) -> Router {
    let for_metrics = Arc::clone(&api);
    let metrics = move || async move { for_metrics.metrics() };
    let for_api = move |request| tidemark_atlas_api::serve(Arc::clone(&api), request);
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(hosting))
        .route("/download/{token}/{file}", get(downloads::serve).with_state(Arc::new(downloads)))
        .fallback(any(for_api))
}

async fn ready(State(hosting): State<Arc<Hosting>>) -> (StatusCode, String) {
    if !hosting.is_ready() {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned());
    }
    let unwritable = hosting.unwritable();
    if unwritable.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let names: Vec<String> = unwritable.iter().map(ToString::to_string).collect();
    let text = format!(
        "the last write of these instances did not reach the disk; is it full? {}\n",
        names.join(", ")
    );
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

/// Serves until SIGTERM or SIGINT; then what is running has `patience` to finish.
async fn serve(listener: TcpListener, router: Router, patience: Duration) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (told, is_told) = tokio::sync::oneshot::channel::<()>();
    let until_told = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = told.send(());
    };
    let serving = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(until_told);
    let out_of_patience = async move {
        let _ = is_told.await;
        tokio::time::sleep(patience).await;
    };
    tokio::select! {
        served = serving => served,
        () = out_of_patience => Ok(()),
    }
}
