//! Lists at scale: 1,000,000 restore jobs of one instance, 10,000 instances and 1,000,000 events of one project, over
//! HTTP with authentication, beside a static answer of the same HTTP stack as the limit; and what `/metrics` asks of the
//! same records.
//!
//! `cargo xtask bench lists`; `--jobs N`, `--instances N` and `--events N` change the size, `--seconds N` how long
//! each figure is measured. The records are in a file, in memory where the machine has such a
//! folder, so that filling it does not wait for a disk.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{any, get};
use jiff::SignedDuration;
use tidemark_atlas_api::{
    Api, ApiConfig, OneHost, RateLimits, Sunset, client_id_of, new_account_secret, secret_record,
    serve,
};
use tidemark_catalog::{
    AuditEntry, AuditScope, Catalog, Instance, LeaseHolder, NewOrg, NewRestoreJob, NewSnapshot,
    Org, PasswordRecord, Project, ServiceAccount, TargetName,
};
use tidemark_model::{
    BackupPolicy, Clock, Delivery, OrgId, RestoreEvent, RestoreJobId, Role, Roles,
    ServiceAccountId, SnapshotEvent, SnapshotKind,
};
use tidemark_testkit::idle_instance;

/// As in the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections that ask at the same time.
const CONNECTIONS: usize = 8;
/// A folder in memory.
const MEMORY: &str = "/dev/shm";

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let size = |name: &str, default: u64| -> Outcome<u64> {
        let mut arguments = std::env::args().skip_while(|argument| argument != name);
        arguments.nth(1).map_or(Ok(default), |text| Ok(text.parse()?))
    };
    let (jobs, instances) = (size("--jobs", 1_000_000)?, size("--instances", 10_000)?);
    let events = size("--events", 1_000_000)?;
    let time = Duration::from_secs(size("--seconds", 3)?);
    let folder = if Path::new(MEMORY).is_dir() {
        tempfile::tempdir_in(MEMORY)
    } else {
        tempfile::tempdir()
    }?;
    let world = World::fill(&folder.path().join("catalog.sqlite"), jobs, instances)?;
    world.insert_events(events)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let address = world.listen(&runtime)?;
    let client = Client { address, token: world.token(address)? };
    println!(
        "{jobs} restore jobs, {instances} instances, {events} events, {CONNECTIONS} connections\n"
    );
    println!("| what | requests a second | ratio |\n|---|---|---|");
    let limit = client.measure("/static", time)?;
    println!("| a static answer | {limit:.0} | 1 |");
    let path = format!("/api/atlas/v2/groups/{}/serverless", world.project);
    let list = format!("{path}/i0/backup/restoreJobs");
    for items in [1, 10, 100] {
        let last = jobs.div_ceil(items);
        let name = |page: u64| format!("restore jobs, {items} a page, page {page}");
        let first = client.measure(&format!("{list}?itemsPerPage={items}"), time)?;
        println!("| {} | {first:.0} | {:.2} of a static answer |", name(1), first / limit);
        let far = client.measure(&format!("{list}?itemsPerPage={items}&pageNum={last}"), time)?;
        println!("| {} | {far:.0} | {:.2} of page 1 |", name(last), far / first);
    }
    let first = client.measure(&format!("{path}?itemsPerPage=100"), time)?;
    println!(
        "| instances, 100 a page, page 1 | {first:.0} | {:.2} of a static answer |",
        first / limit
    );
    let last = instances.div_ceil(100);
    let far = client.measure(&format!("{path}?itemsPerPage=100&pageNum={last}"), time)?;
    println!("| instances, 100 a page, page {last} | {far:.0} | {:.2} of page 1 |", far / first);
    let path = format!("/api/atlas/v2/groups/{}/events?itemsPerPage=100", world.project);
    let first = client.measure(&path, time)?;
    println!(
        "| events, 100 a page, page 1 | {first:.0} | {:.2} of a static answer |",
        first / limit
    );
    let last = events.div_ceil(100);
    let far = client.measure(&format!("{path}&pageNum={last}"), time)?;
    println!("| events, 100 a page, page {last} | {far:.0} | {:.2} of page 1 |", far / first);
    let began = Instant::now();
    let protection = world.catalog.list_protection()?.len();
    let ended = world.catalog.count_ended_jobs()?.len() + world.catalog.count_open_jobs()?.len();
    let took = 1.0 / began.elapsed().as_secs_f64();
    println!(
        "| what /metrics asks of the records ({protection} instances, {ended} kinds of jobs) | {took:.1} | |"
    );
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

struct World {
    catalog: Arc<Catalog>,
    clock: Clock,
    project: String,
    client_id: String,
    secret: String,
}

impl World {
    fn fill(path: &Path, jobs: u64, instances: u64) -> Outcome<Self> {
        let (catalog, clock) = (Arc::new(Catalog::open(path)?), Clock::system());
        let now = clock.now();
        let settings = serde_json::Map::new();
        let org = Org { id: OrgId::new(now), name: "o".to_owned(), created_at: now, settings };
        let project = Project::new(org.id, "p", now);
        let account = ServiceAccount {
            id: ServiceAccountId::new(now),
            org: org.id,
            name: "a".to_owned(),
            description: "a".to_owned(),
            roles: Roles { org: vec![Role::OrgOwner], projects: Vec::new() },
            created_at: now,
        };
        let client_id = client_id_of(account.id);
        let secret = new_account_secret();
        let record = secret_record(&secret, now, SignedDuration::from_hours(24));
        catalog.insert_org(&NewOrg {
            org: &org,
            projects: std::slice::from_ref(&project),
            keys: &[],
            accounts: &[(account, record)],
        })?;
        for number in 0..instances {
            catalog.insert_instance(&idle_instance(project.id, &format!("i{number}"), now))?;
        }
        let first = catalog.find_instance(project.id, "i0")?.ok_or("no instance")?;
        insert_jobs(&catalog, &clock, &first, jobs)?;
        let secret = secret.expose().to_owned();
        Ok(Self { catalog, clock, project: project.id.to_string(), client_id, secret })
    }

    /// Events, as a project that is used much has them.
    fn insert_events(&self, events: u64) -> Outcome<()> {
        let project = self.project.parse()?;
        let org = self.catalog.find_project(project)?.ok_or("no project")?.org;
        let mut entry = AuditEntry {
            at: self.clock.now(),
            actor: "bench".to_owned(),
            address: Some("127.0.0.1".to_owned()),
            action: String::new(),
            subject: "/api/atlas/v2".to_owned(),
            scope: AuditScope {
                org: Some(org),
                project: Some(project),
                instance: Some("i0".to_owned()),
                ..AuditScope::default()
            },
        };
        for number in 0..events {
            let actions = ["snapshotCompleted", "restoreCompleted", "createGroupApiKey"];
            let place = usize::try_from(number).unwrap_or(0) % actions.len();
            actions.get(place).copied().unwrap_or_default().clone_into(&mut entry.action);
            self.catalog.record_audit(&entry)?;
        }
        Ok(())
    }

    fn listen(&self, runtime: &tokio::runtime::Runtime) -> Outcome<SocketAddr> {
        let api = Arc::new(Api::new(Arc::clone(&self.catalog), self.clock.clone(), config())?);
        let for_api = move |request| serve(Arc::clone(&api), request);
        let router =
            Router::new().route("/static", get(|| async { "ok\n" })).fallback(any(for_api));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(address)
    }

    fn token(&self, address: SocketAddr) -> Outcome<String> {
        let body = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            self.client_id, self.secret
        );
        let mut stream = TcpStream::connect(address)?;
        write!(
            stream,
            "POST /api/oauth/token HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let json = text.split("\r\n\r\n").nth(1).ok_or("no body")?;
        let answer: serde_json::Value = serde_json::from_str(json)?;
        Ok(answer
            .get("access_token")
            .and_then(|token| token.as_str())
            .ok_or("no token")?
            .to_owned())
    }
}

/// Jobs that have ended, as a project keeps them.
fn insert_jobs(catalog: &Catalog, clock: &Clock, instance: &Instance, jobs: u64) -> Outcome<()> {
    let now = clock.now();
    let duration = SignedDuration::from_secs(30);
    let holder = LeaseHolder { worker: "bench".to_owned(), duration };
    let snapshot = NewSnapshot::new(instance.id, SnapshotKind::OnDemand, now, duration);
    catalog.insert_snapshot(&snapshot)?;
    let (claim, _) = catalog.claim_snapshot(&holder, now)?.ok_or("no snapshot to take")?;
    let stored = SnapshotEvent::Stored { at: now, consistent_at: None, size_bytes: 1_000 };
    catalog.record_snapshot_event(&claim, stored, None)?;
    for _ in 0..jobs {
        let job = NewRestoreJob {
            id: RestoreJobId::new(now),
            instance: instance.id,
            delivery: Delivery::Automated { snapshot: snapshot.id, target: instance.id },
            selection: tidemark_model::Selection::everything(),
            documents: None,
            replaces_in_place: false,
            snapshot_at: now,
            target: TargetName { project: instance.project, name: instance.name.to_string() },
            created_at: now,
            download_lifetime: duration,
            format: tidemark_model::ExportFormat::default(),
        };
        catalog.insert_restore_job(&job)?;
        let (claim, _) = catalog.claim_restore_job(&holder, now)?.ok_or("no job to do")?;
        catalog.record_restore_event(&claim, RestoreEvent::Delivered(now))?;
    }
    Ok(())
}

fn config() -> ApiConfig {
    ApiConfig {
        public_url: None,
        trust_forwarded_for: false,
        sunset: Sunset::Ignore,
        rate_limits: RateLimits::Report,
        policy: BackupPolicy::default(),
        download_lifetime: SignedDuration::from_hours(1),
        hosts: Arc::new(OneHost { host: "localhost".to_owned(), ports: 100_000 }),
        placement: Vec::new(),
        vaults: Vec::new(),
        largest_body_bytes: 1_048_576,
        deadline: Duration::from_secs(30),
        hash_password: |_| PasswordRecord {
            salt: String::new(),
            iterations: 1,
            stored_key: String::new(),
            server_key: String::new(),
        },
        attacher: None,
        rehearsal: None,
        inspector: None,
        alerting: None,
        vault_look: None,
        report_key: tidemark_atlas_api::ReportKey::none(),
        dev: None,
    }
}

struct Client {
    address: SocketAddr,
    token: String,
}

impl Client {
    /// Requests a second over several connections that are kept.
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds are small")]
    fn measure(&self, path: &str, time: Duration) -> Outcome<f64> {
        let (count, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let began = Instant::now();
        let ask = || -> std::io::Result<()> {
            let mut connection = Connection::open(self.address)?;
            while !stop.load(Ordering::Relaxed) {
                connection.ask(path, &self.token)?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        std::thread::scope(|scope| -> Outcome<()> {
            let workers: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(ask)).collect();
            std::thread::sleep(time);
            stop.store(true, Ordering::Relaxed);
            for worker in workers {
                worker.join().map_err(|_| "a client panicked")??;
            }
            Ok(())
        })?;
        Ok(count.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
    }
}

struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { reader: BufReader::with_capacity(256 * 1024, stream) })
    }

    fn ask(&mut self, path: &str, token: &str) -> std::io::Result<()> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\naccept: application/vnd.atlas.2023-01-01+json\r\n\r\n"
        );
        self.reader.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        if !line.contains(" 200 ") {
            return Err(std::io::Error::other(line));
        }
        let mut length = 0;
        loop {
            line.clear();
            self.reader.read_line(&mut line)?;
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().map_err(std::io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)
    }
}
