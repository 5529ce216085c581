//! Store that fails at the n-th call, and what must hold then. For tests only.
//!
//! Every operation of a vault is tried with every fault at every one of its calls. Afterwards the
//! folder is opened as after a crash: what was there is there, what is listed can be restored, and
//! the same operation succeeds.

use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidemark_model::OplogTime;

use crate::store::{FolderStore, Listed, NewObject, Object, Put, Rewriter, Stamp, Store};
use crate::tests::{key, overwrite, segment, snapshot};
use crate::vault::{Access, Vault};
use crate::{PruneReport, VaultError, VaultKey};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The call does nothing and fails.
    Fails,
    /// The call does what it should, and says that it failed.
    SaysFailed,
    /// A write writes half of it and fails.
    Short,
    /// This call and all later ones that need space fail.
    Full,
    /// The process ends: this call and all later ones do nothing.
    Ends,
    /// The call takes a while.
    Slow,
}

const FAULTS: [Fault; 6] =
    [Fault::Fails, Fault::SaysFailed, Fault::Short, Fault::Full, Fault::Ends, Fault::Slow];

/// Which call goes wrong, and how many there were.
struct Plan {
    fault: Fault,
    at: u64,
    calls: AtomicU64,
}

/// What a call does.
enum Course {
    Well,
    Fail,
    FailAfterwards,
    Half,
}

impl Plan {
    fn course(&self, needs_space: bool) -> Course {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if call < self.at {
            return Course::Well;
        }
        let is_now = call == self.at;
        match self.fault {
            Fault::Fails if is_now => Course::Fail,
            Fault::SaysFailed if is_now => Course::FailAfterwards,
            Fault::Short if is_now => Course::Half,
            Fault::Full if needs_space => Course::Fail,
            Fault::Ends => Course::Fail,
            Fault::Slow if is_now => {
                std::thread::sleep(Duration::from_millis(5));
                Course::Well
            }
            _ => Course::Well,
        }
    }

    fn run<T>(&self, needs_space: bool, call: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.course(needs_space) {
            Course::Well => call(),
            Course::Fail | Course::Half => Err(failure()),
            Course::FailAfterwards => call().and(Err(failure())),
        }
    }

    fn was_reached(&self) -> bool {
        self.calls.load(Ordering::SeqCst) >= self.at
    }
}

/// As a disk fails, and not as a file that is damaged.
fn failure() -> Error {
    Error::new(ErrorKind::StorageFull, "a fault of a test")
}

struct FaultyStore {
    inner: FolderStore,
    plan: Arc<Plan>,
}

impl Store for FaultyStore {
    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.plan.run(false, || self.inner.list(folder))
    }

    fn list_objects(&self, folder: &str) -> Result<Vec<Listed>> {
        self.plan.run(false, || self.inner.list_objects(folder))
    }

    fn open_end(&self, name: &str, bytes: u64) -> Result<(Box<dyn Object>, Vec<u8>)> {
        let (object, end) = self.plan.run(false, || self.inner.open_end(name, bytes))?;
        Ok((Box::new(FaultyObject { object, plan: Arc::clone(&self.plan) }), end))
    }

    fn open_known(&self, name: &str, stamp: Stamp) -> Result<Box<dyn Object>> {
        let object = self.plan.run(false, || self.inner.open_known(name, stamp))?;
        Ok(Box::new(FaultyObject { object, plan: Arc::clone(&self.plan) }))
    }

    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.plan.run(false, || self.inner.read(name, limit))
    }

    /// Beginning, writing and finishing may each fail, as a folder does them.
    fn put(&self, name: &str, bytes: &[u8], put: Put) -> Result<Stamp> {
        self.plan.run(true, || Ok(()))?;
        self.plan.run(true, || Ok(()))?;
        self.plan.run(true, || self.inner.put(name, bytes, put))
    }

    fn rewrite(&self, name: &str, limit: u64, change: Rewriter<'_>) -> Result<Option<Stamp>> {
        self.plan.run(true, || Ok(()))?;
        self.plan.run(true, || self.inner.rewrite(name, limit, change))
    }

    fn create(&self, name: &str) -> Result<Box<dyn NewObject>> {
        let object = self.plan.run(true, || self.inner.create(name))?;
        Ok(Box::new(FaultyNewObject { object, plan: Arc::clone(&self.plan) }))
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.plan.run(false, || self.inner.remove(name))
    }

    fn remove_unfinished(&self, folder: &str) -> Result<()> {
        self.plan.run(false, || self.inner.remove_unfinished(folder))
    }

    fn stamp(&self, name: &str) -> Result<Stamp> {
        self.plan.run(false, || self.inner.stamp(name))
    }

    fn written(&self, name: &str) -> Result<std::time::SystemTime> {
        self.plan.run(false, || self.inner.written(name))
    }

    fn settle(&self, name: &str) -> Result<()> {
        self.plan.run(false, || self.inner.settle(name))
    }
}

struct FaultyObject {
    object: Box<dyn Object>,
    plan: Arc<Plan>,
}

impl Object for FaultyObject {
    fn stamp(&self) -> Stamp {
        self.object.stamp()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.plan.run(false, || self.object.read_at(buffer, offset))
    }
}

struct FaultyNewObject {
    object: Box<dyn NewObject>,
    plan: Arc<Plan>,
}

impl NewObject for FaultyNewObject {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self.plan.course(true) {
            Course::Well => self.object.write(bytes),
            Course::Fail => Err(failure()),
            Course::FailAfterwards => self.object.write(bytes).and(Err(failure())),
            Course::Half => {
                let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
                self.object.write(half).and(Err(failure()))
            }
        }
    }

    fn finish(self: Box<Self>) -> Result<Stamp> {
        let Self { object, plan } = *self;
        plan.run(true, || object.finish())
    }
}

fn open_faulty(
    root: &Path,
    plan: &Arc<Plan>,
    key: &VaultKey,
) -> std::result::Result<Arc<Vault>, VaultError> {
    let store = FaultyStore { inner: FolderStore::new(root), plan: Arc::clone(plan) };
    let lock = std::fs::File::open(root.join("config")).unwrap();
    let access = Access::OnlyWriter { _lock: lock };
    Vault::open_as_writer((root.into(), access), key.clone(), Box::new(store))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A vault with two snapshots, of which one is not wanted any more, and oplog segments.
fn prepared(root: &Path) {
    let vault = Vault::open(root, key()).unwrap();
    snapshot(&vault, "kept", 0..600).unwrap();
    snapshot(&vault, "unwanted", 5_000..5_600).unwrap();
    for (first, last) in [(1, 1), (1, 3), (3, 5), (5, 9)] {
        vault.put_segment("i", &segment(first, last)).unwrap();
    }
}

type Operation = fn(&Arc<Vault>) -> std::result::Result<(), VaultError>;

fn take_snapshot(vault: &Arc<Vault>) -> std::result::Result<(), VaultError> {
    match vault.find_stored("new")? {
        None => snapshot(vault, "new", 300..900).map(drop),
        Some(_) => Ok(()),
    }
}

fn capture(vault: &Arc<Vault>) -> std::result::Result<(), VaultError> {
    vault.put_segment("i", &segment(9, 12))?;
    while vault.merge_segments("i", OplogTime::new(100, 1))? {}
    Ok(())
}

fn restore(vault: &Arc<Vault>) -> std::result::Result<(), VaultError> {
    vault.check_snapshot(&vault.load_manifest("kept")?, |_| true)?;
    for name in vault.segments("i")? {
        vault.load_segment("i", name)?;
    }
    Ok(())
}

fn prune(vault: &Arc<Vault>) -> std::result::Result<(), VaultError> {
    match vault.prune(Duration::ZERO)? {
        PruneReport::Removed(_) => Ok(()),
        // A pack could not be read when the vault was opened: what it holds is unknown.
        report => Err(VaultError::Missing { kind: "reason to stop", name: format!("{report:?}") }),
    }
}

fn retain(vault: &Arc<Vault>) -> std::result::Result<(), VaultError> {
    vault.remove_manifest("unwanted")?;
    prune(vault)
}

/// The vault was opened with rotated keys.
fn reseal(vault: &Arc<Vault>) -> std::result::Result<(), VaultError> {
    vault.reseal(|| true).map(drop)
}

fn check(vault: &Arc<Vault>) -> std::result::Result<(), VaultError> {
    vault.check_some(1_800_000_000).map(drop)
}

/// What holds whatever went wrong.
fn check_promises(root: &Path, key: &VaultKey, context: &str) {
    let vault = Vault::open(root, key.clone()).unwrap();
    let report = vault.verify().unwrap();
    assert_eq!(report.damages, [], "{context}");
    for id in vault.snapshots().unwrap() {
        let manifest = vault.load_manifest(&id).unwrap();
        vault
            .check_snapshot(&manifest, |_| true)
            .unwrap_or_else(|e| panic!("{context}: {id}: {e}"));
    }
    assert!(vault.has_snapshot("kept").unwrap(), "{context}");
    let segments = vault.segments("i").unwrap();
    let from = OplogTime::new(1, 1);
    let chain = tidemark_model::chain(&segments, from, OplogTime::new(9, 1));
    chain.unwrap_or_else(|gap| panic!("{context}: {gap}"));
    for folder in ["packs", "snapshots", "oplog/i", ""] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.contains(".tmp"), "{context}: {name} was left behind");
        }
    }
}

#[test]
fn whatever_call_fails_nothing_is_lost_and_the_operation_can_be_repeated() {
    let operations: [(&str, Operation); 7] = [
        ("snapshot", take_snapshot),
        ("capture", capture),
        ("restore", restore),
        ("prune", prune),
        ("retention", retain),
        ("check", check),
        ("reseal", reseal),
    ];
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    prepared(&original);
    let rotated = key().rotated();
    for (name, operation) in operations {
        let key = if name == "reseal" { &rotated } else { &key() };
        for fault in FAULTS {
            let mut reached = 0;
            for at in 1.. {
                let root = folder.path().join("tried");
                copy(&original, &root);
                let plan = Arc::new(Plan { fault, at, calls: AtomicU64::new(0) });
                let opened = open_faulty(&root, &plan, key);
                let outcome = opened
                    .as_ref()
                    .map_err(|_| ())
                    .and_then(|vault| operation(vault).map_err(drop));
                let was_reached = plan.was_reached();
                drop(opened);
                let context = format!("{name}, {fault:?} at call {at}");
                check_promises(&root, key, &context);
                // Once more, as after a restart.
                operation(&Vault::open(&root, key.clone()).unwrap())
                    .unwrap_or_else(|e| panic!("{context}: {e}"));
                // What was sealed anew needs no older key.
                check_promises(&root, &key.without_old(), &context);
                std::fs::remove_dir_all(&root).unwrap();
                if !was_reached {
                    assert!(outcome.is_ok(), "{context}");
                    break;
                }
                reached = at;
            }
            assert!(reached > 5, "{name} made only {reached} calls");
        }
    }
}

#[test]
fn a_failure_of_the_disk_is_not_taken_for_damage() {
    let folder = tempfile::tempdir().unwrap();
    prepared(folder.path());
    let plan = Arc::new(Plan { fault: Fault::Fails, at: u64::MAX, calls: AtomicU64::new(0) });
    let vault = open_faulty(folder.path(), &plan, &key()).unwrap();
    let calls = plan.calls.load(Ordering::SeqCst);
    drop(vault);
    for at in calls + 1.. {
        let plan = Arc::new(Plan { fault: Fault::Fails, at, calls: AtomicU64::new(0) });
        let vault = open_faulty(folder.path(), &plan, &key()).unwrap();
        let _ = restore(&vault);
        if !plan.was_reached() {
            assert!(at > calls + 5, "restoring made only {} calls", at - calls);
            break;
        }
        assert!(vault.health().is_well(), "call {at}: {:?}", vault.health());
        restore(&vault).unwrap();
    }
    // And damage is.
    overwrite(folder.path(), |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let vault = Vault::open(folder.path(), key()).unwrap();
    assert!(restore(&vault).is_err());
    assert!(!vault.health().is_well());
}
