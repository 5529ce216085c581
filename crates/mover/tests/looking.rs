//! Looking into snapshots in the vault: for documents, and for what is different between two of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bson::{Document, doc};
use tidemark_deployment::Connection;
use tidemark_model::SnapshotId;
use tidemark_mover::{
    IdRanges, Looked, MoverError, NamespaceDifference, Progress, SnapshotRequest, Stop, WantedMode,
    compare_snapshots, find_collection, read_snapshot, visit_documents,
};
use tidemark_testkit::{Instance, owner, vault};
use tidemark_vault::{CollectionManifest, Manifest, Vault};

fn read(vault: &Arc<Vault>, source: &Instance) -> Manifest {
    let request = SnapshotRequest {
        endpoint: source.endpoint(),
        snapshot: SnapshotId::new(jiff::Timestamp::UNIX_EPOCH).to_string(),
        owner: owner(),
        taken_at: "2026-01-01T00:00:00Z".into(),
        mode: WantedMode::Strongest,
        why: None,
        draft_interval: std::time::Duration::ZERO,
        part_bytes: 1 << 40,
    };
    let stop = Stop::new();
    read_snapshot(vault, &request, &stop, &Progress::default()).unwrap().store(&stop).unwrap()
}

fn run(connection: &mut Connection, command: Document) {
    connection.command("d", command).unwrap();
}

fn insert(
    connection: &mut Connection,
    collection: &str,
    documents: impl Iterator<Item = Document>,
) {
    let documents: Vec<Document> = documents.collect();
    for part in documents.chunks(2_000) {
        run(connection, doc! { "insert": collection, "documents": part.to_vec() });
    }
}

fn text(seed: i64) -> String {
    // Not compressible, so that chunks have a usual size.
    (0..20)
        .fold(String::new(), |text, n| text + &format!("{:x}", seed.wrapping_mul(0x9E37_79B9 + n)))
}

fn number(n: i64) -> Document {
    doc! { "_id": n, "text": text(n), "even": n % 2 == 0 }
}

/// All documents of a collection, by their `_id` as text.
fn documents(vault: &Vault, collection: &CollectionManifest) -> BTreeMap<String, Document> {
    let mut found = BTreeMap::new();
    let everything = IdRanges::of_filter(&doc! {});
    visit_documents(vault, collection, (&everything, &Stop::new()), |raw| {
        let document = Document::try_from(raw).unwrap();
        found.insert(document.get("_id").unwrap().to_string(), document);
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    found
}

fn find(vault: &Vault, manifest: &Manifest, filter: Document) -> (usize, Looked) {
    let collection = find_collection(manifest, "d.c").unwrap();
    let mut count = 0;
    let looked =
        visit_documents(vault, collection, (&IdRanges::of_filter(&filter), &Stop::new()), |raw| {
            let id = raw.get("_id").unwrap().and_then(bson::RawBsonRef::as_i64).unwrap();
            count += usize::from(filter.get_i64("_id").map_or(true, |wanted| id == wanted));
            Ok(ControlFlow::Continue(()))
        });
    (count, looked.unwrap())
}

#[test]
fn one_document_costs_one_chunk() {
    let source = Instance::start();
    let (_folder, vault) = vault();
    insert(&mut source.connect(), "c", (0..20_000).map(number));
    let manifest = read(&vault, &source);
    let (found, looked) = find(&vault, &manifest, doc! { "_id": 12_345_i64 });
    assert_eq!((found, looked.chunks_read), (1, 1));
    assert!(looked.chunks > 20, "{looked:?}");
    let (found, looked) = find(&vault, &manifest, doc! { "_id": 99_999_i64 });
    assert_eq!((found, looked.chunks_read), (0, 0));
    let (found, looked) = find(&vault, &manifest, doc! {});
    assert_eq!((found, looked.documents_read, looked.chunks_read), (20_000, 20_000, looked.chunks));
    let refused = find_collection(&manifest, "d.nothing");
    assert!(matches!(refused, Err(MoverError::Lookup { .. })));
}

/// What `compare_snapshots` finds, checked against what reading everything finds.
fn check(vault: &Vault, a: &Manifest, b: &Manifest) -> Vec<NamespaceDifference> {
    let (mut found, mut told) = (Vec::new(), BTreeMap::<String, (u64, u64, u64)>::new());
    compare_snapshots(
        vault,
        (a, b),
        |_| true,
        (&Stop::new(), &mut |namespace, difference| {
            let counts = told.entry(namespace.to_owned()).or_default();
            match (difference.before, difference.after) {
                (None, Some(_)) => counts.0 += 1,
                (Some(_), None) => counts.1 += 1,
                (before, after) => {
                    assert_ne!(before, after);
                    counts.2 += 1;
                }
            }
            Ok(())
        }),
        |difference| {
            found.push(difference);
            Ok(())
        },
    )
    .unwrap();
    for difference in &found {
        let of = |manifest: &Manifest| {
            let mut all = manifest.collections.iter();
            let collection = all.find(|c| c.namespace() == difference.namespace);
            collection.map(|collection| documents(vault, collection)).unwrap_or_default()
        };
        let (before, after) = (of(a), of(b));
        let added = after.keys().filter(|id| !before.contains_key(*id)).count() as u64;
        let removed = before.keys().filter(|id| !after.contains_key(*id)).count() as u64;
        let is_changed = |(id, document): &(&String, &Document)| {
            after.get(*id).is_some_and(|after| after != *document)
        };
        let changed = before.iter().filter(is_changed).count() as u64;
        let counts = (difference.added, difference.removed, difference.changed);
        assert_eq!(counts, (added, removed, changed), "{difference:?}");
        assert_eq!(told.get(&difference.namespace).copied().unwrap_or_default(), counts);
    }
    found
}

#[test]
fn differences_are_found_without_reading_what_is_equal() {
    let source = Instance::start();
    let (_folder, vault) = vault();
    let mut connection = source.connect();
    insert(&mut connection, "c", (0..20_000).map(|n| number(n * 2)));
    insert(&mut connection, "same", (0..3_000).map(number));
    insert(&mut connection, "goes", (0..10).map(number));
    let before = read(&vault, &source);
    insert(&mut connection, "c", [number(5), number(20_001), number(50_000)].into_iter());
    run(
        &mut connection,
        doc! { "delete": "c", "deletes": [
            { "q": { "_id": { "$gte": 30_000_i64, "$lt": 30_010_i64 } }, "limit": 0 },
        ] },
    );
    run(
        &mut connection,
        doc! { "update": "c", "updates": [
            { "q": { "_id": 10_000_i64 }, "u": { "$set": { "text": "changed" } } },
        ] },
    );
    run(&mut connection, doc! { "drop": "goes" });
    insert(&mut connection, "comes", (0..7).map(number));
    run(
        &mut connection,
        doc! { "createIndexes": "same", "indexes": [
            { "key": { "even": 1 }, "name": "even_1" },
        ] },
    );
    let after = read(&vault, &source);
    let found = check(&vault, &before, &after);
    let of = |name: &str| found.iter().find(|found| found.namespace == name).unwrap();
    let c = of("d.c");
    assert_eq!((c.added, c.removed, c.changed), (3, 5, 1));
    assert!(c.chunks_read < 12 && c.chunks_equal > 20, "{c:?}");
    assert_eq!((of("d.goes").removed, of("d.goes").is_there), (10, (true, false)));
    assert_eq!((of("d.comes").added, of("d.comes").is_there), (7, (false, true)));
    assert_eq!(
        (of("d.same").also.clone(), of("d.same").chunks_read),
        (vec!["its indexes".to_owned()], 0)
    );
    // The other way round, and against itself.
    check(&vault, &after, &before);
    assert!(check(&vault, &after, &after).iter().all(NamespaceDifference::is_empty));
}

#[test]
fn differences_are_found_where_ids_have_no_order() {
    let source = Instance::start();
    let (_folder, vault) = vault();
    let mut connection = source.connect();
    let mixed = |n: i64| match n % 3 {
        0 => number(n),
        1 => doc! { "_id": format!("{n}"), "text": text(n) },
        _ => doc! { "_id": { "n": n }, "text": text(n) },
    };
    insert(&mut connection, "c", (0..9_000).map(mixed));
    let before = read(&vault, &source);
    insert(&mut connection, "c", (20_000..20_005).map(mixed));
    run(
        &mut connection,
        doc! { "delete": "c", "deletes": [
            { "q": { "_id": "4" }, "limit": 0 }, { "q": { "_id": { "n": 5_i64 } }, "limit": 0 },
        ] },
    );
    run(
        &mut connection,
        doc! { "update": "c", "updates": [
            { "q": { "_id": 6_i64 }, "u": { "$set": { "text": "changed" } } },
        ] },
    );
    let after = read(&vault, &source);
    let found = check(&vault, &before, &after);
    let counts: Vec<_> = found.iter().map(|f| (f.added, f.removed, f.changed)).collect();
    assert_eq!(counts, [(5, 2, 1)]);
}
