//! A second place for a vault: objects are copied as they are, under the same key.
//!
//! What is copied is proved to be whole on the way, in the order in which it was written: packs, index
//! objects, manifests. So the copy is a vault at every moment, and a copy that was interrupted goes on
//! where it was. What cannot be read is not copied, and whatever needs it is named.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemark_model::OplogSpan;

use crate::error::VaultError;
use crate::layout::{OPLOG, PACKS, segment_name};
use crate::locking::lock;
use crate::pack::{PackError, PackId, PackReader};
use crate::pack_index::IndexedPack;
use crate::parallel::in_parallel;
use crate::pass::ResealReport;
use crate::state::PackState;
use crate::vault::Vault;
use crate::writer::SnapshotWriter;

/// Segments are listed again so often where some were merged while they were copied.
const LISTS: usize = 5;
/// A pack is copied in pieces of this size.
const PIECE_BYTES: u64 = 4 * 1024 * 1024;

/// How a vault is copied.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopyOptions {
    /// Read back what was copied, and compare it with its names.
    pub verify: bool,
    /// Remove what the source does not have any more.
    pub remove_gone: bool,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CopyReport {
    /// Snapshots that the copy has now and had not before.
    pub snapshots: usize,
    /// Packs that were copied.
    pub packs: usize,
    /// Oplog segments that were copied.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Snapshots and segments that were removed from the copy.
    pub removed: usize,
    /// What could not be copied or is not whole in the copy, with the reason.
    pub failures: Vec<(String, String)>,
}

/// A copy that is being made.
struct Copying<'a> {
    source: &'a Vault,
    target: &'a Arc<Vault>,
    bytes: AtomicU64,
    report: Mutex<CopyReport>,
}

impl Vault {
    /// Copies to another vault with the same key what it lacks.
    pub fn copy_to(
        &self,
        target: &Arc<Self>,
        options: CopyOptions,
    ) -> Result<CopyReport, VaultError> {
        if !self.key.is_same(&target.key) {
            return Err(VaultError::WrongKey { path: target.root().to_owned() });
        }
        // What this one promised to keep, the second place keeps as well.
        self.load_promises()?;
        let hours = self.kept_for().as_secs() / 3_600;
        target.keep_for(u32::try_from(hours).unwrap_or(u32::MAX))?;
        let copying =
            Copying { source: self, target, bytes: AtomicU64::new(0), report: Mutex::default() };
        // Snapshots are listed first: what they need is older.
        let snapshots = self.snapshots()?;
        let writer = target.writer()?;
        let needed = copying.find_needed(&snapshots)?;
        let copied = copying.copy_packs(&needed)?;
        copying.copy_segments()?;
        copying.copy_manifests(&snapshots, &writer)?;
        if options.remove_gone {
            copying.remove_gone(&snapshots)?;
        }
        drop(writer);
        // What was copied before keys were rotated.
        if let Some(ResealReport { kept, .. }) = target.reseal(|| true)?
            && kept > 0
        {
            let told = format!("{kept} objects need an older key until their promise is over");
            copying.fail("the second place", told);
        }
        if options.verify {
            copying.verify(&copied)?;
        }
        if options.remove_gone {
            target.prune(Duration::ZERO)?;
        }
        let mut report = lock(&copying.report).clone();
        report.bytes = copying.bytes.load(Ordering::Relaxed);
        Ok(report)
    }
}

impl Copying<'_> {
    fn fail(&self, what: impl Into<String>, reason: impl ToString) {
        lock(&self.report).failures.push((what.into(), reason.to_string()));
    }

    /// The packs in which the chunks of snapshots are.
    fn find_needed(&self, snapshots: &[String]) -> Result<Vec<PackId>, VaultError> {
        let mut needed = HashSet::new();
        for snapshot in snapshots {
            match self.source.load_manifest(snapshot) {
                Ok(manifest) => self.source.note_packs(&manifest, &mut needed)?,
                // It was removed meanwhile.
                Err(VaultError::Missing { .. }) => {}
                Err(error @ VaultError::Damaged { .. }) => self.fail(snapshot, error),
                Err(error) => return Err(error),
            }
        }
        let state = self.source.state();
        let mut ids: Vec<PackId> = needed
            .iter()
            .filter_map(|number| state.packs.get(*number as usize))
            .filter(|pack| matches!(pack.state, PackState::Whole { .. }))
            .map(|pack| pack.id)
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Copies the packs that the target lacks; answers which.
    fn copy_packs(&self, needed: &[PackId]) -> Result<Vec<PackId>, VaultError> {
        let present = self.target.list_packs()?;
        let missing: Vec<PackId> =
            needed.iter().filter(|id| !present.contains_key(id)).copied().collect();
        let copied = Mutex::new(Vec::new());
        in_parallel(&missing, |id| {
            match self.copy_pack(*id) {
                Ok(pack) => lock(&copied).push(pack),
                Err(CopyError::Source(error)) if error.is_damage() => {
                    self.fail(id.object(), error);
                }
                Err(CopyError::Source(error)) => {
                    let failed = self.source.file_error(PACKS);
                    return Err(failed(std::io::Error::other(error)));
                }
                Err(CopyError::Target(error)) => return Err(self.target.file_error(PACKS)(error)),
            }
            Ok(())
        })?;
        let copied = copied.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Packs that an interrupted copy left are named, too.
        self.target.store_written(&copied)?;
        self.target.tidy_indexes()?;
        lock(&self.report).packs = copied.len();
        Ok(copied.iter().map(|pack| pack.id).collect())
    }

    fn copy_pack(&self, id: PackId) -> Result<IndexedPack, CopyError> {
        let source = self.source;
        let reader = PackReader::open(&source.key, source.store.as_ref(), id)?;
        reader.check_begin()?;
        reader.entries().iter().try_for_each(|entry| reader.check(entry))?;
        let mut object = self.target.store.create(&id.object()).map_err(CopyError::Target)?;
        let size = reader.stamp().size;
        let mut at = 0;
        while at < size {
            let length = PIECE_BYTES.min(size - at);
            let mut piece = vec![0; usize::try_from(length).unwrap_or_default()];
            reader.read_at(&mut piece, at)?;
            object.write(&piece).map_err(CopyError::Target)?;
            at += length;
        }
        if source.store.stamp(&id.object()).map_err(PackError::File)? != reader.stamp() {
            // It was sealed with another key meanwhile.
            return Err(CopyError::Source(std::io::Error::other("it was replaced").into()));
        }
        let stamp = object.finish().map_err(CopyError::Target)?;
        self.bytes.fetch_add(size, Ordering::Relaxed);
        let chunks = reader.names();
        Ok(IndexedPack { id, stamp: Some(stamp), chunks })
    }

    fn copy_segments(&self) -> Result<(), VaultError> {
        for _ in 0..LISTS {
            if self.copy_listed_segments()? {
                break;
            }
        }
        Ok(())
    }

    /// Copies the segments that the target lacks; answers whether all that were listed were there still.
    fn copy_listed_segments(&self) -> Result<bool, VaultError> {
        let mut is_whole = true;
        for instance in self.source.captured_instances()? {
            let present: BTreeSet<_> = self.target.segments(&instance)?.into_iter().collect();
            for name in self.source.segments(&instance)? {
                if present.contains(&name) {
                    continue;
                }
                match self.source.load_segment(&instance, name) {
                    Ok(segment) => self.target.put_segment(&instance, &segment)?,
                    // It was merged or removed meanwhile: another one may have it now.
                    Err(VaultError::Missing { .. }) => {
                        is_whole = false;
                        continue;
                    }
                    Err(error @ VaultError::Damaged { .. }) => {
                        self.fail(segment_name(&instance, name), error);
                        continue;
                    }
                    Err(error) => return Err(error),
                }
                lock(&self.report).segments += 1;
            }
        }
        Ok(is_whole)
    }

    fn copy_manifests(
        &self,
        snapshots: &[String],
        writer: &SnapshotWriter,
    ) -> Result<(), VaultError> {
        for snapshot in snapshots {
            if self.target.has_snapshot(snapshot)? {
                continue;
            }
            let manifest = match self.source.load_manifest(snapshot) {
                Ok(manifest) => manifest,
                // It was removed meanwhile, or told already.
                Err(VaultError::Missing { .. } | VaultError::Damaged { .. }) => continue,
                Err(error) => return Err(error),
            };
            match writer.store(&manifest) {
                Ok(()) => lock(&self.report).snapshots += 1,
                Err(error @ (VaultError::MissingChunk(_) | VaultError::Damaged { .. })) => {
                    self.fail(format!("snapshot {snapshot}"), error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes snapshots and segments that the source does not have.
    fn remove_gone(&self, snapshots: &[String]) -> Result<(), VaultError> {
        let kept: HashSet<&String> = snapshots.iter().collect();
        let mut removed = 0;
        for snapshot in self.target.snapshots()? {
            if !kept.contains(&snapshot) {
                removed += usize::from(is_removed(self.target.remove_manifest(&snapshot))?);
            }
        }
        for instance in self.target.captured_instances()? {
            let kept: BTreeSet<_> = self.source.segments(&instance)?.into_iter().collect();
            let present = self.target.segments(&instance)?;
            for name in &present {
                if !kept.contains(name) && !is_needed(*name, &kept, &present) {
                    removed +=
                        usize::from(is_removed(self.target.remove_segment(&instance, *name))?);
                }
            }
        }
        lock(&self.report).removed = removed;
        Ok(())
    }

    /// Reads back what was copied.
    fn verify(&self, copied: &[PackId]) -> Result<(), VaultError> {
        for id in copied {
            let number = self.target.state().numbers.get(id).copied();
            let Some(number) = number else { continue };
            self.target.check_pack(number, None)?;
            let mut state = self.target.state();
            let Some(pack) = state.pack(number) else { continue };
            let (is_whole, bad) = (matches!(pack.state, PackState::Whole { .. }), pack.bad.len());
            drop(state);
            if !is_whole || bad > 0 {
                self.fail(id.object(), format!("{bad} chunks of the copy are damaged"));
            }
        }
        for instance in self.target.captured_instances()? {
            for name in self.target.segments(&instance)? {
                if let Err(error) = self.target.load_segment(&instance, name) {
                    self.fail(format!("{OPLOG}/{instance}/{name}"), error);
                }
            }
        }
        Ok(())
    }
}

/// Whether entries of a segment that the source does not have any more are in another one of the
/// source, and in no other one of the copy: it was merged meanwhile.
fn is_needed(name: OplogSpan, kept: &BTreeSet<OplogSpan>, present: &[OplogSpan]) -> bool {
    let overlaps = |other: &OplogSpan| other.first < name.last && name.first < other.last;
    let covers =
        |other: &OplogSpan| *other != name && other.first <= name.first && name.last <= other.last;
    kept.iter().any(overlaps) && !present.iter().any(covers)
}

enum CopyError {
    Source(PackError),
    Target(std::io::Error),
}

impl From<PackError> for CopyError {
    fn from(error: PackError) -> Self {
        Self::Source(error)
    }
}

/// Whether something was removed, and not kept because that was promised.
fn is_removed(outcome: Result<(), VaultError>) -> Result<bool, VaultError> {
    match outcome {
        Err(VaultError::Kept { .. }) => Ok(false),
        outcome => outcome.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{is_restorable, key, overwrite, segment, snapshot};

    const VERIFIED: CopyOptions = CopyOptions { verify: true, remove_gone: false };

    #[test]
    fn a_copy_is_a_vault_and_what_it_has_is_not_copied_again() {
        let folder = tempfile::tempdir().unwrap();
        let source = Vault::open(&folder.path().join("source"), key()).unwrap();
        snapshot(&source, "one", 0..3_000).unwrap();
        source.put_segment("i", &segment(1, 1)).unwrap();
        source.put_segment("i", &segment(1, 5)).unwrap();
        let target = Vault::open(&folder.path().join("target"), key()).unwrap();
        let report = source.copy_to(&target, VERIFIED).unwrap();
        assert_eq!((report.snapshots, report.segments, &report.failures), (1, 2, &vec![]));
        assert!(report.packs > 0 && report.bytes > 0);
        snapshot(&source, "two", 2_000..4_000).unwrap();
        let report = source.copy_to(&target, VERIFIED).unwrap();
        assert_eq!((report.snapshots, report.segments), (1, 0));
        assert_eq!(source.copy_to(&target, VERIFIED).unwrap(), CopyReport::default());
        // It stands alone.
        drop((source, target));
        std::fs::remove_dir_all(folder.path().join("source")).unwrap();
        let copy = Vault::open(&folder.path().join("target"), key()).unwrap();
        assert!(is_restorable(&copy, "one") && is_restorable(&copy, "two"));
        assert_eq!(copy.segments("i").unwrap().len(), 2);
        assert_eq!(copy.verify().unwrap().damages, []);
    }

    #[test]
    fn what_the_source_lost_is_told_and_the_rest_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("source");
        let source = Vault::open(&root, key()).unwrap();
        snapshot(&source, "damaged", 0..3_000).unwrap();
        overwrite(&root, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
        snapshot(&source, "whole", 10_000..12_000).unwrap();
        let target = Vault::open(&folder.path().join("target"), key()).unwrap();
        let report = source.copy_to(&target, VERIFIED).unwrap();
        assert_eq!((report.snapshots, target.snapshots().unwrap()), (1, vec!["whole".to_owned()]));
        let told: Vec<_> = report.failures.iter().map(|(what, _)| what.as_str()).collect();
        assert!(told.iter().any(|what| what.starts_with("packs/")), "{told:?}");
        assert!(told.contains(&"snapshot damaged"), "{told:?}");
        assert_eq!(target.verify().unwrap().damages, []);
    }

    #[test]
    fn what_is_gone_goes_only_when_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let source = Vault::open(&folder.path().join("source"), key()).unwrap();
        snapshot(&source, "old", 0..2_000).unwrap();
        source.put_segment("i", &segment(1, 3)).unwrap();
        let target = Vault::open(&folder.path().join("target"), key()).unwrap();
        source.copy_to(&target, CopyOptions::default()).unwrap();
        source.remove_manifest("old").unwrap();
        source.remove_segment("i", segment(1, 3).name).unwrap();
        snapshot(&source, "new", 5_000..7_000).unwrap();
        let report = source.copy_to(&target, CopyOptions::default()).unwrap();
        assert_eq!((report.removed, target.snapshots().unwrap().len()), (0, 2));
        let packs = target.list_packs().unwrap().len();
        let mirror = CopyOptions { verify: false, remove_gone: true };
        let report = source.copy_to(&target, mirror).unwrap();
        assert_eq!((report.removed, target.snapshots().unwrap()), (2, vec!["new".to_owned()]));
        assert!(target.list_packs().unwrap().len() < packs);
        assert!(is_restorable(&target, "new"));
    }

    #[test]
    fn a_segment_that_was_merged_meanwhile_is_kept_until_the_copy_has_it() {
        let span = |first, last| segment(first, last).name;
        let kept = BTreeSet::from([span(1, 9)]);
        let small = [span(1, 5), span(5, 9)];
        assert!(small.iter().all(|name| is_needed(*name, &kept, &small)));
        let both = [span(1, 5), span(5, 9), span(1, 9)];
        assert!(small.iter().all(|name| !is_needed(*name, &kept, &both)));
        // One that was too old.
        assert!(!is_needed(span(1, 5), &BTreeSet::from([span(5, 9)]), &small));
    }

    #[test]
    fn another_key_or_the_same_place_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("source");
        let source = Vault::open(&root, key()).unwrap();
        snapshot(&source, "one", 0..100).unwrap();
        assert!(matches!(Vault::open(&root, key()), Err(VaultError::InUse { .. })));
        let other = crate::VaultKey::from_bytes([1; 32]);
        let target = Vault::open(&folder.path().join("other"), other).unwrap();
        assert!(matches!(
            source.copy_to(&target, CopyOptions::default()),
            Err(VaultError::WrongKey { .. })
        ));
    }
}
