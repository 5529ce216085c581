//! Snapshots that are made in the vault, of the one before and the captured oplog.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashSet;
use std::sync::Arc;

use bson::{Bson, Document, doc};
use tempfile::TempDir;
use tidemark_deployment::{Connection, Endpoint};
use tidemark_model::{OplogTime, RestorePlan, Selection, SnapshotId};
use tidemark_mover::{
    Attempt, Capture, MoverError, Progress, Replay, Restore, RestoreSource, SnapshotRequest, Stop,
    SynthesisRequest, WantedMode, read_snapshot, swap_stage, synthesize,
};
use tidemark_testkit::{Instance, owner, vault};
use tidemark_vault::{ChunkId, CollectionManifest, Manifest, SnapshotMode, Vault};

const BASE: &str = "0123456789abcdef01234567";

fn next_id() -> String {
    SnapshotId::new(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// A deployment that is followed, and a snapshot of it.
struct World {
    source: Instance,
    /// Where the vault is.
    folder: TempDir,
    vault: Arc<Vault>,
    capture: Capture,
    base: Manifest,
}

impl World {
    /// What `fill` makes is in the first snapshot.
    fn new(source: Instance, fill: impl FnOnce(&mut Connection)) -> Self {
        let (folder, vault) = vault();
        fill(&mut source.connect());
        let mut capture = Capture::resume(&vault, "i").unwrap();
        capture.run_round(&mut source.connect(), vault.as_ref(), false, &Stop::new()).unwrap();
        let base = read(&vault, source.endpoint());
        Self { source, folder, vault, capture, base }
    }

    fn connect(&self) -> Connection {
        self.source.connect()
    }

    /// The captured oplog from the base on.
    fn replay(&mut self) -> Replay {
        self.capture
            .run_round(&mut self.source.connect(), self.vault.as_ref(), true, &Stop::new())
            .unwrap();
        let from = self.base.mode.consistent_at().unwrap();
        let through = self.capture.stored_through().unwrap().max(from);
        let base: SnapshotId = BASE.parse().unwrap();
        Replay { instance: "i".into(), plan: RestorePlan { base, from, through, reaches: through } }
    }

    fn synthesize(&mut self) -> Result<Manifest, MoverError> {
        let request = SynthesisRequest {
            replay: self.replay(),
            base: self.base.clone(),
            snapshot: next_id(),
            owner: self.base.owner.clone(),
            taken_at: "2026-01-01T06:00:00Z".into(),
        };
        let stop = Stop::new();
        synthesize(&self.vault, &request, &stop, &Progress::default())?.store(&stop)
    }

    /// Makes the next snapshot, and checks that it is what a full read finds.
    fn check(&mut self, step: &str) -> Manifest {
        let made = self.synthesize().unwrap_or_else(|error| panic!("{step}: {error}"));
        let read = read(&self.vault, self.source.endpoint());
        assert!(matches!(made.mode, SnapshotMode::Synthetic { .. }));
        let essence = |manifest: &Manifest| -> Vec<CollectionManifest> {
            let mut collections = manifest.collections.clone();
            for collection in &mut collections {
                // Where chunks begin is another matter; an engine lists indexes by their names.
                collection.chunks = tidemark_vault::ChunkList::default();
                collection.is_sorted = false;
                let name = |index: &Document| index.get_str("name").unwrap_or_default().to_owned();
                collection.indexes.sort_by_key(name);
            }
            collections
        };
        assert_eq!(essence(&made), essence(&read), "{step}");
        self.check_documents(&made, step);
        self.base = made.clone();
        made
    }

    /// The documents in the chunks are those that the manifest says, each once and in their order.
    fn check_documents(&self, manifest: &Manifest, step: &str) {
        for collection in &manifest.collections {
            let (mut content, mut seen) = (tidemark_vault::DocumentSet::default(), HashSet::new());
            let mut last: Option<Vec<u8>> = None;
            self.vault
                .for_each_chunk(&collection.chunks, |chunk| {
                    let raw = self.vault.read_chunk(chunk.id)?;
                    for document in tidemark_wire::DocumentRun::new(&raw).flatten() {
                        content.add(document.as_bytes());
                        let id = Bson::try_from(document.get("_id").unwrap().unwrap()).unwrap();
                        assert!(seen.insert(format!("{id:?}")), "{step}: {id} twice");
                        if let (Bson::ObjectId(id), true) = (&id, collection.is_sorted) {
                            let id = id.bytes().to_vec();
                            assert!(last.as_ref().is_none_or(|last| *last < id), "{step}");
                            last = Some(id);
                        }
                    }
                    Ok(())
                })
                .unwrap();
            assert_eq!(content, collection.content, "{step}: {}", collection.namespace());
        }
    }
}

fn read(vault: &Arc<Vault>, endpoint: Endpoint) -> Manifest {
    let request = SnapshotRequest {
        endpoint,
        snapshot: next_id(),
        owner: owner(),
        taken_at: "2026-01-01T00:00:00Z".into(),
        mode: WantedMode::Strongest,
        why: None,
        draft_interval: std::time::Duration::ZERO,
        part_bytes: 100_000,
    };
    let stop = Stop::new();
    let manifest =
        read_snapshot(vault, &request, &stop, &Progress::default()).unwrap().store(&stop).unwrap();
    assert!(matches!(manifest.mode, SnapshotMode::Snapshot { .. }), "{:?}", manifest.mode_reason);
    manifest
}

fn run(connection: &mut Connection, command: Document) {
    connection.command("d", command).unwrap();
}

fn insert(connection: &mut Connection, collection: &str, documents: Vec<Document>) {
    let documents: Vec<Bson> = documents.into_iter().map(Bson::from).collect();
    run(connection, doc! { "insert": collection, "documents": documents });
}

/// A server of somebody else's, as far as what is read from it goes.
fn stranger() -> Instance {
    Instance::start_without("extensions").attached()
}

fn numbered(range: std::ops::Range<i32>) -> Vec<Document> {
    range.map(|n| doc! { "_id": n, "text": format!("{n:08}").repeat(50) }).collect()
}

/// Pseudo-random numbers, the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> i32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i32::try_from((self.0 >> 33) % sides).unwrap()
    }
}

#[test]
fn what_was_written_is_what_a_full_read_finds() {
    for source in [stranger(), Instance::start_attached(), Instance::start()] {
        let mut world = World::new(source, |connection| {
            insert(connection, "numbers", numbered(0..4_000));
            let oids = (0..2_000).map(
                |n| doc! { "_id": bson::oid::ObjectId::new(), "n": n, "pad": "x".repeat(300) },
            );
            insert(connection, "oids", oids.collect());
            insert(
                connection,
                "mixed",
                vec![doc! { "_id": 1 }, doc! { "_id": "one" }, doc! { "_id": 2.5 }],
            );
            insert(connection, "still", vec![doc! { "_id": 1 }]);
        });
        let mut dice = Dice(7);
        for round in 0..6 {
            let mut connection = world.connect();
            for _ in 0..60 {
                let n = dice.roll(4_500);
                let command = match dice.roll(5) {
                    0 => {
                        doc! { "delete": "numbers", "deletes": [{ "q": { "_id": n }, "limit": 1 }] }
                    }
                    1 => {
                        doc! { "update": "numbers", "updates": [{ "q": { "_id": n }, "u": { "$set": { "round": round, "a.b": n } } }] }
                    }
                    2 => {
                        doc! { "update": "numbers", "updates": [{ "q": { "_id": n }, "u": { "_id": n, "whole": round }, "upsert": true }] }
                    }
                    3 => {
                        doc! { "update": "oids", "updates": [{ "q": { "n": n % 2_000 }, "u": { "$inc": { "seen": 1 } } }] }
                    }
                    _ => {
                        doc! { "insert": "oids", "documents": [{ "_id": bson::oid::ObjectId::new(), "n": n + 10_000, "pad": "y".repeat(500) }] }
                    }
                };
                run(&mut connection, command);
            }
            insert(
                &mut connection,
                "mixed",
                vec![doc! { "_id": format!("text {round}") }, doc! { "_id": 100 + round }],
            );
            run(
                &mut connection,
                doc! { "delete": "numbers", "deletes": [{ "q": { "_id": { "$lt": round * 20 } }, "limit": 0 }] },
            );
            world.check(&format!("round {round}"));
        }
    }
}

#[test]
fn definitions_follow_the_oplog() {
    let mut world = World::new(stranger(), |connection| {
        insert(connection, "kept", numbered(0..10));
        insert(connection, "gone", numbered(0..10));
        insert(connection, "moved", numbered(0..600));
        insert(connection, "target", numbered(0..3));
    });
    let mut connection = world.connect();
    run(&mut connection, doc! { "drop": "gone" });
    insert(&mut connection, "gone", numbered(5..8));
    run(
        &mut connection,
        doc! { "createIndexes": "kept", "indexes": [
            { "key": { "a": 1, "b": -1 }, "name": "ab", "unique": true, "partialFilterExpression": { "a": { "$gt": 1 } } },
            { "key": { "text": 1 }, "name": "passing" },
        ] },
    );
    run(&mut connection, doc! { "dropIndexes": "kept", "index": "passing" });
    run(&mut connection, doc! { "create": "validated", "validator": { "n": { "$type": "int" } } });
    world.check("create, drop, indexes");
    // What is moved is changed before and after, under both names.
    let mut connection = world.connect();
    run(
        &mut connection,
        doc! { "update": "moved", "updates": [{ "q": { "_id": 7 }, "u": { "$set": { "n": 1 } } }] },
    );
    let rename = doc! { "renameCollection": "d.moved", "to": "d.target", "dropTarget": true };
    connection.command("admin", rename).unwrap();
    run(
        &mut connection,
        doc! { "update": "target", "updates": [{ "q": { "_id": 7 }, "u": { "$set": { "n": 2 } } }] },
    );
    run(
        &mut connection,
        doc! { "delete": "target", "deletes": [{ "q": { "_id": 8 }, "limit": 1 }] },
    );
    connection.command("other", doc! { "insert": "c", "documents": [{ "_id": 1 }] }).unwrap();
    world.check("rename");
    let mut connection = world.connect();
    connection.command("other", doc! { "dropDatabase": 1 }).unwrap();
    run(&mut connection, doc! { "drop": "target" });
    let made = world.check("drop");
    assert!(made.collections.iter().all(|collection| collection.database == "d"));
}

/// The chunks of a snapshot.
fn chunks(vault: &Vault, manifest: &Manifest) -> HashSet<ChunkId> {
    let mut chunks = HashSet::new();
    for list in manifest.lists() {
        vault
            .for_each_chunk(list, |chunk| {
                chunks.insert(chunk.id);
                Ok(())
            })
            .unwrap();
    }
    chunks
}

#[test]
fn only_chunks_that_changed_are_made_and_read() {
    let mut world = World::new(stranger(), |connection| {
        for part in 0..8 {
            insert(connection, "numbers", numbered(part * 4_000..(part + 1) * 4_000));
        }
    });
    let before = chunks(&world.vault, &world.base);
    assert!(world.base.collections[0].is_sorted);
    assert!(before.len() > 80, "{}", before.len());
    let mut connection = world.connect();
    for n in [3, 16_000, 31_999] {
        run(
            &mut connection,
            doc! { "update": "numbers", "updates": [{ "q": { "_id": n }, "u": { "$set": { "text": "new" } } }] },
        );
    }
    let request = SynthesisRequest {
        replay: world.replay(),
        base: world.base.clone(),
        snapshot: next_id(),
        owner: world.base.owner.clone(),
        taken_at: "2026-01-01T06:00:00Z".into(),
    };
    let (stop, progress) = (Stop::new(), Progress::default());
    let made = synthesize(&world.vault, &request, &stop, &progress).unwrap().store(&stop).unwrap();
    let after = chunks(&world.vault, &made);
    let new = after.difference(&before).count();
    assert!((3..=6).contains(&new), "{new} new chunks");
    assert!(
        progress.bytes() < world.base.size_bytes() / 10,
        "{} bytes were read",
        progress.bytes()
    );
}

#[test]
fn every_number_is_read_also_the_one_that_is_none() {
    let mut world = World::new(stranger(), |connection| {
        insert(connection, "numbers", numbered(0..2_000));
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5];
        insert(connection, "numbers", odd.map(|id| doc! { "_id": id }).to_vec());
        insert(connection, "numbers", vec![doc! { "_id": "text" }, doc! { "_id": Bson::Null }]);
    });
    assert_eq!(world.base.collections[0].content.documents, 2_006);
    world.check("odd numbers");
}

#[test]
fn nothing_written_is_the_same_snapshot_again() {
    let mut world = World::new(stranger(), |connection| insert(connection, "c", numbered(0..100)));
    let made = world.check("nothing");
    assert_eq!(made.collections[0].chunks, world.base.collections[0].chunks);
}

#[test]
fn what_the_oplog_does_not_say_is_refused() {
    let refused = |world: &mut World| match world.synthesize() {
        Err(MoverError::Synthesis { what }) => what,
        other => panic!("{other:?}"),
    };
    // A snapshot that shows no one moment by itself.
    let mut world = World::new(stranger(), |connection| insert(connection, "c", numbered(0..10)));
    let at = world.base.mode.consistent_at().unwrap();
    let mut fuzzy = world.base.clone();
    fuzzy.mode = SnapshotMode::FuzzyWithOplog { start: OplogTime::default(), end: at };
    fuzzy.oplog = fuzzy.collections[0].chunks.clone();
    let sound = std::mem::replace(&mut world.base, fuzzy);
    assert!(refused(&mut world).contains("does not show one moment"));
    // A snapshot that does not hold what the oplog changes.
    world.base = sound.clone();
    run(
        &mut world.connect(),
        doc! { "update": "c", "updates": [{ "q": { "_id": 3 }, "u": { "$set": { "n": 1 } } }] },
    );
    world.base.collections.clear();
    assert!(refused(&mut world).contains("d.c, which is not there"));
    let mut emptied = sound.clone();
    emptied.collections[0].chunks = tidemark_vault::ChunkList::default();
    world.base = emptied;
    assert!(refused(&mut world).contains("a document that is not there"));
    // What is capped removes documents without a word.
    world.base = sound;
    world.base.collections[0].options.insert("capped", true);
    assert_eq!(
        refused(&mut world),
        "d.c is capped, clustered, a time series or of an unknown kind"
    );
}

#[test]
fn a_synthetic_snapshot_is_restored_like_any_other() {
    let mut world =
        World::new(stranger(), |connection| insert(connection, "c", numbered(0..2_000)));
    run(
        &mut world.connect(),
        doc! { "delete": "c", "deletes": [{ "q": { "_id": { "$mod": [3, 0] } }, "limit": 0 }] },
    );
    let manifest = world.check("deleted");
    let target = Instance::start();
    let (stop, progress) = (Stop::new(), Progress::default());
    let source = RestoreSource { manifest, replay: None, selection: Selection::everything() };
    let attempt = Attempt { job: "job".into(), number: 1 };
    let mut restore =
        Restore::new(&world.vault, target.endpoint(), (attempt, source), &stop, &progress);
    let verified = restore.verify().unwrap();
    restore.stage(&verified).unwrap();
    restore.replay(&verified).unwrap();
    restore.build_indexes().unwrap();
    restore.compare().unwrap();
    swap_stage(&target.endpoint(), "job").unwrap();
    let counted = target.connect().command("d", doc! { "count": "c" }).unwrap();
    assert_eq!(counted.get_i32("n").unwrap(), 1_333);
}

#[test]
fn chunks_that_are_gone_make_no_snapshot() {
    let mut w = World::new(Instance::start_attached(), |connection| {
        let documents: Vec<Bson> =
            (0..3_000).map(|n| doc! { "_id": n, "text": "x".repeat(100) }.into()).collect();
        connection.command("d", doc! { "insert": "c", "documents": documents }).unwrap();
    });
    w.connect().command("d", doc! { "insert": "other", "documents": [{ "_id": 1 }] }).unwrap();
    let packs = std::fs::read_dir(w.folder.path().join("packs")).unwrap();
    for pack in packs {
        std::fs::remove_file(pack.unwrap().path()).unwrap();
    }
    // As the check in the background finds it.
    assert!(!w.vault.verify().unwrap().damages.is_empty());
    let error = w.synthesize().unwrap_err();
    assert!(matches!(error, MoverError::Synthesis { .. }), "{error}");
}
