//! The four loads of design 12.2.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::candidates::{self, Candidate, Tree, Write};
use crate::measure::{MemoryWatch, disk_bytes};

#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub megabytes: u64,
    pub hold_seconds: u64,
    pub quiet_seconds: u64,
}

pub const HEAD: &str = "| store | sorted load MB/s | its memory | scan MB/s | durable updates /s, 8 clients | p99 ms | random batches MB/s | memory of both | held reader: memory | disk after | disk quiet |\n|---|---|---|---|---|---|---|---|---|---|---|";

const DOCUMENT_BYTES: usize = 500;
const CLIENTS: usize = 8;
const UPDATE_SECONDS: u64 = 10;
const HELD_MEGABYTES_PER_SECOND: u64 = 20;

/// A document that compresses to about half, different in every version.
fn document(number: u64, version: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ version.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ 1;
    let mut bytes = Vec::with_capacity(DOCUMENT_BYTES);
    while bytes.len() < DOCUMENT_BYTES {
        state = step(state);
        bytes.extend_from_slice(&state.to_le_bytes());
        bytes.extend_from_slice(b"harbour ");
    }
    bytes.truncate(DOCUMENT_BYTES);
    bytes
}

fn step(state: u64) -> u64 {
    let state = state ^ (state << 13);
    let state = state ^ (state >> 7);
    state ^ (state << 17)
}

/// The key of an index entry: the values of a random field, then the document.
fn index_key(number: u64) -> Vec<u8> {
    let value = step(number.wrapping_mul(0x94d0_49bb_1331_11eb) | 1);
    [value.to_be_bytes(), number.to_be_bytes()].concat()
}

fn put(tree: Tree, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Write {
    Write { tree, key: key.into(), value: value.into() }
}

/// Runs all loads; a row of the table.
pub fn run(name: &str, folder: &Path, size: Size) -> String {
    let store = candidates::open(name, folder).unwrap_or_else(|| panic!("no store {name} in this build"));
    let store = store.as_ref();
    let watch = MemoryWatch::start();
    let count = size.megabytes * 1_000_000 / DOCUMENT_BYTES as u64;
    let rate = |megabytes: u64, took: Duration| megabytes as f64 / took.as_secs_f64();

    let began = Instant::now();
    load(store, count);
    let loaded = rate(size.megabytes, began.elapsed());
    let load_memory = watch.take_peak();

    let began = Instant::now();
    let (documents, _) = scan(store.hold().as_ref());
    let scanned = rate(size.megabytes, began.elapsed());
    assert_eq!(documents, count, "documents after the load");
    let _ = watch.take_peak();

    let (updates, p99) = updates(store, count);
    let random = random_batches(store, count);
    let update_memory = watch.take_peak();

    held_reader(store, count, size.hold_seconds);
    let held_memory = watch.take_peak();
    let disk_after = disk_bytes(folder);
    std::thread::sleep(Duration::from_secs(size.quiet_seconds));
    let disk_quiet = disk_bytes(folder);
    format!(
        "| {name} | {loaded:.0} | {} | {scanned:.0} | {updates:.0} | {:.1} | {random:.0} | {} | {} | {} | {} |",
        megabytes(load_memory),
        p99.as_secs_f64() * 1e3,
        megabytes(update_memory),
        megabytes(held_memory),
        megabytes(disk_after),
        megabytes(disk_quiet),
    )
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

/// Load 1: documents in their order, then the index from a sorted run.
fn load(store: &dyn Candidate, count: u64) {
    let mut documents = (0..count).map(|n| (n.to_be_bytes().to_vec(), document(n, 0)));
    load_tree(store, Tree::Documents, &mut documents);
    let mut keys: Vec<Vec<u8>> = (0..count).map(index_key).collect();
    keys.sort_unstable();
    let mut entries = keys.into_iter().map(|key| (key, Vec::new()));
    load_tree(store, Tree::Index, &mut entries);
}

fn load_tree(store: &dyn Candidate, tree: Tree, entries: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) {
    if store.load_sorted(tree, entries) {
        return;
    }
    loop {
        let batch: Vec<Write> =
            entries.take(candidates::BATCH).map(|(key, value)| put(tree, key, value)).collect();
        if batch.is_empty() {
            return;
        }
        store.write(&batch);
    }
}

/// Load 2: every document, copied into batches of 16 MiB as an answer would be.
fn scan(held: &dyn candidates::Held) -> (u64, u64) {
    let (mut documents, mut sum) = (0, 0u64);
    let mut batch = Vec::with_capacity(16 << 20);
    held.scan(Tree::Documents, &mut |_, value| {
        if batch.len() + value.len() > 16 << 20 {
            batch.clear();
        }
        batch.extend_from_slice(value);
        documents += 1;
        sum = sum.wrapping_add(value.iter().map(|byte| u64::from(*byte)).take(8).sum());
    });
    (documents, sum)
}

/// Commits of several clients that share a sync: the first to wait writes for all.
#[derive(Default)]
struct Group {
    state: Mutex<GroupState>,
    done: Condvar,
}

#[derive(Default)]
struct GroupState {
    pending: Vec<Write>,
    next: u64,
    durable: u64,
    is_writing: bool,
}

impl Group {
    fn write(&self, store: &dyn Candidate, writes: Vec<Write>) {
        let mut state = self.state.lock().expect("lock");
        state.pending.extend(writes);
        let mine = state.next;
        while state.durable <= mine {
            if state.is_writing {
                state = self.done.wait(state).expect("lock");
                continue;
            }
            state.is_writing = true;
            let pending = std::mem::take(&mut state.pending);
            state.next += 1;
            let group = state.next;
            drop(state);
            store.write(&pending);
            state = self.state.lock().expect("lock");
            state.is_writing = false;
            state.durable = group;
            self.done.notify_all();
        }
    }
}

fn update_of(store: &dyn Candidate, number: u64, version: u64, position: u64) -> Vec<Write> {
    let found = store.get(Tree::Documents, &number.to_be_bytes());
    assert!(found.is_some(), "document {number}");
    vec![
        put(Tree::Documents, number.to_be_bytes(), document(number, version)),
        put(Tree::Oplog, position.to_be_bytes(), &document(number, version)[..150]),
    ]
}

/// Load 3: single updates, durable, with their oplog entries; how many a second, and the p99.
fn updates(store: &dyn Candidate, count: u64) -> (f64, Duration) {
    let (group, position) = (Group::default(), AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(UPDATE_SECONDS);
    let client = |seed: u64| {
        let (mut state, mut took) = (step(seed + 1), Vec::new());
        while Instant::now() < end {
            state = step(state);
            let began = Instant::now();
            let at = position.fetch_add(1, Ordering::Relaxed);
            group.write(store, update_of(store, state % count, state, at));
            took.push(began.elapsed());
        }
        took
    };
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS as u64).map(|seed| scope.spawn(move || client(seed))).collect();
        clients.into_iter().flat_map(|client| client.join().expect("client")).collect()
    });
    took.sort_unstable();
    let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
    (took.len() as f64 / UPDATE_SECONDS as f64, p99)
}

/// Inserts in batches of 1,000 with an index key at random and an oplog entry each, as a client
/// loads a collection that has an index.
fn random_batches(store: &dyn Candidate, count: u64) -> f64 {
    let added = (count / 10).max(1_000);
    let began = Instant::now();
    for first in (count..count + added).step_by(1_000) {
        let mut batch = Vec::new();
        for number in first..first + 1_000 {
            let document = document(number, 0);
            batch.push(put(Tree::Index, index_key(number), []));
            batch.push(put(Tree::Oplog, (1 << 40 | number).to_be_bytes(), &document[..]));
            batch.push(put(Tree::Documents, number.to_be_bytes(), document));
        }
        store.write(&batch);
    }
    added as f64 * DOCUMENT_BYTES as f64 / 1e6 / began.elapsed().as_secs_f64()
}

/// Load 4: a moment is held while documents are rewritten at random, then read to its end.
fn held_reader(store: &dyn Candidate, count: u64, seconds: u64) {
    let held = store.hold();
    let expected = scan(store.hold().as_ref());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            let (mut state, mut written) = (7, 0);
            while !is_over.load(Ordering::Relaxed) {
                let batch: Vec<Write> = (0..1_000)
                    .map(|_| {
                        state = step(state);
                        let number = state % count;
                        put(Tree::Documents, number.to_be_bytes(), document(number, state))
                    })
                    .collect();
                store.write(&batch);
                written += batch.len() * DOCUMENT_BYTES;
                let due = written as f64 / (HELD_MEGABYTES_PER_SECOND as f64 * 1e6);
                std::thread::sleep(Duration::from_secs_f64(due).saturating_sub(began.elapsed()));
            }
        });
        std::thread::sleep(Duration::from_secs(seconds));
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(scan(held.as_ref()), expected, "the held moment changed");
}
