//! One suite for all stores: a folder, and buckets of servers that we did not write.
//!
//! What goes wrong on the way is played by a proxy before them (`faulty_proxy.rs`).

use std::io::{ErrorKind, Result};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::faulty_proxy::{Fault, FaultyProxy};
use super::test_servers::{Server, all_programs, bucket_at, programs};
use super::*;

const MIB: usize = 1024 * 1024;

fn kind<T>(outcome: Result<T>) -> ErrorKind {
    outcome.err().map(|error| error.kind()).unwrap()
}

/// Bytes that differ everywhere.
fn pattern(size: usize) -> Vec<u8> {
    (0..size.div_ceil(8) as u64)
        .flat_map(|number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes())
        .take(size)
        .collect()
}

fn names_are_given_once(store: &dyn Store) {
    let first = store.put("once/a", b"first", Put::New).unwrap();
    assert_eq!(kind(store.put("once/a", b"other", Put::New)), ErrorKind::AlreadyExists);
    assert_eq!(store.read("once/a", 5).unwrap(), b"first");
    assert_eq!((store.stamp("once/a").unwrap(), first.size), (first, 5));
    let second = store.put("once/a", b"12345", Put::Replace).unwrap();
    assert_ne!(second, first);
    assert_eq!(store.stamp("once/a").unwrap(), second);
    assert_eq!(store.read("once/a", 9).unwrap(), b"12345");
    assert!(store.read("once/a", 4).unwrap_err().to_string().contains("5 bytes"));
}

fn of_many_one_gives_a_name(store: &dyn Store) {
    let winners = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let winners = &winners;
            scope.spawn(move || match store.put("once/race", &[number; 100], Put::New) {
                Ok(_) => drop(winners.fetch_add(1, Ordering::SeqCst)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
            });
        }
    });
    assert_eq!(winners.into_inner(), 1);
}

fn what_is_missing_is_missing(store: &dyn Store) {
    assert_eq!(kind(store.read("no/such", 10)), ErrorKind::NotFound);
    assert_eq!(kind(store.open_end("no/such", 10)), ErrorKind::NotFound);
    assert_eq!(kind(store.stamp("no/such")), ErrorKind::NotFound);
    assert_eq!(store.list("no").unwrap(), [""; 0]);
    assert_eq!(store.list_objects("no").unwrap(), []);
    store.remove("no/such").unwrap();
    store.put("gone/a", b"x", Put::New).unwrap();
    store.remove("gone/a").unwrap();
    store.remove("gone/a").unwrap();
    assert_eq!(kind(store.stamp("gone/a")), ErrorKind::NotFound);
    store.put("gone/a", b"y", Put::New).unwrap();
}

fn what_is_rewritten_was_changed_by_nobody_else(store: &dyn Store) {
    let first = store.put("again/a", b"first", Put::New).unwrap();
    let mut seen = Vec::new();
    let mut double = |bytes: &[u8]| {
        seen.push(bytes.to_vec());
        Ok(Some(bytes.repeat(2)))
    };
    let second = store.rewrite("again/a", 5, &mut double).unwrap().unwrap();
    assert!(second != first && second == store.stamp("again/a").unwrap());
    assert_eq!(store.read("again/a", 100).unwrap(), b"firstfirst");
    assert_eq!(store.rewrite("again/none", 5, &mut double).unwrap(), None);
    assert!(store.rewrite("again/a", 5, &mut double).is_err(), "it is too large now");
    assert_eq!(seen, [b"first"]);
    assert_eq!(store.rewrite("again/a", 100, &mut |_| Ok(None)).unwrap(), None);
    assert_eq!(store.stamp("again/a").unwrap(), second);
    // Somebody was faster.
    let mut replace = |_: &[u8]| {
        store.put("again/a", b"of another", Put::Replace)?;
        Ok(Some(b"mine".to_vec()))
    };
    assert_eq!(store.rewrite("again/a", 100, &mut replace).unwrap(), None);
    assert_eq!(store.read("again/a", 100).unwrap(), b"of another");
    let mut remove = |_: &[u8]| {
        store.remove("again/a")?;
        Ok(Some(b"mine".to_vec()))
    };
    assert_eq!(store.rewrite("again/a", 100, &mut remove).unwrap(), None);
    assert_eq!(kind(store.stamp("again/a")), ErrorKind::NotFound);
    // As large as a pack.
    store.put("again/b", &pattern(40 * MIB), Put::New).unwrap();
    let mut change = |bytes: &[u8]| Ok(Some(bytes.iter().rev().copied().collect()));
    assert!(store.rewrite("again/b", 1 << 30, &mut change).unwrap().is_some());
    let mut turned = pattern(40 * MIB);
    turned.reverse();
    assert!(store.read("again/b", 1 << 30).unwrap() == turned);
}

fn parts_are_read_as_they_are(store: &dyn Store) {
    let content = pattern(9 * MIB + 7);
    store.put("ranges/a", &content, Put::New).unwrap();
    let (object, _) = store.open_end("ranges/a", 1).unwrap();
    assert_eq!(object.stamp(), store.stamp("ranges/a").unwrap());
    for (offset, size) in [(0, 1), (5, 100), (8 * MIB, MIB), (content.len() - 1, 1), (7, 0)] {
        let mut buffer = vec![0; size];
        object.read_at(&mut buffer, offset as u64).unwrap();
        assert_eq!(buffer, content[offset..offset + size], "{size} bytes at {offset}");
    }
    for (offset, size) in [(content.len() - 1, 2), (content.len() + 1, 1), (usize::MAX, 1)] {
        let read = object.read_at(&mut vec![0; size], offset as u64);
        assert_eq!(kind(read), ErrorKind::UnexpectedEof);
    }
    for bytes in [1, 1000, content.len() as u64, u64::from(u32::MAX)] {
        let (object, end) = store.open_end("ranges/a", bytes).unwrap();
        let begin = content.len().saturating_sub(usize::try_from(bytes).unwrap());
        assert!(end == content[begin..], "the last {bytes} bytes");
        assert_eq!(object.stamp().size, content.len() as u64);
    }
    // From front to back, by pieces, on two threads: few requests.
    let before: u64 = store.requests().iter().map(|(_, count)| count).sum();
    let (object, _) = store.open_end("ranges/a", 1).unwrap();
    std::thread::scope(|scope| {
        for begin in 0..2 {
            let (object, content) = (&object, &content);
            scope.spawn(move || {
                for (number, piece) in content.chunks(30_000).enumerate().skip(begin).step_by(2) {
                    let mut buffer = vec![0; piece.len()];
                    object.read_at(&mut buffer, number as u64 * 30_000).unwrap();
                    assert!(buffer == piece, "piece {number}");
                }
            });
        }
    });
    let after: u64 = store.requests().iter().map(|(_, count)| count).sum();
    assert!(after - before <= 20, "{} requests for 315 pieces", after - before);
}

fn several_read_an_object_from_front_to_back(store: &dyn Store) {
    let content = pattern(32 * MIB);
    store.put("streams/a", &content, Put::New).unwrap();
    let (object, _) = store.open_end("streams/a", 1).unwrap();
    let before: u64 = store.requests().iter().map(|(_, count)| count).sum();
    std::thread::scope(|scope| {
        for (quarter, part) in content.chunks(8 * MIB).enumerate() {
            let object = &object;
            scope.spawn(move || {
                let mut at = (quarter * 8 * MIB) as u64;
                for piece in part.chunks(35_000) {
                    let mut buffer = vec![0; piece.len()];
                    object.read_at(&mut buffer, at).unwrap();
                    assert!(buffer == piece, "at {at}");
                    at += piece.len() as u64;
                }
            });
        }
    });
    let after: u64 = store.requests().iter().map(|(_, count)| count).sum();
    assert!(after - before <= 24, "{} requests for four times 8 MiB", after - before);
}

fn lists_are_whole(store: &dyn Store) {
    // More than a bucket lists at once.
    let numbers: Vec<u32> = (0..1_100).collect();
    std::thread::scope(|scope| {
        for some in numbers.chunks(140) {
            scope.spawn(move || {
                for number in some {
                    store.put(&format!("list/{number:05}"), b"x", Put::New).unwrap();
                }
            });
        }
    });
    store.put("list/folder/deep/a", b"x", Put::New).unwrap();
    store.put("lists", b"x", Put::New).unwrap();
    let mut expected: Vec<_> = numbers.iter().map(|number| format!("{number:05}")).collect();
    let listed = store.list_objects("list").unwrap();
    assert_eq!(listed.iter().map(|object| object.name.clone()).collect::<Vec<_>>(), expected);
    let one = &listed[700];
    let stamp = store.stamp(&format!("list/{}", one.name)).unwrap();
    // Not every list says the tags of objects.
    assert!(one.stamp == stamp || one.stamp == Stamp { changed: 0, ..stamp }, "{one:?}");
    let age = one.written.elapsed().unwrap_or_default();
    assert!(age < Duration::from_mins(10), "{age:?}");
    expected.push("folder".to_owned());
    assert_eq!(store.list("list").unwrap(), expected);
    assert_eq!(store.list("list/folder").unwrap(), ["deep"]);
    assert!(store.list("").unwrap().contains(&"lists".to_owned()));
}

fn objects_in_the_making_are_not_seen(store: &dyn Store) {
    for size in [0, 1, 16 * MIB - 1, 16 * MIB, 16 * MIB + 1, 40 * MIB] {
        let (name, content) = (format!("new/{size}"), pattern(size));
        let mut object = store.create(&name).unwrap();
        for piece in content.chunks(3 * MIB + 11) {
            object.write(piece).unwrap();
            assert_eq!(kind(store.stamp(&name)), ErrorKind::NotFound);
        }
        let stamp = object.finish().unwrap();
        assert_eq!(store.stamp(&name).unwrap(), stamp, "{size}");
        assert!(store.read(&name, 1 << 30).unwrap() == content, "{size}");
    }
    let mut given_up = store.create("new/given-up").unwrap();
    given_up.write(&pattern(40 * MIB)).unwrap();
    drop(given_up);
    assert_eq!(kind(store.stamp("new/given-up")), ErrorKind::NotFound);
    assert!(!store.list("new").unwrap().contains(&"given-up".to_owned()));
}

fn check_all(store: &dyn Store) {
    of_many_one_gives_a_name(store);
    check_all_but_races(store);
}

fn check_all_but_races(store: &dyn Store) {
    names_are_given_once(store);
    what_is_missing_is_missing(store);
    what_is_rewritten_was_changed_by_nobody_else(store);
    parts_are_read_as_they_are(store);
    several_read_an_object_from_front_to_back(store);
    lists_are_whole(store);
    objects_in_the_making_are_not_seen(store);
}

#[test]
fn a_folder_is_a_store() {
    let folder = tempfile::tempdir().unwrap();
    check_all(&FolderStore::new(folder.path()));
}

#[test]
fn a_bucket_is_a_store() {
    for program in all_programs() {
        println!("{}", program.display());
        let server = Server::start(&program);
        let store = server.store();
        if program.ends_with("s3s-fs") {
            // It looks for the name and writes in two steps, unlike the stores that it plays.
            check_all_but_races(&store);
        } else {
            check_all(&store);
        }
        let counted = store.requests();
        assert!(counted.iter().all(|(_, count)| *count >= 2), "{counted:?}");
    }
}

/// All bytes in the files below a folder.
fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().filter_map(std::result::Result::ok);
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, meta)| if meta.is_dir() { bytes_below(&path) } else { meta.len() })
        .sum()
}

#[test]
fn an_upload_that_is_given_up_leaves_nothing() {
    for program in programs() {
        let server = Server::start(&program);
        let store = server.store();
        let mut object = store.create("given-up").unwrap();
        object.write(&pattern(40 * MIB)).unwrap();
        let patience = Instant::now() + Duration::from_secs(20);
        while bytes_below(server.folder.path()) < 16 * MIB as u64 {
            assert!(Instant::now() < patience, "no part arrived");
        }
        drop(object);
        while bytes_below(server.folder.path()) > MIB as u64 {
            assert!(Instant::now() < patience, "{} keeps the parts", program.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Gives up soon, so that a test sees that it does.
const SHORT: Patience = Patience {
    connect: Duration::from_millis(500),
    request: Duration::from_secs(1),
    repeated: Duration::from_secs(4),
};

#[test]
fn what_fails_in_passing_is_repeated_and_nothing_is_done_twice() {
    for program in programs() {
        let server = Server::start(&program);
        let direct = server.store();
        let proxy = FaultyProxy::start(server.address);
        let store = bucket_at(proxy.address(), SHORT);
        let content = pattern(MIB);
        let passing = [
            Fault::Status(503),
            Fault::Status(500),
            Fault::Status(429),
            Fault::NoAnswer,
            Fault::LostAnswer,
            Fault::HalfAnswer,
            Fault::Slow,
            Fault::Refused,
        ];
        for (number, fault) in passing.into_iter().enumerate() {
            let name = format!("faults/{number}");
            let tried = |what: &str| proxy.fail_next(2, fault, &format!("{what}, {fault:?}"));
            tried("put");
            store.put(&name, &content, Put::New).unwrap();
            assert!(direct.read(&name, 1 << 30).unwrap() == content);
            tried("read");
            assert!(store.read(&name, 1 << 30).unwrap() == content);
            tried("open");
            let (object, _) = store.open_end(&name, 9).unwrap();
            tried("range");
            let mut part = vec![0; 500_000];
            object.read_at(&mut part, 77).unwrap();
            assert!(part == content[77..500_077]);
            tried("list");
            assert_eq!(store.list("faults").unwrap().len(), number + 1);
            tried("second put");
            assert_eq!(kind(store.put(&name, b"other", Put::New)), ErrorKind::AlreadyExists);
            proxy.check_reached();
        }
        // In parts: every request of an upload fails once.
        let large = pattern(20 * MIB);
        for fault in [Fault::Status(503), Fault::LostAnswer] {
            let name = format!("parts/{fault:?}");
            proxy.fail_every_second(fault);
            let store = bucket_at(proxy.address(), Patience::USUAL);
            let mut object = store.create(&name).unwrap();
            object.write(&large).unwrap();
            object.finish().unwrap_or_else(|error| panic!("{fault:?}: {error}"));
            proxy.check_reached();
            assert!(direct.read(&name, 1 << 30).unwrap() == large, "{fault:?}");
        }
    }
}

#[test]
fn what_does_not_pass_is_told_in_time_and_is_no_damage() {
    // Nothing of this reaches a server.
    for program in programs().into_iter().take(1) {
        let server = Server::start(&program);
        let proxy = FaultyProxy::start(server.address);
        let store = bucket_at(proxy.address(), SHORT);
        store.put("a", b"content", Put::New).unwrap();
        for (fault, expected) in [
            (Fault::Status(403), ErrorKind::PermissionDenied),
            (Fault::Status(401), ErrorKind::PermissionDenied),
            (Fault::Status(500), ErrorKind::Other),
            (Fault::Refused, ErrorKind::Other),
            (Fault::NoAnswer, ErrorKind::Other),
        ] {
            proxy.fail_next(usize::MAX, fault, "for good");
            let begun = Instant::now();
            assert_eq!(kind(store.read("a", 100)), expected, "{fault:?}");
            assert_eq!(kind(store.put("b", b"x", Put::New)), expected, "{fault:?}");
            assert_eq!(kind(store.list("")), expected, "{fault:?}");
            assert_eq!(kind(store.stamp("a")), expected, "{fault:?}");
            assert!(begun.elapsed() < Duration::from_mins(1), "{fault:?}");
            proxy.check_reached();
        }
        proxy.fail_next(0, Fault::Slow, "well again");
        assert_eq!(store.read("a", 100).unwrap(), b"content");
    }
}
