//! Every step of every delivery, and what may happen to it: the job ends as promised, and the
//! target shows one of two states as a whole.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
use tidemark_mover::{Look, list_stages};
use tidemark_testkit::{Instance, tenant};
use tidemark_vault::{Vault, VaultKey};
use tidemark_worker::{Deployments, Fate, Hook, Worker, WorkerConfig};

const PATIENCE: Duration = Duration::from_mins(1);

/// The one database there is.
struct One(Endpoint);

impl Deployments for One {
    fn endpoint(&self, _: &Record) -> Option<Endpoint> {
        Some(self.0.clone())
    }
}

/// A database, a catalog and a vault with a snapshot of it, and a moment after that.
struct World {
    folder: TempDir,
    database: Instance,
    catalog: Arc<Catalog>,
    vault: Arc<Vault>,
    clock: Clock,
    record: Record,
    snapshot: SnapshotId,
    at_snapshot: Content,
    moment: OplogTime,
    at_moment: Content,
    present: Content,
}

type Content = BTreeMap<String, Vec<u8>>;

fn content(connection: &mut Connection) -> Content {
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

fn newest_position(connection: &mut Connection) -> OplogTime {
    tidemark_deployment::newest_entry(connection).unwrap().unwrap()
}

fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl World {
    fn new() -> Self {
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

    fn worker(&self, hook: Option<Hook>) -> Worker {
        Worker::start(WorkerConfig {
            catalog: Arc::clone(&self.catalog),
            vault: Arc::clone(&self.vault),
            clock: self.clock.clone(),
            deployments: Arc::new(One(self.database.endpoint())),
            policy: BackupPolicy::default(),
            downloads: self.downloads(),
            parallel_snapshots: 1,
            parallel_restores: 1,
            hook,
        })
        .unwrap()
    }

    fn downloads(&self) -> PathBuf {
        let folder = self.folder.path().join("downloads");
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn ask(&self, delivery: &str) -> RestoreJobId {
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
        restore_jobs::create(&self.catalog, &self.record, &ask, when).unwrap().id
    }

    fn wait_for_end(&self, job: RestoreJobId, context: &str) -> RestoreState {
        until(context, || {
            let state = self.catalog.load_restore_job(job).unwrap().state;
            state.is_final().then_some(state)
        })
    }

    fn restored(&self, delivery: &str) -> &Content {
        match delivery {
            "automated" => &self.at_snapshot,
            "pointInTime" => &self.at_moment,
            _ => &self.present,
        }
    }

    /// Puts the database back to the present state, whatever it holds.
    fn reset(&self) {
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

fn steps_of(delivery: &str) -> &'static [&'static str] {
    match delivery {
        "download" => &["verify", "pack"],
        _ => &["verify", "stage", "replay", "index", "compare", "swap", "after-swap"],
    }
}

/// Whether another worker starts once the step was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replacement {
    None,
    /// As a start of the server takes back what the process before it held.
    Started,
}

/// Tries something at every step of every delivery: `fate` answers what becomes of the step, when it
/// was reached so often before; `expect` says whether the job completes, given the step.
fn at_every_step(
    replacement: Replacement,
    fate: impl Fn(&World, RestoreJobId, usize) -> Fate + Send + Sync + Clone + 'static,
    check: impl Fn(&str, &RestoreState) -> bool,
) {
    let world = Arc::new(World::new());
    for delivery in ["automated", "pointInTime", "download"] {
        for step in steps_of(delivery) {
            let context = format!("{delivery}, {step}");
            world.reset();
            let reached = Arc::new(AtomicUsize::new(0));
            let hook: Hook = {
                let (world, reached, fate) =
                    (Arc::clone(&world), Arc::clone(&reached), fate.clone());
                Arc::new(move |job: &str, at: &str| {
                    if at != *step {
                        return Fate::Done;
                    }
                    let before = reached.fetch_add(1, Ordering::SeqCst);
                    fate(&world, job.parse().unwrap(), before)
                })
            };
            let job = world.ask(delivery);
            let first = world.worker(Some(Arc::clone(&hook)));
            until(&context, || (reached.load(Ordering::SeqCst) > 0).then_some(()));
            let mut second = None;
            let state = until(&context, || {
                let state = world.catalog.load_restore_job(job).unwrap().state;
                if state.is_final() {
                    return Some(state);
                }
                if replacement == Replacement::Started && second.is_none() {
                    std::thread::sleep(Duration::from_millis(100));
                    second = Some(world.worker(Some(Arc::clone(&hook))));
                }
                None
            });
            drop((first, second));
            assert!(reached.load(Ordering::SeqCst) > 0, "{context}: it was not reached");
            let completes = check(step, &state);
            let found = content(&mut world.database.connect());
            let expected = if completes { world.restored(delivery) } else { &world.present };
            assert!(found == *expected, "{context}: {state:?}");
            assert_eq!(
                completes,
                matches!(state, RestoreState::Completed { .. }),
                "{context}: {state:?}"
            );
            if delivery == "download" && completes {
                let file = world.catalog.load_restore_job(job).unwrap().download.unwrap().file;
                assert!(world.downloads().join(file).exists(), "{context}");
            }
            until(&context, || {
                // What is looked at may be dropped meanwhile.
                let left = list_stages(&world.database.endpoint(), Look::Everywhere).ok()?;
                left.into_iter().all(|left| left != job.to_string()).then_some(())
            });
        }
    }
}

#[test]
fn a_step_that_is_repeated_changes_nothing() {
    at_every_step(
        Replacement::None,
        |_, _, before| if before == 0 { Fate::Fails { is_transient: true } } else { Fate::Done },
        |_, state| matches!(state, RestoreState::Completed { .. }),
    );
}

#[test]
fn a_worker_that_vanishes_is_replaced() {
    at_every_step(
        Replacement::Started,
        |_, _, before| if before == 0 { Fate::Vanishes } else { Fate::Done },
        |_, _| true,
    );
}

#[test]
fn a_step_that_fails_leaves_the_target_as_it_was() {
    at_every_step(
        Replacement::None,
        |_, _, _| Fate::Fails { is_transient: false },
        |step, state| {
            // Once it is swapped in, it is delivered.
            let is_late = step == "after-swap";
            let has_failed =
                matches!(state, RestoreState::Failed { reason, .. } if reason.contains(step));
            assert!(is_late || has_failed, "{step}: {state:?}");
            is_late
        },
    );
}

#[test]
fn a_step_that_panics_fails_the_job_and_not_the_worker() {
    at_every_step(
        Replacement::None,
        |_, _, _| Fate::Panics,
        |step, state| {
            // Once it is swapped in, it is delivered.
            let is_late = step == "after-swap";
            let has_failed =
                matches!(state, RestoreState::Failed { reason, .. } if reason.contains(step));
            assert!(is_late || has_failed, "{step}: {state:?}");
            is_late
        },
    );
}

#[test]
fn a_job_is_cancelled_at_any_step_before_its_swap() {
    at_every_step(
        Replacement::None,
        |world, job, _| {
            let _ = restore_jobs::cancel(&world.catalog, job, world.clock.now());
            // The heartbeat brings the wish.
            std::thread::sleep(Duration::from_millis(700));
            Fate::Done
        },
        |step, state| {
            let is_late = matches!(step, "swap" | "after-swap");
            assert!(
                is_late || matches!(state, RestoreState::Cancelled { .. }),
                "{step}: {state:?}"
            );
            is_late
        },
    );
}

/// The first worker goes on although another one has the job: it must write nothing.
#[test]
fn who_has_lost_the_lease_writes_nothing() {
    at_every_step(
        Replacement::None,
        |world, job, before| {
            if before == 0 {
                // A second worker on the same records takes the job back and finishes it.
                let second = world.worker(None);
                world.wait_for_end(job, "the other worker");
                drop(second);
            }
            Fate::Done
        },
        |_, _| true,
    );
}
