//! A database with a snapshot and a captured oplog, and workers on it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::doc;
use jiff::SignedDuration;
use tempfile::TempDir;
use tidemark_actions::restore_jobs::{self, Ask, Destination};
use tidemark_catalog::{Catalog, Instance as Record};
use tidemark_deployment::{Connection, Endpoint, LinkError};
use tidemark_model::{
    BackupPolicy, Clock, OplogTime, PointInTime, RestoreJobId, RestoreState, SnapshotId,
    SnapshotState,
};
use tidemark_testkit::{Instance, tenant};
use tidemark_vault::{Vault, VaultKey};
use tidemark_worker::{Deployments, Hook, Membership, Worker, WorkerConfig};

const PATIENCE: Duration = Duration::from_mins(1);

/// The one database there is.
struct One(Endpoint);

impl Deployments for One {
    fn endpoint(&self, _: &Record) -> Option<Endpoint> {
        Some(self.0.clone())
    }
}

/// A database, a catalog and a vault with a snapshot of it, and a moment after that.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) database: Instance,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) clock: Clock,
    pub(crate) record: Record,
    snapshot: SnapshotId,
    at_snapshot: Content,
    moment: OplogTime,
    pub(crate) at_moment: Content,
    pub(crate) present: Content,
}

pub(crate) type Content = BTreeMap<String, Vec<u8>>;

pub(crate) fn content(connection: &mut Connection) -> Content {
    let mut found = Content::new();
    for name in ["items", "more"] {
        connection
            .for_each("shop", doc! { "find": name }, |document| {
                let id = format!("{name}/{:?}", document.get("_id"));
                found.insert(id, document.as_bytes().to_vec());
                Ok::<_, LinkError>(())
            })
            .unwrap();
    }
    found
}

pub(crate) fn newest_position(connection: &mut Connection) -> OplogTime {
    tidemark_deployment::newest_entry(connection).unwrap().unwrap()
}

pub(crate) fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    until_or(condition, || what.to_owned())
}

/// Waits; in vain, it says what there is instead.
pub(crate) fn until_or<T>(
    mut condition: impl FnMut() -> Option<T>,
    what: impl Fn() -> String,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {}", what());
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let catalog = Arc::new(Catalog::open(&folder.path().join("catalog")).unwrap());
        let tenant = tenant(&catalog, &clock, String::new(), (&[], &[]));
        let record = catalog.load_instance(tenant.instance).unwrap();
        let key = VaultKey::from_bytes([1; 32]);
        let vault = Vault::open(&folder.path().join("vault"), key).unwrap();
        let database = Instance::start();
        let mut connection = database.connect();
        let documents: Vec<_> =
            (0..300_i32).map(|n| bson::Bson::from(doc! { "_id": n, "n": n })).collect();
        connection.command("shop", doc! { "insert": "items", "documents": documents }).unwrap();
        let index = doc! { "key": { "n": 1 }, "name": "n_1" };
        connection.command("shop", doc! { "createIndexes": "items", "indexes": [index] }).unwrap();
        let at_snapshot = content(&mut connection);
        let mut world = Self {
            folder,
            database,
            catalog,
            vault,
            clock,
            record,
            snapshot: SnapshotId::from_bytes([0; 12]),
            at_snapshot,
            moment: OplogTime::default(),
            at_moment: Content::new(),
            present: Content::new(),
        };
        world.prepare(&mut connection);
        world
    }

    /// Lets a worker take the snapshot and capture what is written after it.
    fn prepare(&mut self, connection: &mut Connection) {
        let worker = self.worker(None);
        self.snapshot = until("the first snapshot", || {
            let newest = self.catalog.newest_snapshots(self.record.id, 1).unwrap().pop()?;
            matches!(newest.state, SnapshotState::Completed { .. }).then_some(newest.id)
        });
        let delete =
            doc! { "delete": "items", "deletes": [{ "q": { "n": { "$lt": 50 } }, "limit": 0 }] };
        connection.command("shop", delete).unwrap();
        self.moment = newest_position(connection);
        self.at_moment = content(connection);
        connection
            .command("shop", doc! { "insert": "more", "documents": [{ "_id": "later" }] })
            .unwrap();
        self.present = content(connection);
        until("the capture", || {
            let spans = self.catalog.list_oplog_ranges(self.record.id).unwrap();
            spans.iter().any(|span| span.contains(self.moment)).then_some(())
        });
        drop(worker);
    }

    pub(crate) fn worker(&self, hook: Option<Hook>) -> Worker {
        Worker::start(WorkerConfig {
            membership: Membership::alone(&self.catalog, &self.clock),
            catalog: Arc::clone(&self.catalog),
            vaults: Arc::clone(&self.vault).into(),
            clock: self.clock.clone(),
            deployments: Arc::new(One(self.database.endpoint())),
            policy: BackupPolicy::default(),
            downloads: self.downloads(),
            imports: self.downloads().with_file_name("imports"),
            segment_interval: |_| Duration::ZERO,
            parallel_snapshots: 1,
            parallel_restores: 1,
            hook,
        })
    }

    pub(crate) fn state_of(&self, id: SnapshotId) -> SnapshotState {
        self.catalog.find_snapshot(self.record.id, id).unwrap().unwrap().state
    }

    pub(crate) fn downloads(&self) -> PathBuf {
        let folder = self.folder.path().join("downloads");
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    pub(crate) fn ask(&self, delivery: &str) -> RestoreJobId {
        let to = Destination { project: self.record.project, name: self.record.name.clone() };
        let ask = match delivery {
            "automated" => Ask::Automated { snapshot: self.snapshot, to },
            "download" => Ask::Download { snapshot: self.snapshot },
            _ => Ask::PointInTime {
                moment: PointInTime::Entry(self.moment),
                base: Some(self.snapshot),
                to,
            },
        };
        let when = (self.clock.now(), SignedDuration::from_hours(1));
        restore_jobs::create(&self.catalog, &self.record, &ask.into(), when).unwrap().id
    }

    pub(crate) fn wait_for_end(&self, job: RestoreJobId, context: &str) -> RestoreState {
        until(context, || {
            let state = self.catalog.load_restore_job(job).unwrap().state;
            state.is_final().then_some(state)
        })
    }

    pub(crate) fn restored(&self, delivery: &str) -> &Content {
        match delivery {
            "automated" => &self.at_snapshot,
            "pointInTime" => &self.at_moment,
            _ => &self.present,
        }
    }

    /// The names of all collections where restores work, hidden ones too.
    pub(crate) fn all_collections(&self) -> Vec<String> {
        let mut connection = self.database.connect();
        let mut names = Vec::new();
        for database in ["shop", "tidemark"] {
            let listed = connection.for_each(database, doc! { "listCollections": 1 }, |found| {
                names.push(format!("{database}.{}", found.get_str("name").unwrap_or_default()));
                Ok::<_, LinkError>(())
            });
            listed.unwrap();
        }
        names
    }

    /// Puts the database back to the present state, whatever it holds.
    pub(crate) fn reset(&self) {
        let mut connection = self.database.connect();
        if content(&mut connection) == self.present {
            return;
        }
        for name in ["items", "more"] {
            let all = doc! { "delete": name, "deletes": [{ "q": {}, "limit": 0 }] };
            connection.command("shop", all).unwrap();
            let wanted = self.present.iter().filter(|(id, _)| id.starts_with(name));
            let documents: Vec<u8> = wanted.flat_map(|(_, document)| document.clone()).collect();
            if !documents.is_empty() {
                connection
                    .write_run("shop", doc! { "insert": name }, ("documents", &documents))
                    .unwrap();
            }
        }
        assert_eq!(content(&mut connection), self.present);
    }
}
