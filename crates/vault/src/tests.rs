//! What a vault promises, tried on real folders.

use std::time::Duration;

use bson::Bson;
use tidemark_model::{OplogSpan, OplogTime};

use crate::{
    ChunkList, ChunkRef, Chunker, CollectionManifest, DocumentSet, ListWriter, Manifest,
    OplogSegment, PruneReport, SnapshotMode, SnapshotOwner, Vault, VaultError, VaultKey,
};

fn document(n: u32) -> Vec<u8> {
    bson::doc! { "_id": i64::from(n), "text": n.to_string().repeat(20) }.to_vec().unwrap()
}

/// A segment with an entry that changes nothing at each of some seconds.
pub(crate) fn segment(first: u32, last: u32) -> OplogSegment {
    let position = |second| OplogTime::new(second, 1);
    let entries = (first..=last).flat_map(|second| {
        let ts = bson::Timestamp { time: second, increment: 1 };
        bson::doc! { "ts": ts, "op": "n", "ns": "" }.to_vec().unwrap()
    });
    OplogSegment {
        name: OplogSpan { first: position(first), last: position(last) },
        count: u64::from(last - first + 1),
        namespaces: Vec::new(),
        entries: entries.collect(),
    }
}

/// Takes a snapshot of some numbers.
pub(crate) fn snapshot(
    vault: &std::sync::Arc<Vault>,
    id: &str,
    numbers: std::ops::Range<u32>,
) -> Result<Manifest, VaultError> {
    let writer = vault.writer().unwrap();
    let (mut chunker, mut content, mut list) =
        (Chunker::new(), DocumentSet::default(), ListWriter::default());
    let mut put = |chunk: &crate::RawChunk| -> Result<(), VaultError> {
        let id = writer.put_chunk(chunk)?;
        let bytes = u32::try_from(chunk.bytes.len()).unwrap();
        let (first_id, last_id) = (Bson::Null, Bson::Null);
        let extent = crate::list::Extent::Unknown;
        let chunk = ChunkRef { id, documents: chunk.documents, bytes, first_id, last_id, extent };
        list.push(&writer, chunk)
    };
    for n in numbers {
        let document = document(n);
        content.add(&document);
        chunker.push(&document).iter().try_for_each(&mut put)?;
    }
    chunker.finish().iter().try_for_each(&mut put)?;
    let chunks = list.finish(&writer)?;
    let manifest = manifest(id, content, chunks);
    writer.finish(&manifest)?;
    Ok(manifest)
}

fn manifest(id: &str, content: DocumentSet, chunks: ChunkList) -> Manifest {
    Manifest {
        snapshot: id.into(),
        owner: SnapshotOwner {
            instance: "i".into(),
            instance_name: "one".into(),
            kind: "onDemand".into(),
            created_at: "2026-01-01T00:00:00Z".into(),
            expires_at: "2026-02-01T00:00:00Z".into(),
        },
        taken_at: "2026-01-01T00:00:00Z".into(),
        server_version: "7.0.12".into(),
        mode: SnapshotMode::AsIs,
        mode_reason: None,
        collections: vec![CollectionManifest {
            is_sorted: false,
            database: "d".into(),
            name: "c".into(),
            kind: "collection".into(),
            uuid: None,
            options: bson::Document::new(),
            indexes: Vec::new(),
            content,
            chunks,
        }],
        oplog: ChunkList::default(),
    }
}

pub(crate) fn key() -> VaultKey {
    VaultKey::from_bytes([9; 32])
}

#[test]
fn a_vault_is_read_again_with_its_key_only() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = snapshot(&Vault::open(folder.path(), key()).unwrap(), "one", 0..5_000).unwrap();
    let vault = Vault::open(folder.path(), key()).unwrap();
    assert_eq!(vault.load_manifest("one").unwrap(), manifest);
    vault.check_snapshot(&manifest, |_| true).unwrap();
    assert_eq!(vault.verify().unwrap().damages, []);
    drop(vault);
    let other = Vault::open(folder.path(), VaultKey::from_bytes([1; 32]));
    assert!(matches!(other, Err(VaultError::WrongKey { .. })));
}

#[test]
fn unchanged_data_is_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path(), key()).unwrap();
    snapshot(&vault, "one", 0..5_000).unwrap();
    let packs = vault.list_packs().unwrap();
    snapshot(&vault, "two", 0..5_000).unwrap();
    assert_eq!(vault.list_packs().unwrap(), packs);
}

#[test]
fn a_flipped_byte_anywhere_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = snapshot(&Vault::open(folder.path(), key()).unwrap(), "one", 0..300).unwrap();
    let mut files = vec![folder.path().join("snapshots/one")];
    files
        .extend(std::fs::read_dir(folder.path().join("packs")).unwrap().map(|f| f.unwrap().path()));
    for file in files {
        let whole = std::fs::read(&file).unwrap();
        for position in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
            let mut damaged = whole.clone();
            damaged[position] ^= 0x10;
            std::fs::write(&file, damaged).unwrap();
            let vault = Vault::open(folder.path(), key()).unwrap();
            let report = vault.verify().unwrap();
            assert!(!report.damages.is_empty(), "{} byte {position}", file.display());
            let restorable =
                vault.load_manifest("one").and_then(|m| vault.check_snapshot(&m, |_| true));
            assert!(restorable.is_err(), "{} byte {position}", file.display());
            let sealed = vault.load_manifest("one").and_then(|m| vault.check_seals(&m, || true));
            assert!(sealed.is_err(), "{} byte {position}", file.display());
        }
        std::fs::write(&file, whole).unwrap();
    }
    Vault::open(folder.path(), key()).unwrap().check_snapshot(&manifest, |_| true).unwrap();
}

#[test]
fn a_reader_does_not_disturb_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path(), key()).unwrap();
    let reader = Vault::open_to_read(folder.path(), key()).unwrap();
    let writer = vault.writer().unwrap();
    let chunk = crate::RawChunk { bytes: document(1), documents: 1 };
    writer.put_chunk(&chunk).unwrap();
    assert_eq!(Vault::open_to_read(folder.path(), key()).unwrap().verify().unwrap().damages, []);
    drop(writer);
    snapshot(&vault, "one", 0..300).unwrap();
    let report = reader.verify().unwrap();
    assert_eq!((report.snapshots, report.damages), (1, vec![]));
    assert!(Vault::open_to_read(&folder.path().join("nothing"), key()).is_err());
}

#[test]
fn pruning_removes_what_no_snapshot_needs_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path(), key()).unwrap();
    snapshot(&vault, "one", 0..1_000).unwrap();
    let kept = snapshot(&vault, "two", 5_000..6_000).unwrap();
    vault.remove_manifest("one").unwrap();
    assert_eq!(vault.prune(Duration::from_hours(1)).unwrap(), PruneReport::Removed(0));
    let writer = vault.writer().unwrap();
    assert_eq!(vault.prune(Duration::ZERO).unwrap(), PruneReport::Busy);
    drop(writer);
    assert_eq!(vault.prune(Duration::ZERO).unwrap(), PruneReport::Removed(1));
    vault.check_snapshot(&kept, |_| true).unwrap();
    assert_eq!(vault.verify().unwrap().damages, []);
}

/// Changes bytes in the middle of every pack, where chunks are; answers the packs' files.
pub(crate) fn overwrite(
    folder: &std::path::Path,
    change: impl Fn(&mut Vec<u8>),
) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let packs = std::fs::read_dir(folder.join("packs")).unwrap();
    let mut whole = Vec::new();
    for pack in packs {
        let path = pack.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        whole.push((path.clone(), bytes.clone()));
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
    }
    whole
}

pub(crate) fn is_restorable(vault: &Vault, id: &str) -> bool {
    vault.load_manifest(id).and_then(|m| vault.check_snapshot(&m, |_| true)).is_ok()
}

#[test]
fn a_pack_whose_table_cannot_be_read_is_kept_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path(), key()).unwrap();
    snapshot(&vault, "one", 0..1_000).unwrap();
    drop(vault);
    let whole = overwrite(folder.path(), |bytes| {
        let end = bytes.len() - 20;
        bytes[end] ^= 1;
    });
    let vault = Vault::open(folder.path(), key()).unwrap();
    assert_eq!(vault.prune(Duration::ZERO).unwrap(), PruneReport::Stopped(1));
    assert_eq!(vault.list_packs().unwrap().len(), whole.len());
    let health = vault.health();
    assert_eq!((health.unreadable_packs.len(), health.lost.len()), (whole.len(), 1));
    // Even where no manifest needs it: what it holds is unknown.
    vault.remove_manifest("one").unwrap();
    assert_eq!(vault.prune(Duration::ZERO).unwrap(), PruneReport::Removed(0));
    assert_eq!(vault.list_packs().unwrap().len(), whole.len());
    for (path, bytes) in whole {
        std::fs::write(path, bytes).unwrap();
    }
    snapshot(&vault, "two", 0..1_000).unwrap();
    vault.check_some(1_000_000_000).unwrap();
    assert!(vault.health().is_well(), "{:?}", vault.health());
    assert!(is_restorable(&vault, "two"));
}

#[test]
fn what_was_overwritten_is_stored_anew_by_the_next_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path(), key()).unwrap();
    snapshot(&vault, "one", 0..5_000).unwrap();
    overwrite(folder.path(), |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle..middle + 8].fill(0);
    });
    snapshot(&vault, "two", 0..5_000).unwrap();
    assert!(is_restorable(&vault, "two"));
    // The older one has the same content, and so it is whole again too.
    assert!(is_restorable(&vault, "one"));
    assert_eq!(vault.health().bad_chunks, 1);
    drop(vault);
    let vault = Vault::open(folder.path(), key()).unwrap();
    assert!(is_restorable(&vault, "one") && vault.health().bad_chunks == 1);
    vault.remove_manifest("one").unwrap();
    vault.prune(Duration::ZERO).unwrap();
    assert!(is_restorable(&vault, "two"));
}

#[test]
fn a_chunk_that_failed_once_is_never_referred_to_again() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path(), key()).unwrap();
    snapshot(&vault, "one", 0..5_000).unwrap();
    // As a disk loses bits: nothing but the content shows it.
    let stamps: Vec<_> = vault.state().packs.iter().map(|pack| pack.state.clone()).collect();
    overwrite(folder.path(), |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    for (pack, state) in vault.state().packs.iter_mut().zip(stamps) {
        let stamp = vault.store.stamp(&pack.id.object()).unwrap();
        pack.state = state;
        if let crate::state::PackState::Whole { stamp: known } = &mut pack.state {
            *known = Some(stamp);
        }
    }
    assert!(!is_restorable(&vault, "one"));
    assert_eq!(vault.health().bad_chunks, 1);
    drop(vault);
    let vault = Vault::open(folder.path(), key()).unwrap();
    assert_eq!(vault.health().bad_chunks, 1, "it is remembered");
    assert!(matches!(vault.prune(Duration::ZERO).unwrap(), PruneReport::Stopped(1)));
    assert_eq!(vault.health().lost, [("one".to_owned(), 1)]);
    snapshot(&vault, "two", 0..5_000).unwrap();
    assert!(is_restorable(&vault, "two") && is_restorable(&vault, "one"));
}

#[test]
fn checks_in_the_background_find_what_nobody_reads() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path(), key()).unwrap();
    snapshot(&vault, "one", 0..5_000).unwrap();
    let day = |n: i64| 1_800_000_000 + n * 86_400;
    let survey = vault.survey().unwrap();
    assert_eq!((survey.packs, survey.packs_unread, survey.read_since), (1, 1, None));
    assert_eq!(vault.check_some(day(0)).unwrap(), 1);
    let survey = vault.survey().unwrap();
    assert_eq!((survey.packs_unread, survey.read_since), (0, Some(day(0))));
    assert!(survey.is_well());
    assert_eq!(vault.check_some(day(0) + 60).unwrap(), 0, "its share of the day is read");
    overwrite(folder.path(), |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    assert_eq!(vault.check_some(day(1) + 1).unwrap(), 1);
    assert_eq!(vault.health().bad_chunks, 1);
    assert_eq!(vault.survey().unwrap().lost, [("one".to_owned(), 1)]);
}

#[test]
fn a_manifest_is_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path(), key()).unwrap();
    let first = snapshot(&vault, "one", 0..300).unwrap();
    let writer = vault.writer().unwrap();
    let other = manifest("one", DocumentSet::default(), ChunkList::default());
    assert!(matches!(writer.finish(&other), Err(VaultError::Exists { .. })));
    assert_eq!(vault.load_manifest("one").unwrap(), first);
    // A manifest under another's name is not that one's.
    std::fs::copy(folder.path().join("snapshots/one"), folder.path().join("snapshots/two"))
        .unwrap();
    assert!(matches!(vault.load_manifest("two"), Err(VaultError::Damaged { .. })));
}

#[test]
fn a_vault_has_one_writer_and_its_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("vault");
    let vault = Vault::open(&root, key()).unwrap();
    snapshot(&vault, "one", 0..300).unwrap();
    assert!(matches!(Vault::open(&root, key()), Err(VaultError::InUse { .. })));
    let pack = std::fs::read_dir(root.join("packs")).unwrap().next().unwrap().unwrap().path();
    for (path, wanted) in [
        (root.clone(), 0o700),
        (root.join("packs"), 0o700),
        (root.join("snapshots"), 0o700),
        (pack, 0o600),
        (root.join("snapshots/one"), 0o600),
        (root.join("config"), 0o600),
    ] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, wanted, "{}", path.display());
    }
    drop(vault);
    Vault::open(&root, key()).unwrap();
}

#[test]
fn a_pipe_in_the_vault_hangs_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path(), key()).unwrap();
    snapshot(&vault, "one", 0..300).unwrap();
    drop(vault);
    for name in ["packs/00000000000000000000000000000000", "snapshots/aaaaaaaaaaaaaaaaaaaaaaaa"] {
        let path = folder.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).unwrap();
    }
    let vault = Vault::open(folder.path(), key()).unwrap();
    assert_eq!(vault.verify().unwrap().damages.len(), 2);
}

#[test]
fn a_long_list_is_cut_into_parts_that_snapshots_share() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(folder.path(), key()).unwrap();
    let list = |changed: u32| {
        let writer = vault.writer().unwrap();
        let mut list = ListWriter::default();
        for n in 0..20_000_u32 {
            let seed = [n, u32::from(n == changed)];
            let id = vault.name_chunk(&seed.map(u32::to_le_bytes).concat());
            let (first_id, last_id) = (Bson::Int64(i64::from(n)), Bson::Null);
            let extent = crate::list::Extent::Ends;
            let chunk = ChunkRef { id, documents: 1, bytes: 9, first_id, last_id, extent };
            list.push(&writer, chunk).unwrap();
        }
        let list = list.finish(&writer).unwrap();
        // Its chunks are in no pack; its parts are.
        assert!(writer.finish(&manifest("x", DocumentSet::default(), list.clone())).is_err());
        list
    };
    let (one, two) = (list(u32::MAX), list(7_777));
    assert!((10..100).contains(&one.items.len()), "{}", one.items.len());
    let shared = one.items.iter().filter(|item| two.items.contains(item)).count();
    assert!(shared + 2 >= one.items.len(), "{shared} of {}", one.items.len());
    let mut count = 0;
    vault
        .for_each_chunk(&one, |chunk| {
            assert_eq!(chunk.first_id, Bson::Int64(count));
            count += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(count, 20_000);
}
