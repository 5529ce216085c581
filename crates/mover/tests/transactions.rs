//! Transactions that span several entries, and views, as servers write them into their oplogs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::{Arc, Mutex};

use bson::{Bson, Document, doc};
use tempfile::TempDir;
use tidemark_deployment::{Client, Endpoint, list_collections};
use tidemark_model::{OplogSpan, OplogTime, RestorePlan, Rule, Selection, SnapshotId};
use tidemark_mover::{
    Attempt, MoverError, PART_BYTES, Progress, Replay, Restore, RestoreSource, SnapshotRequest,
    Stop, WantedMode, read_snapshot, swap_stage,
};
use tidemark_testkit::{Instance, Proxy, Verdict, link_settings, owner, vault};
use tidemark_vault::{Manifest, OplogSegment, Vault};

/// A snapshot of a collection with one document, and a vault to capture into.
struct World {
    _folder: TempDir,
    vault: Arc<Vault>,
    manifest: Manifest,
    /// The moment of the snapshot.
    from: OplogTime,
}

fn world() -> World {
    let source = Instance::start();
    let insert = doc! { "insert": "c", "documents": [{ "_id": 0 }] };
    source.connect().command("d", insert).unwrap();
    let (folder, vault) = vault();
    let manifest = snapshot(&vault, source.endpoint());
    let from = manifest.mode.consistent_at().unwrap();
    World { _folder: folder, vault, manifest, from }
}

fn snapshot(vault: &Arc<Vault>, endpoint: Endpoint) -> Manifest {
    let request = SnapshotRequest {
        endpoint,
        snapshot: "0123456789abcdef01234567".into(),
        owner: owner(),
        taken_at: "2026-01-01T00:00:00Z".into(),
        mode: WantedMode::Strongest,
        why: None,
        draft_interval: std::time::Duration::ZERO,
        part_bytes: PART_BYTES,
    };
    let stop = Stop::new();
    read_snapshot(vault, &request, &stop, &Progress::default()).unwrap().store(&stop).unwrap()
}

impl World {
    /// A position some entries after the snapshot's, or before it.
    fn at(&self, offset: i64) -> OplogTime {
        OplogTime::from_u64(self.from.to_u64().checked_add_signed(offset).unwrap())
    }

    /// Captures entries that begin at an offset.
    fn capture(&self, entries: &[(i64, Document)]) {
        let (first, last) = (entries.first().unwrap().0, entries.last().unwrap().0);
        let mut segment = OplogSegment {
            name: OplogSpan::new(self.at(first), self.at(last)),
            count: entries.len() as u64,
            namespaces: vec![],
            entries: vec![],
        };
        for (offset, entry) in entries {
            let ts = self.at(*offset);
            let mut entry = entry.clone();
            entry.insert("ts", bson::Timestamp { time: ts.seconds, increment: ts.increment });
            entry.to_writer(&mut segment.entries).unwrap();
        }
        self.vault.put_segment("i", &segment).unwrap();
    }

    fn restore(&self, target: Endpoint, through: i64, reaches: i64) -> Result<(), MoverError> {
        self.restore_some(target, (through, reaches), Selection::everything())
    }

    fn restore_some(
        &self,
        target: Endpoint,
        (through, reaches): (i64, i64),
        selection: Selection,
    ) -> Result<(), MoverError> {
        let (stop, progress) = (Stop::new(), Progress::default());
        let base: SnapshotId = "0123456789abcdef01234567".parse().unwrap();
        let (through, reaches) = (self.at(through), self.at(reaches));
        let plan = RestorePlan { base, from: self.from, through, reaches };
        let replay = Some(Replay { instance: "i".into(), plan });
        let source = RestoreSource { manifest: self.manifest.clone(), replay, selection };
        let attempt = Attempt { job: "job".into(), number: 1 };
        let mut restore =
            Restore::new(&self.vault, target.clone(), (attempt, source), &stop, &progress);
        let verified = restore.verify()?;
        restore.stage(&verified)?;
        restore.replay(&verified)?;
        restore.build_indexes()?;
        restore.compare()?;
        swap_stage(&target, "job")
    }

    /// The ids of the documents that a restore leads to.
    fn ids_at(&self, through: i64, reaches: i64) -> Vec<i32> {
        let target = Instance::start();
        self.restore(target.endpoint(), through, reaches).unwrap();
        let mut ids = Vec::new();
        target
            .connect()
            .for_each("d", doc! { "find": "c", "sort": { "_id": 1 } }, |document| {
                ids.push(document.get_i32("_id").unwrap());
                Ok::<_, MoverError>(())
            })
            .unwrap();
        ids
    }

    /// An entry of a transaction; `before` is the offset of the part before it.
    fn part(&self, before: Option<i64>, command: Document) -> Document {
        let ts = before.map_or(OplogTime::default(), |before| self.at(before));
        let before = bson::Timestamp { time: ts.seconds, increment: ts.increment };
        doc! {
            "op": "c", "ns": "admin.$cmd", "o": command, "lsid": { "id": "session" },
            "txnNumber": 1i64, "prevOpTime": { "ts": before, "t": 1i64 },
        }
    }
}

fn noop() -> Document {
    doc! { "op": "n", "ns": "", "o": {} }
}

fn insert(id: i32) -> Document {
    doc! { "op": "i", "ns": "d.c", "o": { "_id": id }, "o2": { "_id": id } }
}

fn list(ids: &[i32]) -> Vec<Bson> {
    ids.iter().map(|id| insert(*id).into()).collect()
}

#[test]
fn what_a_transaction_did_is_there_from_its_last_entry_on() {
    let w = world();
    w.capture(&[
        (0, noop()),
        (1, w.part(None, doc! { "applyOps": list(&[1, 2]), "partialTxn": true })),
        (2, insert(10)),
        (3, w.part(Some(1), doc! { "applyOps": list(&[3]), "partialTxn": true })),
        (4, w.part(Some(3), doc! { "applyOps": list(&[4]), "count": 4i64 })),
        (5, insert(11)),
    ]);
    assert_eq!(w.ids_at(1, 5), [0]);
    assert_eq!(w.ids_at(3, 5), [0, 10]);
    assert_eq!(w.ids_at(4, 5), [0, 1, 2, 3, 4, 10]);
    assert_eq!(w.ids_at(5, 5), [0, 1, 2, 3, 4, 10, 11]);
}

#[test]
fn what_was_prepared_is_there_when_it_is_committed_and_never_when_it_is_not() {
    let w = world();
    w.capture(&[
        (0, noop()),
        (1, w.part(None, doc! { "applyOps": list(&[1]), "partialTxn": true })),
        (2, w.part(Some(1), doc! { "applyOps": list(&[2]), "prepare": true })),
        (3, insert(10)),
        (4, w.part(Some(2), doc! { "commitTransaction": 1 })),
        (5, w.part(None, doc! { "applyOps": list(&[5]), "prepare": true })),
        (6, w.part(Some(5), doc! { "abortTransaction": 1 })),
        // Inserts of one batch are no transaction, although they are chained like one.
        (7, {
            let mut batch = w.part(Some(6), doc! { "applyOps": list(&[6, 7]) });
            batch.insert("multiOpType", 1);
            batch
        }),
    ]);
    assert_eq!(w.ids_at(3, 7), [0, 10]);
    assert_eq!(w.ids_at(4, 7), [0, 1, 2, 10]);
    assert_eq!(w.ids_at(6, 7), [0, 1, 2, 10]);
    assert_eq!(w.ids_at(7, 7), [0, 1, 2, 6, 7, 10]);
}

#[test]
fn a_transaction_that_was_open_at_the_snapshots_moment_is_whole() {
    let w = world();
    w.capture(&[
        (-5, noop()),
        // One that was over before counts for nothing any more: it is in the snapshot or is not.
        (-4, w.part(None, doc! { "applyOps": list(&[90]), "partialTxn": true })),
        (-3, w.part(Some(-4), doc! { "abortTransaction": 1 })),
        (-2, w.part(None, doc! { "applyOps": list(&[1]), "partialTxn": true })),
    ]);
    w.capture(&[
        (-2, w.part(None, doc! { "applyOps": list(&[1]), "partialTxn": true })),
        (0, noop()),
        (1, w.part(Some(-2), doc! { "applyOps": list(&[2]) })),
    ]);
    assert_eq!(w.ids_at(1, 1), [0, 1, 2]);
}

#[test]
fn a_transaction_that_began_before_the_capture_is_refused_before_anything_is_staged() {
    let w = world();
    w.capture(&[(0, noop()), (1, w.part(Some(-2), doc! { "applyOps": list(&[2]) }))]);
    let target = Instance::start();
    let error = w.restore(target.endpoint(), 1, 1).unwrap_err();
    assert!(matches!(error, MoverError::CutTransaction { .. }), "{error}");
    assert!(
        tidemark_mover::list_stages(&target.endpoint(), tidemark_mover::Look::Everywhere)
            .unwrap()
            .is_empty()
    );
}

/// Lets a database show a view that it does not have, and note which views are made.
fn with_view(instance: &Instance, made: &Arc<Mutex<Vec<Document>>>) -> Endpoint {
    let proxy = Proxy::start(instance.address());
    let made = Arc::clone(made);
    proxy.set(move |database, command| {
        if command.contains_key("viewOn") {
            made.lock().unwrap().push(command.clone());
            return Verdict::Answer(doc! { "ok": 1.0 });
        }
        let is_listing = command.contains_key("listCollections") && database == "d";
        if !is_listing || command.get_bool("nameOnly").unwrap_or(false) {
            return Verdict::Pass;
        }
        let view = doc! {
            "name": "v", "type": "view", "info": { "readOnly": true },
            "options": { "viewOn": "c", "pipeline": [{ "$match": { "b": 1, "a": 2 } }], "collation": { "locale": "de" } },
        };
        let collection = doc! { "name": "c", "type": "collection", "options": {}, "info": {} };
        let cursor = doc! { "id": 0i64, "ns": "d.$cmd.listCollections", "firstBatch": [collection, view] };
        Verdict::Answer(doc! { "cursor": cursor, "ok": 1.0 })
    });
    Endpoint::Attached(Client::new(&link_settings(proxy.address())).unwrap())
}

#[test]
fn views_are_made_as_they_were_and_as_the_oplog_changes_them() {
    let source = Instance::start();
    let made = Arc::default();
    source.connect().command("d", doc! { "insert": "c", "documents": [{ "_id": 0 }] }).unwrap();
    let (folder, vault) = vault();
    let manifest = snapshot(&vault, with_view(&source, &made));
    let from = manifest.mode.consistent_at().unwrap();
    let w = World { _folder: folder, vault, manifest, from };
    let view = |id: &str, more: Document| {
        let mut o = doc! { "_id": id };
        o.extend(more);
        o
    };
    w.capture(&[
        (0, noop()),
        (1, doc! { "op": "c", "ns": "d.$cmd", "o": { "create": "system.views", "idIndex": {} } }),
        (2, doc! { "op": "i", "ns": "d.system.views", "o": view("d.w", doc! { "viewOn": "c", "pipeline": [] }) }),
        (3, doc! { "op": "u", "ns": "d.system.views", "o2": { "_id": "d.w" }, "o": { "$v": 2, "diff": { "u": { "viewOn": "v" } } } }),
        (4, doc! { "op": "d", "ns": "d.system.views", "o": { "_id": "d.v" } }),
    ]);
    let names = |through: i64| {
        let target = Instance::start();
        w.restore(with_view(&target, &made), through, 4).unwrap();
        let mut made: Vec<Document> = std::mem::take(&mut made.lock().unwrap());
        made.iter_mut().for_each(|command| {
            for field in ["writeConcern", "lsid", "$db", "$clusterTime", "$readPreference"] {
                command.remove(field);
            }
        });
        made
    };
    let v = doc! { "create": "v", "viewOn": "c", "pipeline": [{ "$match": { "b": 1, "a": 2 } }], "collation": { "locale": "de" } };
    assert_eq!(names(1), std::slice::from_ref(&v));
    assert_eq!(names(2), [v.clone(), doc! { "create": "w", "viewOn": "c", "pipeline": [] }]);
    assert_eq!(names(3), [v, doc! { "create": "w", "viewOn": "v", "pipeline": [] }]);
    assert_eq!(names(4), [doc! { "create": "w", "viewOn": "v", "pipeline": [] }]);
    // An engine of ours has no views, and says so before it begins.
    let error = w.restore(Instance::start().endpoint(), 1, 4).unwrap_err();
    assert!(error.to_string().contains("d.v, which is a view"), "{error}");
}

fn select(rules: &[(&str, &str)]) -> Selection {
    let rule = |(from, to): &(&str, &str)| Rule { from: (*from).into(), to: (*to).into() };
    Selection::new(rules.iter().map(rule).collect()).unwrap()
}

/// Every namespace of a database with the ids in it.
fn everything(target: &Instance) -> Vec<(String, Vec<Bson>)> {
    let mut connection = target.connect();
    let mut found = Vec::new();
    for listing in list_collections(&mut connection).unwrap() {
        let mut ids = Vec::new();
        let command = doc! { "find": &listing.name, "sort": { "_id": 1 } };
        connection
            .for_each(&listing.database, command, |document| {
                ids.push(document.get("_id").unwrap().unwrap().try_into().unwrap());
                Ok::<_, MoverError>(())
            })
            .unwrap();
        found.push((listing.namespace(), ids));
    }
    found
}

#[test]
fn what_is_selected_comes_back_under_its_new_name_and_nothing_else_changes() {
    let w = world();
    let rename = |from: &str, to: &str| {
        doc! { "op": "c", "ns": "d.$cmd", "o": { "renameCollection": from, "to": to } }
    };
    let insert_into = |namespace: &str, id: i32| {
        doc! { "op": "i", "ns": namespace, "o": { "_id": id }, "o2": { "_id": id } }
    };
    let create = |name: &str| doc! { "op": "c", "ns": "d.$cmd", "o": { "create": name } };
    w.capture(&[
        (0, noop()),
        (1, insert(1)),
        (2, create("other")),
        (3, insert_into("d.other", 5)),
        // As an aggregation with `$out` does it.
        (4, create("tmp.agg_out.1")),
        (5, insert_into("d.tmp.agg_out.1", 7)),
        (6, rename("d.tmp.agg_out.1", "d.c")),
        (7, insert(8)),
    ]);
    let ids = |ids: &[i32]| ids.iter().map(|id| Bson::Int32(*id)).collect::<Vec<_>>();
    for start in [Instance::start, Instance::start_attached] {
        for (through, rules, restored) in [
            (3, vec![("d.c", "d.c")], vec![("d.c", ids(&[0, 1]))]),
            (
                3,
                vec![("d.c", "d.yesterday")],
                vec![("d.c", ids(&[90])), ("d.yesterday", ids(&[0, 1]))],
            ),
            (
                3,
                vec![("d.*", "x.*")],
                vec![("d.c", ids(&[90])), ("x.c", ids(&[0, 1])), ("x.other", ids(&[5]))],
            ),
            (7, vec![("d.c", "x.c")], vec![("d.c", ids(&[90])), ("x.c", ids(&[7, 8]))]),
        ] {
            let target = start();
            let mut connection = target.connect();
            for (database, name) in [("d", "c"), ("d", "kept"), ("e", "kept")] {
                let insert = doc! { "insert": name, "documents": [{ "_id": 90 }] };
                connection.command(database, insert).unwrap();
            }
            w.restore_some(target.endpoint(), (through, 7), select(&rules)).unwrap();
            let mut expected: Vec<(String, Vec<Bson>)> =
                restored.into_iter().map(|(name, ids)| (name.to_owned(), ids)).collect();
            expected.extend(["d.kept", "e.kept"].map(|name| (name.to_owned(), ids(&[90]))));
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            assert_eq!(everything(&target), expected, "{rules:?}");
        }
    }
}

#[test]
fn a_selection_of_what_is_not_there_or_of_two_into_one_changes_nothing() {
    let w = world();
    w.capture(&[(0, noop()), (1, doc! { "op": "c", "ns": "e.$cmd", "o": { "create": "c" } })]);
    for rules in [
        vec![("d.nothing", "d.nothing")],
        vec![("no.*", "no.*")],
        vec![("d.*", "x.*"), ("e.c", "x.c")],
    ] {
        let target = Instance::start();
        let error = w.restore_some(target.endpoint(), (1, 1), select(&rules)).unwrap_err();
        assert!(matches!(error, MoverError::Selection { .. }), "{error}");
        assert_eq!(everything(&target), []);
    }
}

#[test]
fn what_is_to_go_by_itself_is_kept_and_an_index_that_was_given_up_is_not() {
    let source = Instance::start();
    let mut connection = source.connect();
    let index = doc! { "key": { "a": 1 }, "name": "a_1" };
    connection.command("d", doc! { "createIndexes": "c", "indexes": [&index] }).unwrap();
    let (folder, vault) = vault();
    let manifest = snapshot(&vault, source.endpoint());
    let from = manifest.mode.consistent_at().unwrap();
    let w = World { _folder: folder, vault, manifest, from };
    let command = |command: Document| doc! { "op": "c", "ns": "d.$cmd", "o": command };
    w.capture(&[
        (0, noop()),
        (1, command(doc! { "create": "tmp.agg_out.1", "temp": true })),
        (
            2,
            command(
                doc! { "renameCollection": "d.tmp.agg_out.1", "to": "d.made", "stayTemp": false },
            ),
        ),
        (3, command(doc! { "abortIndexBuild": "c", "indexes": [index] })),
    ]);
    let target = Instance::start();
    w.restore(target.endpoint(), 3, 3).unwrap();
    let found = list_collections(&mut target.connect()).unwrap();
    let names: Vec<_> =
        found.iter().map(tidemark_deployment::CollectionListing::namespace).collect();
    assert_eq!(names, ["d.c", "d.made"]);
    for listing in &found {
        assert!(!listing.options.contains_key("temp"), "{listing:?}");
        assert_eq!(listing.indexes.len(), 1, "{listing:?}");
    }
}

#[test]
fn changes_of_servers_before_5_0_are_applied() {
    let w = world();
    let update = |o: Document| doc! { "op": "u", "ns": "d.c", "o2": { "_id": 0 }, "o": o };
    w.capture(&[
        (0, noop()),
        (1, update(doc! { "$v": 1, "$set": { "a": { "b": [1] }, "x": 1 } })),
        (2, update(doc! { "$v": 1, "$set": { "a.b.1": 2 }, "$unset": { "x": true } })),
        (3, update(doc! { "_id": 0, "whole": true })),
    ]);
    for (through, expected) in [
        (1, doc! { "_id": 0, "a": { "b": [1] }, "x": 1 }),
        (2, doc! { "_id": 0, "a": { "b": [1, 2] } }),
        (3, doc! { "_id": 0, "whole": true }),
    ] {
        let target = Instance::start();
        w.restore(target.endpoint(), through, 3).unwrap();
        let mut found = Vec::new();
        target
            .connect()
            .for_each("d", doc! { "find": "c" }, |document| {
                found.push(Document::try_from(document).unwrap());
                Ok::<_, MoverError>(())
            })
            .unwrap();
        assert_eq!(found, [expected]);
    }
}
