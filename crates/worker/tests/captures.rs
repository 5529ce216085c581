//! Captures of several instances do not wait for each other.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::doc;
use tidemark_catalog::{Catalog, Instance as Record};
use tidemark_deployment::{Address, Endpoint, newest_entry};
use tidemark_model::{BackupPolicy, Clock, Secret};
use tidemark_testkit::{Instance, idle_instance, tenant, vault};
use tidemark_worker::{Deployments, Worker, WorkerConfig};

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
        }),
        database: database.endpoint(),
    };
    let mut worker = Worker::start(WorkerConfig {
        catalog: Arc::clone(&catalog),
        vault,
        clock,
        deployments: Arc::new(deployments),
        policy: BackupPolicy::default(),
        downloads: folder.path().join("downloads"),
        imports: folder.path().join("imports"),
        parallel_snapshots: 1,
        parallel_restores: 1,
        hook: None,
    })
    .unwrap();
    // Proof that the fault is reached: the server's connection waits for an answer.
    let (_waiting, _) = silent.accept().unwrap();
    let mut connection = database.connect();
    for round in 0..3 {
        connection
            .command("shop", doc! { "insert": "items", "documents": [{ "n": round }] })
            .unwrap();
        let written = newest_entry(&mut connection).unwrap().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !catalog.list_oplog_ranges(other.id).unwrap().iter().any(|s| s.contains(written)) {
            let found = catalog.list_oplog_ranges(other.id).unwrap();
            assert!(Instant::now() < deadline, "round {round}: {written} is not in {found:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert!(catalog.list_oplog_ranges(tenant.instance).unwrap().is_empty());
    worker.stop(Instant::now() + Duration::from_secs(1));
}
