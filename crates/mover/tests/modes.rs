//! Snapshots and captures of a database that changes while they run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bson::{Document, doc};
use tempfile::TempDir;
use tidemark_model::OplogTime;
use tidemark_mover::{
    Capture, CaptureOutcome, Connection, Progress, Replay, Restore, RestoreSource, SnapshotRequest,
    Stop, WantedMode, swap_stage, take_snapshot,
};
use tidemark_testkit::{Instance, vault};
use tidemark_vault::{Manifest, SnapshotMode, Vault};

fn snapshot(vault: &Arc<Vault>, instance: &Instance, mode: WantedMode) -> Manifest {
    let request = SnapshotRequest {
        endpoint: instance.endpoint(),
        snapshot: "0123456789abcdef01234567".into(),
        instance: "i".into(),
        taken_at: "2026-01-01T00:00:00Z".into(),
        mode,
    };
    take_snapshot(vault, &request, &Stop::new(), &Progress::default()).unwrap()
}

fn restore(vault: &Arc<Vault>, target: &Instance, manifest: Manifest, replay: Option<Replay>) {
    let (stop, progress) = (Stop::new(), Progress::default());
    let source = RestoreSource { manifest, replay };
    let mut restore = Restore::new(vault, target.endpoint(), ("job", source), &stop, &progress);
    restore.verify().unwrap();
    restore.stage().unwrap();
    restore.replay().unwrap();
    restore.build_indexes().unwrap();
    restore.compare().unwrap();
    swap_stage(&target.endpoint(), "job").unwrap();
    // Once more, as after a crash: nothing happens.
    swap_stage(&target.endpoint(), "job").unwrap();
}

/// All documents by namespace and `_id`, as they are.
fn content(connection: &mut Connection) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for name in ["numbers", "sequence", "renamed"] {
        connection
            .for_each("d", doc! { "find": name }, |document| {
                let id = document.get("_id").unwrap();
                found.insert(format!("{name}/{id:?}"), document.as_bytes().to_vec());
                Ok(())
            })
            .unwrap();
    }
    found
}

/// What the oplog of `source` says the state was at `through`.
fn state_at(source: &Instance, through: OplogTime) -> BTreeMap<String, Vec<u8>> {
    let replica = Instance::start();
    let mut to = replica.connect();
    let mut entries = Vec::new();
    let through = bson::Timestamp { time: through.seconds, increment: through.increment };
    let command = doc! { "find": "oplog.rs", "filter": { "ts": { "$lte": through } } };
    source
        .connect()
        .for_each("local", command, |entry| {
            entries.push(Document::try_from(entry).unwrap());
            Ok(())
        })
        .unwrap();
    for entry in entries {
        to.command("admin", doc! { "applyOps": [entry] }).unwrap();
    }
    content(&mut to)
}

/// Writes until told to stop: inserts in order, counts them, changes and deletes older ones.
fn write(connection: &mut Connection, stop: &AtomicBool) {
    for n in 3_000i32.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        connection.command("d", doc! { "insert": "numbers", "documents": [{ "_id": n }] }).unwrap();
        for change in [
            doc! { "update": "sequence", "updates": [{ "q": { "_id": 0 }, "u": { "$set": { "n": n } }, "upsert": true }] },
            doc! { "update": "numbers", "updates": [{ "q": { "_id": n - 2_000 }, "u": { "$set": { "seen": n } } }] },
            doc! { "delete": "numbers", "deletes": [{ "q": { "_id": n - 2_900 }, "limit": 1 }] },
        ] {
            connection.command("d", change).unwrap();
        }
    }
}

fn filled() -> Instance {
    let instance = Instance::start();
    let mut connection = instance.connect();
    let documents: Vec<_> = (0..3_000i32)
        .map(|n| bson::Bson::from(doc! { "_id": n, "text": "x".repeat(400) }))
        .collect();
    connection.command("d", doc! { "insert": "numbers", "documents": documents }).unwrap();
    instance
}

fn snapshot_while_writing(mode: WantedMode) -> (Instance, TempDir, Arc<Vault>, Manifest) {
    let instance = filled();
    let (folder, vault) = vault();
    let stop = AtomicBool::new(false);
    let manifest = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&mut instance.connect(), &stop));
        let manifest = snapshot(&vault, &instance, mode);
        stop.store(true, Ordering::SeqCst);
        writer.join().unwrap();
        manifest
    });
    (instance, folder, vault, manifest)
}

#[test]
fn a_fuzzy_snapshot_is_consistent_at_its_end() {
    let (source, _folder, vault, manifest) = snapshot_while_writing(WantedMode::FuzzyWithOplog);
    let SnapshotMode::FuzzyWithOplog { start, end } = manifest.mode else { panic!("another mode") };
    assert!(start < end, "nothing was written meanwhile");
    let target = Instance::start();
    restore(&vault, &target, manifest, None);
    assert_eq!(content(&mut target.connect()), state_at(&source, end));
}

#[test]
fn a_snapshot_read_shows_one_moment() {
    let (source, _folder, vault, manifest) = snapshot_while_writing(WantedMode::Strongest);
    // A collection that is created meanwhile makes the snapshot fall back to the oplog.
    let at = manifest.mode.consistent_at().unwrap();
    let target = Instance::start();
    restore(&vault, &target, manifest, None);
    assert_eq!(content(&mut target.connect()), state_at(&source, at));
}

#[test]
fn captured_entries_lead_from_a_snapshot_to_any_later_moment() {
    let source = filled();
    let (_folder, vault) = vault();
    let mut connection = source.connect();
    let mut capture = Capture::resume(&vault, "i").unwrap();
    let stop = Stop::new();
    let begun = capture.run_round(&mut connection, &vault, false, &stop).unwrap();
    assert!(matches!(begun, CaptureOutcome::Gap { .. }));
    let manifest = snapshot(&vault, &source, WantedMode::Strongest);
    let mut moments = Vec::new();
    for command in [
        doc! { "insert": "numbers", "documents": [{ "_id": "new" }] },
        doc! { "delete": "numbers", "deletes": [{ "q": { "_id": { "$lt": 10 } }, "limit": 0 }] },
        doc! { "update": "numbers", "updates": [{ "q": { "_id": 20 }, "u": { "$set": { "a.b": 1 } } }] },
    ] {
        connection.command("d", command).unwrap();
        // A capture that is resumed from the vault goes on where it was.
        capture = Capture::resume(&vault, "i").unwrap();
        capture.run_round(&mut connection, &vault, true, &stop).unwrap();
        moments.push(capture.stored_through().unwrap());
    }
    connection
        .command("admin", doc! { "renameCollection": "d.numbers", "to": "d.renamed" })
        .unwrap();
    capture.run_round(&mut connection, &vault, true, &stop).unwrap();
    moments.push(capture.stored_through().unwrap());
    for through in moments {
        let target = Instance::start();
        target
            .connect()
            .command("d", doc! { "insert": "sequence", "documents": [{ "_id": "old" }] })
            .unwrap();
        let replay = Replay { instance: "i".into(), through };
        restore(&vault, &target, manifest.clone(), Some(replay));
        assert_eq!(content(&mut target.connect()), state_at(&source, through));
    }
}

#[test]
fn an_oplog_that_does_not_go_on_where_it_was_is_a_gap() {
    let (first, second) = (filled(), filled());
    let (_folder, vault) = vault();
    let mut capture = Capture::resume(&vault, "i").unwrap();
    let stop = Stop::new();
    capture.run_round(&mut first.connect(), &vault, false, &stop).unwrap();
    first.connect().command("d", doc! { "insert": "numbers", "documents": [{}] }).unwrap();
    let same = capture.run_round(&mut first.connect(), &vault, false, &stop).unwrap();
    assert!(matches!(same, CaptureOutcome::CaughtUp { .. }));
    let other = capture.run_round(&mut second.connect(), &vault, false, &stop).unwrap();
    assert!(matches!(other, CaptureOutcome::Gap { .. }));
}
