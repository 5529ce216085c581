//! Reading everything back, to name what is damaged before it is needed.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::digest::{ChunkId, DocumentSet};
use crate::manifest::{ChunkRef, Manifest};
use crate::pack::PackReader;
use crate::vault::{Vault, VaultError};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The object: a file, or a snapshot by its id.
    pub object: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What `verify` read and found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Snapshots that were read.
    pub snapshots: usize,
    /// Chunks that were read.
    pub chunks: usize,
    /// Oplog segments that were read.
    pub segments: usize,
    /// What is damaged.
    pub damages: Vec<Damage>,
}

impl VerifyReport {
    fn note(&mut self, object: impl Into<String>, reason: impl ToString) {
        self.damages.push(Damage { object: object.into(), reason: reason.to_string() });
    }
}

impl Vault {
    /// Reads every pack, chunk, manifest and segment, and says what is damaged.
    ///
    /// Another process may write meanwhile: the snapshots are listed before the packs, which are
    /// older, and what was removed since is passed over. Fails only when a folder cannot be listed.
    pub fn verify(&self) -> Result<VerifyReport, VaultError> {
        let snapshots = self.snapshots()?;
        self.load_index()?;
        let mut report = VerifyReport::default();
        for (path, reason) in self.damaged_packs() {
            report.note(path.display().to_string(), reason);
        }
        let broken = self.verify_packs(&mut report)?;
        for snapshot in snapshots {
            match self.load_manifest(&snapshot) {
                Ok(manifest) => self.verify_references(&manifest, &broken, &mut report),
                Err(VaultError::Missing { .. }) => continue,
                Err(error) => report.note(format!("snapshot {snapshot}"), error),
            }
            report.snapshots += 1;
        }
        for instance in self.captured_instances()? {
            for name in self.segments(&instance)? {
                match self.load_segment(&instance, name) {
                    Ok(_) => {}
                    Err(VaultError::Missing { .. }) => continue,
                    Err(error) => report.note(format!("oplog segment {instance}/{name}"), error),
                }
                report.segments += 1;
            }
        }
        Ok(report)
    }

    /// Reads all packs; returns the chunks that cannot be read.
    fn verify_packs(&self, report: &mut VerifyReport) -> Result<HashSet<ChunkId>, VaultError> {
        let known: HashSet<PathBuf> =
            self.damaged_packs().into_iter().map(|(path, _)| path).collect();
        let mut broken = HashSet::new();
        for pack in self.packs()? {
            let path = self.pack_path(pack);
            let object = path.display().to_string();
            if known.contains(&path) {
                continue;
            }
            let opened = PackReader::open(&self.key, &path, pack)
                .and_then(|mut reader| Ok((reader.table()?, reader)));
            let (table, reader) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    report.note(object, error);
                    continue;
                }
            };
            for entry in table {
                report.chunks += 1;
                let is_whole = match reader.chunk(&entry) {
                    Ok(raw) => self.name_chunk(&raw) == entry.id,
                    Err(_) => false,
                };
                if !is_whole {
                    broken.insert(entry.id);
                    report.note(
                        object.clone(),
                        format!("chunk {} at byte {} is damaged", entry.id, entry.offset),
                    );
                }
            }
        }
        Ok(broken)
    }

    fn verify_references(
        &self,
        manifest: &Manifest,
        broken: &HashSet<ChunkId>,
        report: &mut VerifyReport,
    ) {
        let is_lost = |id: ChunkId| broken.contains(&id) || self.locate(id).is_err();
        let lost = manifest.chunks().filter(|chunk| is_lost(chunk.id)).count();
        if lost > 0 {
            let reason =
                format!("{lost} of its chunks are damaged or missing; it cannot be restored");
            report.note(format!("snapshot {}", manifest.snapshot), reason);
        }
    }

    /// Reads all chunks of one snapshot and compares them with what the manifest says of them.
    ///
    /// After each chunk `goes_on` is asked; `false` ends the reading early without an error.
    pub fn check_snapshot(
        &self,
        manifest: &Manifest,
        goes_on: impl Fn(u64) -> bool + Sync,
    ) -> Result<(), VaultError> {
        for collection in &manifest.collections {
            let Some(content) = self.read_content(&collection.chunks, &goes_on)? else {
                return Ok(());
            };
            if content != collection.content {
                return Err(VaultError::Damaged {
                    path: self.root.join("snapshots").join(&manifest.snapshot),
                    reason: format!(
                        "{} does not hold what the manifest says",
                        collection.namespace()
                    ),
                });
            }
        }
        for chunk in &manifest.oplog {
            self.read_chunk(chunk.id)?;
        }
        Ok(())
    }

    /// What chunks hold, read on all cores; `None` when told not to go on.
    fn read_content(
        &self,
        chunks: &[ChunkRef],
        goes_on: &(impl Fn(u64) -> bool + Sync),
    ) -> Result<Option<DocumentSet>, VaultError> {
        let next = AtomicUsize::new(0);
        let is_over = AtomicBool::new(false);
        let read_some = || -> Result<DocumentSet, VaultError> {
            let mut content = DocumentSet::default();
            while !is_over.load(Ordering::Relaxed)
                && let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed))
            {
                let raw = self.read_chunk(chunk.id).inspect_err(|_| {
                    is_over.store(true, Ordering::Relaxed);
                })?;
                if !goes_on(raw.len() as u64) {
                    is_over.store(true, Ordering::Relaxed);
                }
                add_documents(&mut content, &raw);
            }
            Ok(content)
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads = cores.min(chunks.len().max(1));
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(read_some)).collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        let mut content = DocumentSet::default();
        for outcome in outcomes {
            content.merge(&outcome?);
        }
        Ok((!is_over.load(Ordering::Relaxed)).then_some(content))
    }
}

/// Adds the documents of a chunk; bytes that are none are left out, and so the sets differ.
fn add_documents(content: &mut DocumentSet, chunk: &[u8]) {
    let mut rest = chunk;
    while let Some(length) = rest.first_chunk::<4>() {
        let length = usize::try_from(i32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let Some((document, after)) = rest.split_at_checked(length.max(5)) else {
            break;
        };
        content.add(document);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bson::Bson;

    use super::*;
    use crate::{ChunkRef, Chunker, CollectionManifest, PruneReport, SnapshotMode, VaultKey};

    fn document(n: u32) -> Vec<u8> {
        bson::doc! { "_id": i64::from(n), "text": n.to_string().repeat(20) }.to_vec().unwrap()
    }

    fn snapshot(
        vault: &std::sync::Arc<Vault>,
        id: &str,
        numbers: std::ops::Range<u32>,
    ) -> Manifest {
        let writer = vault.writer();
        let (mut chunker, mut content, mut chunks) =
            (Chunker::new(), DocumentSet::default(), Vec::new());
        let mut put = |chunk: &crate::RawChunk| {
            let id = writer.put_chunk(chunk).unwrap();
            let bytes = u32::try_from(chunk.bytes.len()).unwrap();
            chunks.push(ChunkRef {
                id,
                documents: chunk.documents,
                bytes,
                first_id: Bson::Null,
                last_id: Bson::Null,
            });
        };
        for n in numbers {
            let document = document(n);
            content.add(&document);
            chunker.push(&document).iter().for_each(&mut put);
        }
        chunker.finish().iter().for_each(&mut put);
        let manifest = Manifest {
            snapshot: id.into(),
            instance: "i".into(),
            taken_at: "2026-01-01T00:00:00Z".into(),
            server_version: "7.0.12".into(),
            mode: SnapshotMode::AsIs,
            collections: vec![CollectionManifest {
                database: "d".into(),
                name: "c".into(),
                kind: "collection".into(),
                uuid: None,
                options: bson::Document::new(),
                indexes: Vec::new(),
                content,
                chunks,
            }],
            oplog: Vec::new(),
        };
        writer.finish(&manifest).unwrap();
        manifest
    }

    fn key() -> VaultKey {
        VaultKey::from_bytes([9; 32])
    }

    #[test]
    fn a_vault_is_read_again_with_its_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = snapshot(&Vault::open(folder.path(), key()).unwrap(), "one", 0..5_000);
        let vault = Vault::open(folder.path(), key()).unwrap();
        assert_eq!(vault.load_manifest("one").unwrap(), manifest);
        vault.check_snapshot(&manifest, |_| true).unwrap();
        assert_eq!(vault.verify().unwrap().damages, []);
        let other = Vault::open(folder.path(), VaultKey::from_bytes([1; 32]));
        assert!(matches!(other, Err(VaultError::WrongKey { .. })));
    }

    #[test]
    fn unchanged_data_is_stored_once() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path(), key()).unwrap();
        snapshot(&vault, "one", 0..5_000);
        let packs = vault.packs().unwrap();
        snapshot(&vault, "two", 0..5_000);
        assert_eq!(vault.packs().unwrap(), packs);
    }

    #[test]
    fn a_flipped_byte_anywhere_is_found_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = snapshot(&Vault::open(folder.path(), key()).unwrap(), "one", 0..300);
        let mut files = vec![folder.path().join("snapshots/one")];
        files.extend(
            std::fs::read_dir(folder.path().join("packs")).unwrap().map(|f| f.unwrap().path()),
        );
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
        let writer = vault.writer();
        let chunk = crate::RawChunk { bytes: document(1), documents: 1 };
        writer.put_chunk(&chunk).unwrap();
        assert_eq!(
            Vault::open_to_read(folder.path(), key()).unwrap().verify().unwrap().damages,
            []
        );
        drop(writer);
        snapshot(&vault, "one", 0..300);
        let report = reader.verify().unwrap();
        assert_eq!((report.snapshots, report.damages), (1, vec![]));
        assert!(Vault::open_to_read(&folder.path().join("nothing"), key()).is_err());
    }

    #[test]
    fn pruning_removes_what_no_snapshot_needs_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path(), key()).unwrap();
        snapshot(&vault, "one", 0..1_000);
        let kept = snapshot(&vault, "two", 5_000..6_000);
        vault.remove_manifest("one").unwrap();
        assert_eq!(vault.prune(Duration::from_hours(1)).unwrap(), PruneReport::Removed(0));
        let writer = vault.writer();
        assert_eq!(vault.prune(Duration::ZERO).unwrap(), PruneReport::Busy);
        drop(writer);
        assert_eq!(vault.prune(Duration::ZERO).unwrap(), PruneReport::Removed(1));
        vault.check_snapshot(&kept, |_| true).unwrap();
        assert_eq!(vault.verify().unwrap().damages, []);
    }
}
