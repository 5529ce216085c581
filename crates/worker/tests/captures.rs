//! Captures of several instances do not wait for each other; where their entries are meanwhile.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::doc;
use tidemark_catalog::{Catalog, Instance as Record};
use tidemark_deployment::{Address, Endpoint, newest_entry};
use tidemark_model::{BackupPolicy, Clock, InstanceId, OplogTime, Secret};
use tidemark_testkit::{Instance, idle_instance, tenant, vault};
use tidemark_vault::{OplogSegment, Vault};
use tidemark_worker::{Deployments, Membership, Worker, WorkerConfig};

/// One instance is a database; at the address of the other somebody listens and says nothing.
struct Two {
    silent: Endpoint,
    database: Endpoint,
}

impl Deployments for Two {
    fn endpoint(&self, instance: &Record) -> Option<Endpoint> {
        let is_silent = instance.name.as_str() == "one";
        Some(if is_silent { self.silent.clone() } else { self.database.clone() })
    }
}

/// One database for all instances.
struct Everywhere(Endpoint);

impl Deployments for Everywhere {
    fn endpoint(&self, _: &Record) -> Option<Endpoint> {
        Some(self.0.clone())
    }
}

fn config(folder: &Path, (catalog, vault): (&Arc<Catalog>, &Arc<Vault>)) -> WorkerConfig {
    let nowhere = Endpoint::Embedded(Address {
        address: "127.0.0.1:1".to_owned(),
        user: "server".into(),
        password: Secret::new("x"),
        pins: None,
    });
    WorkerConfig {
        membership: Membership::alone(catalog, &Clock::system()),
        catalog: Arc::clone(catalog),
        vaults: Arc::clone(vault).into(),
        clock: Clock::system(),
        deployments: Arc::new(Everywhere(nowhere)),
        policy: BackupPolicy::default(),
        downloads: folder.join("downloads"),
        imports: folder.join("imports"),
        segment_interval: |_| Duration::ZERO,
        parallel_snapshots: 1,
        parallel_restores: 1,
        hook: None,
    }
}

fn wait_until_captured(catalog: &Catalog, instance: InstanceId, written: OplogTime) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !catalog.list_oplog_ranges(instance).unwrap().iter().any(|s| s.contains(written)) {
        let found = catalog.list_oplog_ranges(instance).unwrap();
        assert!(Instant::now() < deadline, "{written} is not in {found:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Inserts a document, and answers at which position.
fn write(database: &Instance, n: i32) -> OplogTime {
    let mut connection = database.connect();
    let insert = doc! { "insert": "items", "documents": [{ "n": n }] };
    connection.command("shop", insert).unwrap();
    newest_entry(&mut connection).unwrap().unwrap()
}

#[test]
fn entries_are_in_the_catalog_until_it_is_time_to_store_them() {
    let database = Instance::start();
    let (folder, vault) = vault();
    let clock = Clock::system();
    let catalog = Arc::new(Catalog::open(&folder.path().join("catalog")).unwrap());
    let tenant = tenant(&catalog, &clock, String::new(), (&[], &[]));
    let config = |interval| WorkerConfig {
        deployments: Arc::new(Everywhere(database.endpoint())),
        segment_interval: interval,
        ..config(folder.path(), (&catalog, &vault))
    };
    let name = tenant.instance.to_string();
    let mut worker = Worker::start(config(|_| Duration::from_hours(1)));
    // The first snapshot asks for everything to be stored.
    let is_taken = || catalog.list_bases(tenant.instance).unwrap().len() == 1;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_taken() {
        assert!(Instant::now() < deadline, "no snapshot was taken");
        std::thread::sleep(Duration::from_millis(20));
    }
    let before = vault.segments(&name).unwrap();
    for round in 0..3 {
        wait_until_captured(&catalog, tenant.instance, write(&database, round));
    }
    assert_eq!(vault.segments(&name).unwrap(), before, "an object was stored before its time");
    let tail = catalog.list_oplog_tail(tenant.instance).unwrap();
    assert!(!tail.is_empty());
    let opened = vault.open_segment(&name, tail[0].span, &tail[0].sealed);
    let namespaces = opened.unwrap().namespaces;
    assert!(namespaces.iter().any(|name| name == "shop.items"), "{namespaces:?}");
    worker.stop(Instant::now() + Duration::from_secs(1));
    drop(worker);

    // Somebody else goes on where it ended, as after a process was killed.
    let mut worker = Worker::start(config(|_| Duration::from_secs(1)));
    let last = write(&database, 3);
    wait_until_captured(&catalog, tenant.instance, last);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !catalog.list_oplog_tail(tenant.instance).unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the tail stays in the catalog");
        std::thread::sleep(Duration::from_millis(20));
    }
    worker.stop(Instant::now() + Duration::from_secs(1));
    assert_eq!(catalog.list_oplog_ranges(tenant.instance).unwrap().len(), 1, "there is a gap");
    let mut stored: Option<OplogSegment> = None;
    for span in vault.segments(&name).unwrap() {
        let segment = vault.load_segment(&name, span).unwrap();
        match &mut stored {
            Some(stored) if span.first < span.last => {
                stored.append(segment, usize::MAX).expect("a segment does not follow");
            }
            _ => stored = Some(segment),
        }
    }
    let stored = stored.unwrap();
    let inserted = stored.entries().filter(|entry| {
        let entry = entry.as_ref().unwrap();
        let says = |field, wanted| entry.get_str(field).is_ok_and(|said| said == wanted);
        says("ns", "shop.items") && says("op", "i")
    });
    assert_eq!(inserted.count(), 4);
    assert!(stored.name.last >= last);
}

#[test]
fn a_deployment_that_does_not_answer_holds_up_nobody_else() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let database = Instance::start();
    let (folder, vault) = vault();
    let clock = Clock::system();
    let catalog = Arc::new(Catalog::open(&folder.path().join("catalog")).unwrap());
    let tenant = tenant(&catalog, &clock, String::new(), (&[], &[]));
    let other = idle_instance(tenant.project, "two", clock.now());
    catalog.insert_instance(&other).unwrap();
    let deployments = Two {
        silent: Endpoint::Embedded(Address {
            address: silent.local_addr().unwrap().to_string(),
            user: "server".into(),
            password: Secret::new("x"),
            pins: None,
        }),
        database: database.endpoint(),
    };
    let mut worker = Worker::start(WorkerConfig {
        deployments: Arc::new(deployments),
        ..config(folder.path(), (&catalog, &vault))
    });
    // Proof that the fault is reached: the server's connection waits for an answer.
    let (_waiting, _) = silent.accept().unwrap();
    let mut connection = database.connect();
    for round in 0..3 {
        connection
            .command("shop", doc! { "insert": "items", "documents": [{ "n": round }] })
            .unwrap();
        let written = newest_entry(&mut connection).unwrap().unwrap();
        wait_until_captured(&catalog, other.id, written);
    }
    assert!(catalog.list_oplog_ranges(tenant.instance).unwrap().is_empty());
    worker.stop(Instant::now() + Duration::from_secs(1));
}
