//! Snapshots and captures of a database that changes while they run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bson::{Document, doc};
use tempfile::TempDir;
use tidemark_deployment::{Client, Connection, Endpoint, LinkError, STAGE_PREFIX};
use tidemark_model::{OplogTime, ReadFrom, RestorePlan, Selection, SnapshotId};
use tidemark_mover::{
    Attempt, Capture, CaptureOutcome, Look, MoverError, Progress, RangeEnd, Replay, Restore,
    RestoreSource, SnapshotRequest, Stop, WantedMode, discard_stage, forget_swap, list_stages,
    read_snapshot, swap_stage, was_swapped,
};
use tidemark_testkit::{Instance, Proxy, ReplicaSet, Verdict, link_settings, owner, vault};
use tidemark_vault::{Manifest, SnapshotMode, Vault};

fn snapshot(vault: &Arc<Vault>, instance: &Instance, mode: WantedMode) -> Manifest {
    let stop = Stop::new();
    let request = request(instance.endpoint(), mode);
    let read = read_snapshot(vault, &request, &stop, &Progress::default()).unwrap();
    read.store(&stop).unwrap()
}

fn request(endpoint: Endpoint, mode: WantedMode) -> SnapshotRequest {
    SnapshotRequest {
        endpoint,
        snapshot: "0123456789abcdef01234567".into(),
        owner: owner(),
        taken_at: "2026-01-01T00:00:00Z".into(),
        mode,
        why: None,
        draft_interval: std::time::Duration::ZERO,
        part_bytes: 100_000,
    }
}

fn restore(vault: &Arc<Vault>, target: &Instance, manifest: Manifest, replay: Option<Replay>) {
    stage_with(
        vault,
        target.endpoint(),
        RestoreSource { manifest, replay, selection: Selection::everything() },
    );
    swap_stage(&target.endpoint(), "job").unwrap();
    // Once more, as after a crash: nothing happens.
    swap_stage(&target.endpoint(), "job").unwrap();
}

fn stage(vault: &Arc<Vault>, target: Endpoint, manifest: Manifest) {
    stage_with(
        vault,
        target,
        RestoreSource { manifest, replay: None, selection: Selection::everything() },
    );
}

/// Everything before the swap.
fn stage_with(vault: &Arc<Vault>, target: Endpoint, source: RestoreSource) {
    let (stop, progress) = (Stop::new(), Progress::default());
    let attempt = Attempt { job: "job".into(), number: 1 };
    let mut restore = Restore::new(vault, target, (attempt, source), &stop, &progress);
    let verified = restore.verify().unwrap();
    restore.stage(&verified).unwrap();
    restore.replay(&verified).unwrap();
    restore.build_indexes().unwrap();
    restore.compare().unwrap();
}

/// The replay from a snapshot through a position, with segments that lead to another.
fn replay_through(manifest: &Manifest, (through, reaches): (OplogTime, OplogTime)) -> Replay {
    let from = manifest.mode.consistent_at().unwrap();
    let base: SnapshotId = "0123456789abcdef01234567".parse().unwrap();
    Replay { instance: "i".into(), plan: RestorePlan { base, from, through, reaches } }
}

/// All documents by namespace and `_id`, as they are.
fn content(connection: &mut Connection) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for name in ["numbers", "sequence", "renamed"] {
        connection
            .for_each("d", doc! { "find": name }, |document| {
                let id = document.get("_id").unwrap();
                found.insert(format!("{name}/{id:?}"), document.as_bytes().to_vec());
                Ok::<_, MoverError>(())
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
            Ok::<_, MoverError>(())
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

/// The ways in which a database is reached.
const BACKINGS: [fn() -> Instance; 2] = [Instance::start, Instance::start_attached];

fn filled(start: fn() -> Instance) -> Instance {
    let instance = start();
    let mut connection = instance.connect();
    let documents: Vec<_> = (0..3_000i32)
        .map(|n| bson::Bson::from(doc! { "_id": n, "text": "x".repeat(400) }))
        .collect();
    connection.command("d", doc! { "insert": "numbers", "documents": documents }).unwrap();
    instance
}

fn snapshot_while_writing(
    (start, mode): (fn() -> Instance, WantedMode),
) -> (Instance, TempDir, Arc<Vault>, Manifest) {
    let instance = filled(start);
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
    for backing in BACKINGS {
        let (source, _folder, vault, manifest) =
            snapshot_while_writing((backing, WantedMode::FuzzyWithOplog));
        let SnapshotMode::FuzzyWithOplog { start, end } = manifest.mode else {
            panic!("another mode")
        };
        assert!(start < end, "nothing was written meanwhile");
        let target = backing();
        restore(&vault, &target, manifest, None);
        assert_eq!(content(&mut target.connect()), state_at(&source, end));
    }
}

#[test]
fn a_snapshot_read_shows_one_moment() {
    for backing in BACKINGS {
        let (source, _folder, vault, manifest) =
            snapshot_while_writing((backing, WantedMode::Strongest));
        // A collection that is created meanwhile makes the snapshot fall back to the oplog.
        let at = manifest.mode.consistent_at().unwrap();
        let target = backing();
        restore(&vault, &target, manifest, None);
        assert_eq!(content(&mut target.connect()), state_at(&source, at));
    }
}

#[test]
fn captured_entries_lead_from_a_snapshot_to_any_later_moment() {
    let source = filled(Instance::start);
    let (_folder, vault) = vault();
    let mut connection = source.connect();
    let mut capture = Capture::resume(&vault, "i").unwrap();
    let stop = Stop::new();
    let begun = capture.run_round(&mut connection, vault.as_ref(), false, &stop).unwrap();
    assert!(matches!(begun, CaptureOutcome::Began { after: RangeEnd::Nothing, .. }));
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
        capture.run_round(&mut connection, vault.as_ref(), true, &stop).unwrap();
        moments.push(capture.stored_through().unwrap());
    }
    connection
        .command("admin", doc! { "renameCollection": "d.numbers", "to": "d.renamed" })
        .unwrap();
    capture.run_round(&mut connection, vault.as_ref(), true, &stop).unwrap();
    moments.push(capture.stored_through().unwrap());
    for through in moments {
        let target = Instance::start();
        target
            .connect()
            .command("d", doc! { "insert": "sequence", "documents": [{ "_id": "old" }] })
            .unwrap();
        let replay = replay_through(&manifest, (through, through));
        restore(&vault, &target, manifest.clone(), Some(replay));
        assert_eq!(content(&mut target.connect()), state_at(&source, through));
    }
}

#[test]
fn a_range_ends_with_the_swap_of_a_restore_also_of_one_that_puts_nothing_in_place() {
    for source in [filled(Instance::start), Instance::start()] {
        let (_folder, vault) = vault();
        let target = filled(Instance::start);
        let mut connection = target.connect();
        let mut capture = Capture::resume(&vault, "i").unwrap();
        let stop = Stop::new();
        capture.run_round(&mut connection, vault.as_ref(), true, &stop).unwrap();
        let manifest = snapshot(&vault, &source, WantedMode::Strongest);
        restore(&vault, &target, manifest, None);
        // A capture that is resumed before anything of this is recorded finds the same.
        let mut found = Vec::new();
        for _ in 0..2 {
            capture = Capture::resume(&vault, "i").unwrap();
            let round = capture.run_round(&mut connection, vault.as_ref(), true, &stop).unwrap();
            let CaptureOutcome::CaughtUp { through, swapped_at: Some(at), .. } = round else {
                panic!("it goes on over a swap: {round:?}")
            };
            assert!(through < at && capture.is_over());
            found.push((through, at));
        }
        assert_eq!(found[0], found[1]);
        let at = bson::Timestamp { time: found[0].1.seconds, increment: found[0].1.increment };
        let mut entry = String::new();
        let command = doc! { "find": "oplog.rs", "filter": { "ts": at } };
        connection
            .for_each("local", command, |found| {
                entry = Document::try_from(found).unwrap().to_string();
                Ok::<_, MoverError>(())
            })
            .unwrap();
        assert!(entry.contains("tidemark.stage."), "{entry}");
        let began = capture.run_round(&mut connection, vault.as_ref(), true, &stop).unwrap();
        assert!(matches!(began, CaptureOutcome::Began { after: RangeEnd::Restore, .. }));
        connection.command("d", doc! { "insert": "numbers", "documents": [{}] }).unwrap();
        let goes_on = capture.run_round(&mut connection, vault.as_ref(), true, &stop).unwrap();
        assert!(matches!(goes_on, CaptureOutcome::CaughtUp { swapped_at: None, .. }));
    }
}

#[test]
fn an_oplog_that_does_not_go_on_where_it_was_is_a_gap() {
    let (first, second) = (filled(Instance::start), filled(Instance::start));
    let (_folder, vault) = vault();
    let mut capture = Capture::resume(&vault, "i").unwrap();
    let stop = Stop::new();
    capture.run_round(&mut first.connect(), vault.as_ref(), false, &stop).unwrap();
    first.connect().command("d", doc! { "insert": "numbers", "documents": [{}] }).unwrap();
    let same = capture.run_round(&mut first.connect(), vault.as_ref(), false, &stop).unwrap();
    assert!(matches!(same, CaptureOutcome::CaughtUp { .. }));
    // Its positions may be the same ones, so that its newest entry could not be kept beside ours.
    for n in 0..10 {
        let insert = doc! { "insert": "other", "documents": [{ "n": n }] };
        second.connect().command("d", insert).unwrap();
    }
    let other = capture.run_round(&mut second.connect(), vault.as_ref(), false, &stop).unwrap();
    assert!(matches!(other, CaptureOutcome::Began { after: RangeEnd::Gap, .. }));
}

/// A vault with a snapshot and captured entries after it, a segment for each of five rounds.
fn captured() -> (Instance, TempDir, Arc<Vault>, Manifest, OplogTime) {
    let source = filled(Instance::start);
    let (folder, vault) = vault();
    let mut connection = source.connect();
    let mut capture = Capture::resume(&vault, "i").unwrap();
    let stop = Stop::new();
    capture.run_round(&mut connection, vault.as_ref(), false, &stop).unwrap();
    let manifest = snapshot(&vault, &source, WantedMode::Strongest);
    for n in 0..5 {
        let insert = doc! { "insert": "numbers", "documents": [{ "_id": format!("n{n}") }] };
        connection.command("d", insert).unwrap();
        capture.run_round(&mut connection, vault.as_ref(), true, &stop).unwrap();
    }
    let through = capture.stored_through().unwrap();
    (source, folder, vault, manifest, through)
}

fn verify(
    vault: &Arc<Vault>,
    source: &Instance,
    manifest: &Manifest,
    through: OplogTime,
) -> Result<(), MoverError> {
    let (stop, progress) = (Stop::new(), Progress::default());
    let replay = Some(replay_through(manifest, (through, through)));
    let source_ =
        RestoreSource { manifest: manifest.clone(), replay, selection: Selection::everything() };
    let attempt = Attempt { job: "job".into(), number: 1 };
    Restore::new(vault, source.endpoint(), (attempt, source_), &stop, &progress).verify().map(drop)
}

#[test]
fn a_segment_that_is_missing_fails_the_restore_and_names_the_gap() {
    let (source, _folder, vault, manifest, through) = captured();
    verify(&vault, &source, &manifest, through).unwrap();
    let segments = vault.segments("i").unwrap();
    // The newest one, and one in the middle.
    for position in [segments.len() - 1, segments.len() - 3] {
        let name = segments[position];
        let segment = vault.load_segment("i", name).unwrap();
        vault.remove_segment("i", name).unwrap();
        let error = verify(&vault, &source, &manifest, through).unwrap_err();
        assert!(matches!(error, MoverError::Hole(gap) if gap.from == name.first), "{error}");
        assert!(error.to_string().contains(&name.first.to_string()), "{error}");
        vault.put_segment("i", &segment).unwrap();
    }
    verify(&vault, &source, &manifest, through).unwrap();
}

#[test]
fn an_entry_that_cannot_be_replayed_fails_the_restore_before_anything_is_staged() {
    let (source, _folder, vault, manifest, through) = captured();
    let name = *vault.segments("i").unwrap().last().unwrap();
    let whole = vault.load_segment("i", name).unwrap();
    for (change, reason) in [
        (doc! { "op": "x" }, "unknown operation"),
        (doc! { "op": "c", "ns": "d.$cmd", "o": { "importCollection": "x" } }, "importCollection"),
        (doc! { "op": "u", "o2": { "_id": 1 }, "o": { "$inc": { "a": 1 } } }, "$inc"),
        (doc! { "op": "u", "o2": { "_id": 1 }, "o": { "$v": 2 } }, "neither"),
        (doc! { "op": "i", "o": { "no": "id" } }, "which document"),
        (
            doc! { "op": "c", "ns": "d.$cmd", "o": { "applyOps": [{ "op": "c", "ns": "d.$cmd", "o": { "nonsense": 1 } }] } },
            "nonsense",
        ),
        (doc! { "op": "c", "ns": "d.$cmd", "o": { "drop": 1 } }, "the command drop lacks"),
        (
            doc! { "op": "c", "ns": "d.$cmd", "o": { "renameCollection": "d.numbers" } },
            "the command renameCollection lacks",
        ),
        (
            doc! { "op": "c", "ns": "d.$cmd", "o": { "createIndexes": "numbers", "key": { "a": 1 } } },
            "the command createIndexes lacks",
        ),
        (
            doc! { "op": "c", "ns": "d.$cmd", "o": { "applyOps": [], "partialTxn": true } },
            "transactions",
        ),
    ] {
        let mut segment = whole.clone();
        let entries: Vec<Document> =
            segment.entries().map(|entry| Document::try_from(entry.unwrap()).unwrap()).collect();
        segment.entries.clear();
        for (position, mut entry) in entries.into_iter().enumerate() {
            if position > 0 && entry.get_str("op").is_ok_and(|op| op == "i") {
                entry.extend(change.clone());
            }
            entry.to_writer(&mut segment.entries).unwrap();
        }
        vault.remove_segment("i", name).unwrap();
        vault.put_segment("i", &segment).unwrap();
        let error = verify(&vault, &source, &manifest, through).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    assert!(list_stages(&source.endpoint(), Look::Everywhere).unwrap().is_empty());
}

#[test]
fn segments_of_another_oplog_do_not_join() {
    let (source, _folder, vault, manifest, through) = captured();
    let name = *vault.segments("i").unwrap().last().unwrap();
    let mut segment = vault.load_segment("i", name).unwrap();
    // The same positions, but the first entry says something else.
    let mut entries: Vec<Document> =
        segment.entries().map(|entry| Document::try_from(entry.unwrap()).unwrap()).collect();
    entries[0].insert("other", true);
    segment.entries = entries.iter().flat_map(|entry| entry.to_vec().unwrap()).collect();
    vault.remove_segment("i", name).unwrap();
    vault.put_segment("i", &segment).unwrap();
    let error = verify(&vault, &source, &manifest, through).unwrap_err();
    assert!(error.to_string().contains("another oplog"), "{error}");
}

#[test]
fn a_swap_without_its_plan_fails_and_leaves_the_target_as_it_was() {
    let (source, _folder, vault, manifest, _) = captured();
    let before = content(&mut source.connect());
    let (stop, progress) = (Stop::new(), Progress::default());
    let prepared = |number| {
        let attempt = Attempt { job: "job".into(), number };
        let from = RestoreSource {
            manifest: manifest.clone(),
            replay: None,
            selection: Selection::everything(),
        };
        let mut restore =
            Restore::new(&vault, source.endpoint(), (attempt, from), &stop, &progress);
        let verified = restore.verify().unwrap();
        restore.stage(&verified).unwrap();
        restore.replay(&verified).unwrap();
        restore.build_indexes().unwrap();
        restore.compare().unwrap();
    };
    prepared(1);
    source.connect().command("tidemark", doc! { "dropDatabase": 1 }).unwrap();
    let lost = swap_stage(&source.endpoint(), "job").unwrap_err();
    assert!(matches!(lost, MoverError::StageLost), "{lost}");
    assert_eq!(content(&mut source.connect()), before);
    // A later attempt removes what the first one left, and swaps.
    prepared(2);
    assert_eq!(list_stages(&source.endpoint(), Look::Everywhere).unwrap(), ["job"]);
    swap_stage(&source.endpoint(), "job").unwrap();
    assert_ne!(content(&mut source.connect()), before);
    discard_stage(&source.endpoint(), "job").unwrap();
    // The record stays until the job is known to be over.
    assert_eq!(list_stages(&source.endpoint(), Look::Everywhere).unwrap(), ["job"]);
    swap_stage(&source.endpoint(), "job").unwrap();
}

#[test]
fn a_record_stays_while_another_job_is_on_its_way() {
    let target = Instance::start();
    let mut connection = target.connect();
    let records = format!("{STAGE_PREFIX}swapped");
    let marker = format!("{STAGE_PREFIX}other-1.marker");
    let insert =
        |id: &str| doc! { "insert": &records, "documents": [{ "_id": id, "attempt": 1_i64 }] };
    let there = |connection: &mut Connection| {
        let mut names = Vec::new();
        let list = doc! { "listCollections": 1, "nameOnly": true };
        let listed = connection.for_each("tidemark", list, |found| {
            names.push(found.get_str("name").unwrap_or_default().to_owned());
            Ok::<_, LinkError>(())
        });
        listed.unwrap();
        names
    };
    connection.command("tidemark", insert("job")).unwrap();
    connection.command("tidemark", doc! { "create": &marker }).unwrap();
    forget_swap(&target.endpoint(), "job").unwrap();
    assert!(!was_swapped(&target.endpoint(), "job").unwrap());
    assert!(there(&mut connection).contains(&records), "the other one writes into it next");
    connection.command("tidemark", insert("other")).unwrap();
    connection.command("tidemark", doc! { "drop": &marker }).unwrap();
    forget_swap(&target.endpoint(), "other").unwrap();
    assert_eq!(there(&mut connection), Vec::<String>::new());
}

/// The names of all collections that somebody sees, by database, and the objects of `d`.
fn visible(connection: &mut Connection) -> (Vec<String>, i64) {
    let mut names = Vec::new();
    let reply = connection.command("admin", doc! { "listDatabases": 1, "nameOnly": true }).unwrap();
    for database in reply.get_array("databases").unwrap() {
        let database = database.as_document().unwrap().get_str("name").unwrap().to_owned();
        names.push(database.clone());
        connection
            .for_each(&database, doc! { "listCollections": 1 }, |collection| {
                names.push(format!("{database}.{}", collection.get_str("name").unwrap()));
                Ok::<_, MoverError>(())
            })
            .unwrap();
    }
    let statistics = connection.command("d", doc! { "dbStats": 1 }).unwrap();
    (names, statistics.get_i64("objects").unwrap())
}

#[test]
fn what_a_restore_stages_is_seen_and_dropped_by_nobody_else() {
    let (source, _folder, vault, manifest, _) = captured();
    let mut user = source.connect_as_administrator();
    let before = visible(&mut user);
    let (stop, progress) = (Stop::new(), Progress::default());
    let attempt = Attempt { job: "job".into(), number: 1 };
    let from = RestoreSource { manifest, replay: None, selection: Selection::everything() };
    let mut restore = Restore::new(&vault, source.endpoint(), (attempt, from), &stop, &progress);
    let verified = restore.verify().unwrap();
    restore.stage(&verified).unwrap();
    assert_eq!(visible(&mut user), before);
    assert_ne!(visible(&mut source.connect()), before);
    for database in ["d", "tidemark"] {
        user.command(database, doc! { "dropDatabase": 1 }).unwrap();
    }
    restore.replay(&verified).unwrap();
    restore.build_indexes().unwrap();
    restore.compare().unwrap();
    swap_stage(&source.endpoint(), "job").unwrap();
    let after = visible(&mut user);
    assert_eq!(after.0, before.0);
}

#[test]
fn ranges_of_ids_are_the_whole_collection_and_reading_goes_on_after_a_break() {
    let (source, proxy, endpoint) = behind_proxy("extensions,applyOps");
    let mut connection = source.connect();
    let number = |n: i32| bson::Bson::from(doc! { "_id": n, "text": "x".repeat(400) });
    let documents: Vec<_> = (0..5_000).map(number).collect();
    connection.command("d", doc! { "insert": "numbers", "documents": documents }).unwrap();
    let strange = vec![
        doc! { "_id": "text" },
        doc! { "_id": bson::Bson::Null },
        doc! { "_id": true },
        doc! { "_id": 0.5 },
        doc! { "_id": bson::Bson::MinKey },
        doc! { "_id": bson::Bson::MaxKey },
        doc! { "_id": { "a": 1 } },
        doc! { "_id": bson::oid::ObjectId::new() },
        doc! { "_id": bson::DateTime::now() },
        doc! { "_id": bson::Timestamp { time: 1, increment: 2 } },
    ];
    let count = 5_000 + strange.len() as u64;
    connection.command("d", doc! { "insert": "numbers", "documents": strange }).unwrap();
    for mode in [WantedMode::Strongest, WantedMode::FuzzyWithOplog] {
        let (_folder, vault) = vault();
        // The first answers to a question for more are lost.
        let (ranges, cuts) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, cut) = (Arc::clone(&ranges), Arc::clone(&cuts));
        let mut more = 0;
        proxy.set(move |_, command| {
            if command.contains_key("find")
                && command.get_document("filter").is_ok_and(|f| f.contains_key("_id"))
            {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            if !command.contains_key("getMore") {
                return Verdict::Pass;
            }
            more += 1;
            if more > 2 {
                return Verdict::Pass;
            }
            cut.fetch_add(1, Ordering::SeqCst);
            Verdict::CutAfter
        });
        let small = SnapshotRequest { part_bytes: 900_000, ..request(endpoint.clone(), mode) };
        let (stop, progress) = (Stop::new(), Progress::default());
        let read = read_snapshot(&vault, &small, &stop, &progress).unwrap();
        let manifest = read.store(&stop).unwrap();
        let found = &manifest.collections[0];
        assert_eq!((found.content.documents, progress.documents()), (count, count), "{mode:?}");
        assert!(ranges.load(Ordering::SeqCst) >= 3, "it was read in one part");
        assert!(cuts.load(Ordering::SeqCst) > 0, "no answer was lost");
        let target = Instance::start();
        restore(&vault, &target, manifest, None);
        assert_eq!(content(&mut target.connect()), content(&mut source.connect()));
    }
}

/// A database that has what a test puts into it, behind a proxy, and how it is reached.
fn behind_proxy(withheld: &str) -> (Instance, Proxy, Endpoint) {
    let instance = Instance::start_without(withheld);
    let proxy = Proxy::start(instance.address());
    let client = Client::new(&link_settings(proxy.address())).unwrap();
    (instance, proxy, Endpoint::Attached(client))
}

/// What a deployment that is no Tidemark lacks, in several degrees.
const STRANGERS: [&str; 3] = [
    "extensions,applyOps",
    "extensions,applyOps,dropTarget,uuidReads,snapshotReads",
    "extensions,applyOps,dropTarget,uuidReads,snapshotReads,replicaSet",
];

#[test]
fn a_swap_that_is_cut_anywhere_is_finished_by_the_next_worker() {
    let source = filled(Instance::start);
    let insert = doc! { "insert": "sequence", "documents": [{ "_id": 1 }] };
    source.connect().command("d", insert).unwrap();
    let (_folder, vault) = vault();
    let manifest = snapshot(&vault, &source, WantedMode::Strongest);
    for withheld in STRANGERS {
        let mut was_cut = 0;
        for (step, verdict) in
            (0..).flat_map(|step| [(step, Verdict::CutBefore), (step, Verdict::CutAfter)])
        {
            let (target, proxy, endpoint) = behind_proxy(withheld);
            let mut direct = target.connect();
            for name in ["numbers", "sequence", "renamed"] {
                let insert = doc! { "insert": name, "documents": [{ "_id": "before" }] };
                direct.command("d", insert).unwrap();
            }
            stage(&vault, endpoint.clone(), manifest.clone());
            let mut left = step;
            let cut = Arc::new(AtomicBool::new(false));
            let reached = Arc::clone(&cut);
            proxy.set(move |_, command| {
                let name = command.keys().next().map_or("", String::as_str);
                if !["renameCollection", "drop", "insert"].contains(&name) {
                    return Verdict::Pass;
                }
                left -= 1;
                if left != -1 {
                    return Verdict::Pass;
                }
                reached.store(true, Ordering::SeqCst);
                verdict.clone()
            });
            let first = swap_stage(&endpoint, "job");
            if !cut.load(Ordering::SeqCst) {
                first.unwrap();
                break;
            }
            was_cut += 1;
            swap_stage(&endpoint, "job").unwrap();
            assert!(was_swapped(&endpoint, "job").unwrap());
            discard_stage(&endpoint, "job").unwrap();
            forget_swap(&endpoint, "job").unwrap();
            assert_eq!(content(&mut direct), content(&mut source.connect()), "{withheld}, {step}");
            assert!(list_stages(&endpoint, Look::Everywhere).unwrap().is_empty());
        }
        assert!(was_cut >= 10, "{withheld}: only {was_cut} cuts");
    }
}

/// Makes the other member the primary.
type Elector = Box<dyn Fn() + Send>;

#[test]
fn elections_in_the_middle_of_batches_lose_and_double_nothing() {
    let source = filled(Instance::start);
    let (_folder, vault) = vault();
    let manifest = snapshot(&vault, &source, WantedMode::Strongest);
    let target = Instance::start();
    let elect: Arc<Mutex<Option<Elector>>> = Arc::default();
    let (elections, elector) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&elect));
    let counted = Arc::clone(&elections);
    let mut inserts = 0;
    let set = ReplicaSet::start(
        target.address(),
        Box::new(move |_, name| {
            if name != "insert" && name != "renameCollection" {
                return Verdict::Pass;
            }
            inserts += 1;
            let is_enough = counted.load(Ordering::SeqCst) >= 6;
            if is_enough || inserts % 2 == 0 {
                return Verdict::Pass;
            }
            counted.fetch_add(1, Ordering::SeqCst);
            if let Some(elect) = &*elector.lock().unwrap() {
                elect();
            }
            // The server has done it, or has not; nobody hears which.
            if inserts % 4 == 1 { Verdict::CutAfter } else { Verdict::CutBefore }
        }),
    );
    *elect.lock().unwrap() = Some(Box::new(set.elector()));
    let client = Client::new(&set.link_settings(ReadFrom::Primary)).unwrap();
    let endpoint = Endpoint::Attached(client);
    stage(&vault, endpoint.clone(), manifest);
    for _ in 0..5 {
        if swap_stage(&endpoint, "job").is_ok() {
            break;
        }
    }
    assert!(was_swapped(&endpoint, "job").unwrap());
    assert!(elections.load(Ordering::SeqCst) > 1, "there was no election");
    assert_eq!(content(&mut target.connect()), content(&mut source.connect()));
}

#[test]
fn data_is_read_from_a_secondary_and_only_from_that() {
    let source = filled(Instance::start);
    let set = ReplicaSet::start(source.address(), Box::new(|_, _| Verdict::Pass));
    for (read_from, member) in [(ReadFrom::Secondary, 1), (ReadFrom::Primary, 0)] {
        let (_folder, vault) = vault();
        let client = Client::new(&set.link_settings(read_from)).unwrap();
        for member in [0, 1] {
            set.take_count(member, "find");
        }
        let (stop, progress) = (Stop::new(), Progress::default());
        let asked = request(Endpoint::Attached(client), WantedMode::FuzzyWithOplog);
        let read = read_snapshot(&vault, &asked, &stop, &progress).unwrap();
        assert_eq!(read.store(&stop).unwrap().collections[0].content.documents, 3_000);
        assert_eq!(set.take_count(1 - member, "find"), 0, "{read_from:?}");
        assert!(set.take_count(member, "find") > 0, "{read_from:?}");
    }
}

#[test]
fn a_target_that_refuses_a_rename_in_the_middle_keeps_what_it_had() {
    let source = filled(Instance::start);
    let (_folder, vault) = vault();
    let manifest = snapshot(&vault, &source, WantedMode::Strongest);
    let (target, proxy, endpoint) = behind_proxy("extensions,applyOps,dropTarget");
    let mut direct = target.connect();
    let insert = doc! { "insert": "numbers", "documents": [{ "_id": "before" }] };
    direct.command("d", insert).unwrap();
    let before = content(&mut direct);
    stage(&vault, endpoint.clone(), manifest);
    // Room is made, and then what is staged may not have the name; back it goes.
    proxy.set(|_, command| {
        let renames =
            |from: &str| from.split_once('.').is_some_and(|(_, name)| name.ends_with("_0"));
        match command.get_str("renameCollection") {
            Ok(from) if renames(from) => Verdict::Answer(doc! {
                "ok": 0.0, "code": 73, "codeName": "InvalidNamespace", "errmsg": "no",
            }),
            _ => Verdict::Pass,
        }
    });
    let error = swap_stage(&endpoint, "job").unwrap_err();
    assert!(error.to_string().contains("73"), "{error}");
    assert_eq!(content(&mut direct), before);
    // Room is made, and the connection is gone before it can be undone: nothing is dropped.
    proxy.set(|_, command| match command.get_str("renameCollection") {
        Ok(_) if command.contains_key("dropTarget") => Verdict::Pass,
        Ok(from) if from.contains("aside") || from.ends_with("_0") => Verdict::CutBefore,
        _ => Verdict::Pass,
    });
    assert!(swap_stage(&endpoint, "job").is_err());
    proxy.set(|_, _| Verdict::Pass);
    discard_stage(&endpoint, "job").unwrap();
    let kept = list_stages(&endpoint, Look::Everywhere).unwrap();
    assert_eq!(kept, ["job"], "what waited aside was dropped");
}

#[test]
fn a_capture_goes_on_through_elections_and_broken_connections() {
    let source = filled(Instance::start);
    let (_folder, vault) = vault();
    let elect: Arc<Mutex<Option<Elector>>> = Arc::default();
    let (elections, elector) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&elect));
    let counted = Arc::clone(&elections);
    let mut reads = 0;
    let set = ReplicaSet::start(
        source.address(),
        Box::new(move |_, name| {
            if name != "find" && name != "getMore" {
                return Verdict::Pass;
            }
            reads += 1;
            if reads % 5 != 0 {
                return Verdict::Pass;
            }
            counted.fetch_add(1, Ordering::SeqCst);
            if let Some(elect) = &*elector.lock().unwrap() {
                elect();
            }
            if reads % 2 == 0 { Verdict::CutAfter } else { Verdict::CutBefore }
        }),
    );
    *elect.lock().unwrap() = Some(Box::new(set.elector()));
    let client = Client::new(&set.link_settings(ReadFrom::Primary)).unwrap();
    let endpoint = Endpoint::Attached(client);
    let (stop, mut writes) = (Stop::new(), source.connect());
    let mut capture = Capture::resume(&vault, "i").unwrap();
    let mut ranges = 0;
    let mut round = |capture: &mut Capture, flush: bool| {
        // A round that fails is done again, as the follower does it.
        for _ in 0..5 {
            let Ok(mut connection) = Connection::open(&endpoint) else { continue };
            match capture.run_round(&mut connection, vault.as_ref(), flush, &stop) {
                Ok(CaptureOutcome::Began { .. }) => ranges += 1,
                Ok(CaptureOutcome::CaughtUp { .. }) => return,
                Err(_) => {}
            }
        }
    };
    round(&mut capture, false);
    let manifest = snapshot(&vault, &source, WantedMode::Strongest);
    for n in 0..40 {
        let insert = doc! { "insert": "numbers", "documents": [{ "_id": format!("new {n}") }] };
        writes.command("d", insert).unwrap();
        round(&mut capture, n % 3 == 0);
    }
    round(&mut capture, true);
    assert_eq!(ranges, 1, "a gap where there was none");
    assert!(elections.load(Ordering::SeqCst) > 3, "there were no elections");
    let through = capture.stored_through().unwrap();
    let target = Instance::start();
    let replay = replay_through(&manifest, (through, through));
    restore(&vault, &target, manifest, Some(replay));
    assert_eq!(content(&mut target.connect()), state_at(&source, through));
}

/// Begins a snapshot that ends in the middle, as with a process that is killed.
fn read_until(vault: &Arc<Vault>, wanted: &SnapshotRequest, documents: u64) {
    let (stop, progress) = (Stop::new(), Progress::default());
    let ended = std::thread::scope(|scope| {
        let reading = scope.spawn(|| read_snapshot(vault, wanted, &stop, &progress).map(drop));
        while progress.documents() < documents && !reading.is_finished() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        stop.request();
        reading.join().unwrap()
    });
    assert!(matches!(ended, Err(MoverError::Stopped)), "{ended:?}");
}

#[test]
fn a_snapshot_that_was_interrupted_goes_on_without_reading_again_what_is_stored() {
    // At one moment, and where there is none to read.
    for withheld in ["extensions", "extensions,snapshotReads"] {
        let (source, proxy, endpoint) = behind_proxy(withheld);
        let documents: Vec<_> = (0..6_000i32)
            .map(|n| bson::Bson::from(doc! { "_id": n, "text": format!("{n:06}").repeat(80) }))
            .collect();
        let mut connection = source.connect();
        connection.command("d", doc! { "insert": "numbers", "documents": documents }).unwrap();
        connection
            .command("d", doc! { "insert": "sequence", "documents": [{ "_id": 1 }] })
            .unwrap();
        let (_folder, vault) = vault();
        let wanted = request(endpoint.clone(), WantedMode::Strongest);
        read_until(&vault, &wanted, 3_000);
        let draft = vault.find_draft(&wanted.snapshot).unwrap().expect("nothing was kept");
        let kept: u64 = draft
            .parts
            .iter()
            .filter_map(|part| part.read.as_ref())
            .map(|(c, _)| c.documents)
            .sum();
        assert!(kept > 500, "{withheld}: {kept} documents were kept");
        // What is written meanwhile belongs to the second attempt, or comes after its moment.
        for n in 0..50 {
            let change = doc! { "update": "numbers", "updates": [{ "q": { "_id": n * 100 }, "u": { "$set": { "late": n } } }] };
            connection.command("d", change).unwrap();
        }
        connection
            .command(
                "d",
                doc! { "delete": "numbers", "deletes": [{ "q": { "_id": 77 }, "limit": 1 }] },
            )
            .unwrap();
        let finds = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&finds);
        proxy.set(move |_, command| {
            if command.get("find").is_some_and(|name| name.as_str() != Some("oplog.rs")) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            Verdict::Pass
        });
        let progress = Progress::default();
        let stop = Stop::new();
        let read = read_snapshot(&vault, &wanted, &stop, &progress).unwrap();
        let left = draft.parts.iter().filter(|part| part.read.is_none()).count();
        assert!(finds.load(Ordering::SeqCst) <= left + 3, "{withheld}: parts were read again");
        let manifest = read.store(&stop).unwrap();
        assert!(progress.documents() <= 6_001 + 100, "{} documents", progress.documents());
        assert_eq!(vault.find_draft(&wanted.snapshot).unwrap(), None, "{withheld}");
        let at = manifest.mode.consistent_at().unwrap();
        let target = Instance::start();
        restore(&vault, &target, manifest, None);
        assert_eq!(content(&mut target.connect()), state_at(&source, at), "{withheld}");
    }
}

#[test]
fn what_a_restore_stages_is_not_captured_and_moments_around_it_are_exact() {
    let source = filled(Instance::start);
    let (_folder, vault) = vault();
    let mut connection = source.connect();
    let mut capture = Capture::resume(&vault, "i").unwrap();
    let stop = Stop::new();
    capture.run_round(&mut connection, vault.as_ref(), false, &stop).unwrap();
    let manifest = snapshot(&vault, &source, WantedMode::Strongest);
    let mut moments = Vec::new();
    for n in 0..4i32 {
        let staged: Vec<_> = (0..500i32)
            .map(|k| bson::Bson::from(doc! { "_id": k, "text": "x".repeat(900) }))
            .collect();
        let stage = format!("tidemark_stage_{n}");
        connection.command("d", doc! { "insert": &stage, "documents": staged }).unwrap();
        // Sometimes the last entry of a round is one of them, and a capture goes on from it.
        if n % 2 == 0 {
            capture = Capture::resume(&vault, "i").unwrap();
            capture.run_round(&mut connection, vault.as_ref(), true, &stop).unwrap();
        }
        let insert = doc! { "insert": "numbers", "documents": [{ "_id": format!("new {n}") }] };
        connection.command("d", insert).unwrap();
        connection.command("d", doc! { "drop": &stage }).unwrap();
        capture.run_round(&mut connection, vault.as_ref(), true, &stop).unwrap();
        moments.push(capture.stored_through().unwrap());
    }
    let segments = vault.segments("i").unwrap();
    let sizes = segments.iter().map(|name| vault.load_segment("i", *name).unwrap().entries.len());
    let stored: usize = sizes.sum();
    assert!(stored < 100_000, "{stored} bytes of entries are stored");
    for through in moments {
        let target = Instance::start();
        let replay = replay_through(&manifest, (through, through));
        restore(&vault, &target, manifest.clone(), Some(replay));
        assert_eq!(content(&mut target.connect()), state_at(&source, through));
    }
}

#[test]
fn a_chunk_that_holds_something_else_is_never_swapped_in() {
    let (source, _folder, vault, mut manifest, _) = captured();
    let before = content(&mut source.connect());
    let changed = manifest.collections.iter_mut().find(|c| c.content.documents > 0).unwrap();
    changed.content.add(&doc! { "_id": "nowhere" }.to_vec().unwrap());
    let (stop, progress) = (Stop::new(), Progress::default());
    let attempt = Attempt { job: "job".into(), number: 1 };
    let from = RestoreSource { manifest, replay: None, selection: Selection::everything() };
    let mut restore = Restore::new(&vault, source.endpoint(), (attempt, from), &stop, &progress);
    let verified = restore.verify().unwrap();
    restore.stage(&verified).unwrap();
    restore.replay(&verified).unwrap();
    restore.build_indexes().unwrap();
    let error = restore.compare().unwrap_err();
    assert!(matches!(error, MoverError::Mismatch { .. }), "{error}");
    assert!(matches!(swap_stage(&source.endpoint(), "job"), Err(MoverError::StageLost)));
    assert_eq!(content(&mut source.connect()), before);
}

#[test]
fn a_collection_that_is_renamed_while_a_moment_is_read_is_read_by_its_uuid() {
    let (source, proxy, endpoint) = behind_proxy("extensions,applyOps");
    let mut connection = source.connect();
    let documents: Vec<_> = (0..100i32).map(|n| bson::Bson::from(doc! { "_id": n })).collect();
    connection.command("d", doc! { "insert": "old", "documents": documents }).unwrap();
    let mut is_renamed = false;
    let names = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&names);
    proxy.set(move |database, command| {
        let is_read = command.contains_key("find") && database == "d";
        if is_read {
            asked.lock().unwrap().push(command.get("find").cloned().unwrap());
            if !std::mem::replace(&mut is_renamed, true) {
                let rename = doc! { "renameCollection": "d.old", "to": "d.new" };
                connection.command("admin", rename).unwrap();
            }
        }
        Verdict::Pass
    });
    let (_folder, vault) = vault();
    let stop = Stop::new();
    let wanted = request(endpoint, WantedMode::Strongest);
    let read = read_snapshot(&vault, &wanted, &stop, &Progress::default()).unwrap();
    let manifest = read.store(&stop).unwrap();
    assert_eq!(manifest.collections[0].content.documents, 100);
    assert!(names.lock().unwrap().iter().all(|name| matches!(name, bson::Bson::Binary(_))));
    // It is what the deployment had at the end of the reading.
    assert!(matches!(manifest.mode, SnapshotMode::FuzzyWithOplog { .. }));
    let target = Instance::start();
    restore(&vault, &target, manifest, None);
    assert_eq!(content(&mut target.connect()), content(&mut source.connect()));
}

#[test]
fn drafts_are_of_deployments_with_an_oplog_and_go_with_what_was_wrong_in_them() {
    let fill = |source: &Instance| {
        let documents: Vec<_> = (0..6_000i32)
            .map(|n| bson::Bson::from(doc! { "_id": n, "text": format!("{n:06}").repeat(80) }))
            .collect();
        let mut connection = source.connect();
        for name in ["first", "second"] {
            let insert = doc! { "insert": name, "documents": documents.clone() };
            connection.command("d", insert).unwrap();
        }
    };
    // Without an oplog parts of different times would become one snapshot.
    let (source, _proxy, endpoint) = behind_proxy(STRANGERS[2]);
    fill(&source);
    let (_folder, vault) = vault();
    let wanted = request(endpoint, WantedMode::Strongest);
    read_until(&vault, &wanted, 3_000);
    assert_eq!(vault.find_draft(&wanted.snapshot).unwrap(), None);
    // With one, and collections that are found by their names only: one that is renamed meanwhile.
    let (source, proxy, endpoint) = behind_proxy(STRANGERS[1]);
    fill(&source);
    let wanted = request(endpoint, WantedMode::Strongest);
    let (mut connection, mut reads) = (source.connect(), 0);
    let had_draft = Arc::new(AtomicBool::new(false));
    let (noted, looked, id) = (Arc::clone(&had_draft), Arc::clone(&vault), wanted.snapshot.clone());
    proxy.set(move |database, command| {
        reads += u32::from(database == "d" && command.contains_key("find"));
        if database == "local" && reads > 0 && looked.find_draft(&id).unwrap().is_some() {
            noted.store(true, Ordering::SeqCst);
        }
        if database == "d" && command.contains_key("find") && reads == 20 {
            let rename = doc! { "renameCollection": "d.first", "to": "d.third" };
            connection.command("admin", rename).unwrap();
        }
        Verdict::Pass
    });
    let ended = read_snapshot(&vault, &wanted, &Stop::new(), &Progress::default()).map(drop);
    assert!(matches!(ended, Err(MoverError::Renamed { .. })), "{ended:?}");
    assert!(had_draft.load(Ordering::SeqCst), "there was no draft to drop");
    assert_eq!(vault.find_draft(&wanted.snapshot).unwrap(), None);
}
