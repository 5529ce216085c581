//! What a vault in a bucket costs: requests, counted at a server that we did not write.

use std::sync::Arc;

use crate::cache::CachePlace;
use crate::store::test_servers::{Server, all_programs, programs};
use crate::tests::{is_restorable, key, snapshot};
use crate::{RequestKind, Vault, VaultKey};

fn requests(vault: &Vault) -> u64 {
    vault.requests().iter().map(|(_, count)| count).sum()
}

fn open(server: &Server, folder: &std::path::Path) -> Arc<Vault> {
    open_with(server, folder, &key())
}

fn open_with(server: &Server, folder: &std::path::Path, key: &VaultKey) -> Arc<Vault> {
    let place = CachePlace { folder: folder.join("cache"), limit_bytes: 64 << 20 };
    Vault::open_in((server.location(), Box::new(server.store())), key.clone(), Some(place)).unwrap()
}

#[test]
fn keys_are_rotated_in_a_bucket_while_others_have_read_it() {
    for program in all_programs() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(&program);
        let prepared = key().prepared();
        let other = open_with(&server, &folder.path().join("other"), &prepared);
        snapshot(&other, "one", 0..60_000).unwrap();
        assert!(is_restorable(&other, "one"));
        let rotated = prepared.rotated();
        let vault = open_with(&server, folder.path(), &rotated);
        let report = vault.reseal(|| true).unwrap().unwrap();
        assert!(report.resealed > 3 && report.failed == 0, "{report:?}");
        assert_eq!(vault.count_old().unwrap(), []);
        // It has tables, blocks and windows of before.
        assert!(is_restorable(&other, "one"));
        let before = requests(&other);
        snapshot(&other, "two", 0..60_000).unwrap();
        let again = requests(&other) - before;
        assert!(again <= 20, "packs were read again: {again} requests");
        assert!(other.health().is_well() && is_restorable(&other, "two"));
        // A start with the new key alone reads index objects and no table.
        let last = open_with(&server, &folder.path().join("last"), &rotated.without_old());
        assert!(requests(&last) <= 20, "{:?}", last.requests());
        assert!(is_restorable(&last, "one"));
        let damages = last.verify().unwrap().damages;
        // What the other one wrote meanwhile has the old key still.
        assert!(damages.iter().all(|damage| damage.object.contains("two")), "{damages:?}");
    }
}

#[test]
fn a_snapshot_of_what_did_not_change_costs_a_few_requests() {
    for program in programs() {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(&program);
        let vault = open(&server, folder.path());
        // Some hundred chunks, in parts of lists, in packs of two snapshots.
        snapshot(&vault, "one", 0..60_000).unwrap();
        snapshot(&vault, "two", 0..100_000).unwrap();
        let before = requests(&vault);
        snapshot(&vault, "three", 0..100_000).unwrap();
        let (again, packs) = (requests(&vault) - before, vault.list_packs().unwrap().len());
        println!("{}: {again} requests, {packs} packs", program.display());
        assert!(again <= 12, "{again} requests for {packs} packs: {:?}", vault.requests());
        assert!(is_restorable(&vault, "three"));
        // Another process starts: it reads index objects, and lists.
        let other = open(&server, &folder.path().join("other"));
        let start = requests(&other);
        assert!(start <= 20, "{start} requests");
        let before = requests(&other);
        snapshot(&other, "four", 0..100_000).unwrap();
        let first = requests(&other) - before;
        assert!(first <= 30 + 3 * packs as u64, "{first} requests: {:?}", other.requests());
        let puts = |vault: &Vault| {
            let counted = vault.requests();
            counted.iter().find(|(kind, _)| *kind == RequestKind::Put).unwrap().1
        };
        assert!(puts(&other) <= 3, "who writes, the manifest, what is known of packs");
        assert_eq!(other.verify().unwrap().damages, []);
    }
}
