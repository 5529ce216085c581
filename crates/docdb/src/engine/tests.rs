use bson::raw::RawDocument;
use bson::{RawBsonRef, doc};

use super::*;
use crate::collections::{Namespace, Staging};
use crate::filter::parse_filter;
use crate::query::{Query, ReadAt, Stream};

fn engine(folder: &tempfile::TempDir) -> Arc<Engine> {
    Engine::open(folder.path(), Clock::system()).unwrap()
}

fn insert(engine: &Engine, namespace: &Namespace, numbers: std::ops::Range<i32>) {
    let mut transaction = engine.begin().unwrap();
    let collection = transaction.existing_or_created(namespace).unwrap();
    for n in numbers {
        let document = doc! { "_id": n, "k": -n, "text": "x".repeat(100) }.to_vec().unwrap();
        transaction.insert(&collection, RawDocument::from_bytes(&document).unwrap()).unwrap();
    }
    let at = transaction.commit().unwrap();
    engine.wait_durable(at).unwrap();
}

fn has_id(engine: &Engine, namespace: &Namespace, id: i32) -> bool {
    let transaction = engine.begin().unwrap();
    let collection = transaction.existing(namespace).unwrap();
    transaction.find_by_id(&collection, RawBsonRef::Int32(id)).unwrap().is_some()
}

/// The upkeep, until it has nothing more to do.
fn keep_up(engine: &Engine) {
    while engine.maintain_once(false).unwrap() {}
}

#[test]
fn indexes_that_were_built_from_files_are_not_purged() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let namespace = Namespace::new("d", "tidemark.stage.c").unwrap();
    let mut transaction = engine.begin().unwrap();
    transaction.create(&namespace, bson::Document::new(), Staging::Loading).unwrap();
    transaction.commit_to_disk().unwrap();
    insert(&engine, &namespace, 0..5_000);
    let mut transaction = engine.begin_settled().unwrap();
    let index = doc! { "key": { "k": 1 }, "name": "k" };
    assert_eq!(transaction.create_indexes(&namespace, vec![index]).unwrap(), 1);
    transaction.commit_to_disk().unwrap();
    keep_up(&engine);
    assert!((0..5_000).all(|id| has_id(&engine, &namespace, id)));
    let filter = doc! { "k": { "$lte": 0 } }.to_vec().unwrap();
    let query = Query::all(parse_filter(RawDocument::from_bytes(&filter).unwrap()).unwrap());
    let view = engine.view().unwrap();
    let collection = Arc::clone(view.catalog.find(&namespace).unwrap());
    let mut found = 0;
    let mut stream = Stream::open(&engine, (&view, ReadAt::Present), &collection, query).unwrap();
    stream
        .visit_view(&view, |_| {
            found += 1;
            Ok(true)
        })
        .unwrap();
    assert_eq!(found, 5_000);
}

#[test]
fn a_statement_of_several_commits_stays_in_its_collection() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let namespace = Namespace::new("d", "c").unwrap();
    insert(&engine, &namespace, 0..10);
    let view = engine.view().unwrap();
    let before = Arc::clone(view.catalog.find(&namespace).unwrap());
    let all = Query::all(crate::filter::Filter::All(Vec::new()));
    let mut stream = Stream::open(&engine, (&view, ReadAt::Present), &before, all).unwrap();
    let mut visited = 0;
    let mut visit_one = |_: u64, _: &RawDocument| {
        visited += 1;
        Ok(visited < 3)
    };
    assert!(!stream.visit_records((&view, &before), &mut visit_one).unwrap());
    let mut transaction = engine.begin().unwrap();
    transaction.drop_collection(&namespace).unwrap();
    transaction.create(&namespace, bson::Document::new(), Staging::None).unwrap();
    engine.wait_durable(transaction.commit().unwrap()).unwrap();
    let view = engine.view().unwrap();
    let after = Arc::clone(view.catalog.find(&namespace).unwrap());
    let error = stream.visit_records((&view, &after), |_, _| Ok(true)).unwrap_err();
    assert_eq!(error.code, Code::QueryPlanKilled);
}

#[test]
fn what_is_dropped_is_purged_and_its_space_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let namespace = Namespace::new("d", "c").unwrap();
    for first in (0..60_000).step_by(1_000) {
        insert(&engine, &namespace, first..first + 1_000);
    }
    let full = engine.store.usage().unwrap();
    let mut transaction = engine.begin().unwrap();
    transaction.drop_collection(&namespace).unwrap();
    engine.wait_durable(transaction.commit().unwrap()).unwrap();
    keep_up(&engine);
    let used = engine.store.usage().unwrap().used_bytes;
    // The oplog keeps the last minute.
    assert!(used < full.used_bytes * 3 / 4, "{used} of {full:?}");
    assert!(engine.view().unwrap().catalog.find(&namespace).is_none());
    insert(&engine, &namespace, 0..10);
    assert!(has_id(&engine, &namespace, 9) && !has_id(&engine, &namespace, 10));
}

#[test]
fn who_follows_the_oplog_is_told_what_was_forgotten() {
    const HOUR: u32 = 60 * 60;
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::fixed("2026-01-01T00:00:00Z".parse().unwrap());
    let engine = Engine::open(folder.path(), clock.clone()).unwrap();
    let namespace = Namespace::new("d", "c").unwrap();
    let follow = || {
        let view = engine.view().unwrap();
        let query =
            Query::all(parse_filter(RawDocument::from_bytes(&[5, 0, 0, 0, 0]).unwrap()).unwrap());
        Stream::open_oplog(&engine, (&view, ReadAt::Present), query, true).unwrap()
    };
    let read = |stream: &mut Stream, most: usize| {
        let mut found = 0;
        let outcome = stream.for_each(&engine, |_| {
            found += 1;
            Ok(found <= most)
        });
        outcome.map(|_| found.min(most))
    };
    insert(&engine, &namespace, 0..10);
    let (mut slow, mut waiting, mut unread) = (follow(), follow(), follow());
    assert_eq!(read(&mut slow, 3).unwrap(), 3);
    assert_eq!(read(&mut unread, 0).unwrap(), 0);
    assert!(read(&mut waiting, usize::MAX).unwrap() > 10);
    clock.advance(HOUR);
    insert(&engine, &namespace, 10..20);
    assert_eq!(read(&mut waiting, usize::MAX).unwrap(), 10);
    clock.advance(25 * HOUR);
    insert(&engine, &namespace, 20..30);
    keep_up(&engine);
    let error = read(&mut slow, usize::MAX).unwrap_err();
    assert_eq!(error.code, Code::CappedPositionLost);
    // Who has read everything goes on, and who has read nothing begins where the oplog does.
    assert_eq!(read(&mut waiting, usize::MAX).unwrap(), 10);
    assert_eq!(read(&mut unread, usize::MAX).unwrap(), 20);
}
