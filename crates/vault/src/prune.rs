//! Removing packs that no snapshot needs.
//!
//! A pack goes only when it can be read, none of its chunks is named by any manifest, it is older
//! than the grace period, and no snapshot is being written: a running snapshot may rely on a chunk
//! that no manifest names yet. What cannot be read is unknown and stays. A crash in the middle
//! leaves fewer unused packs, never a missing used one.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use crate::digest::ChunkId;
use crate::error::VaultError;
use crate::layout::{PACKS, SNAPSHOTS};
use crate::list::ListItem;
use crate::manifest::Manifest;
use crate::pack::PackId;
use crate::state::PackState;
use crate::store::Stamp;
use crate::vault::Vault;

/// By so much the clocks of processes and of a store may differ.
const CLOCKS: Duration = Duration::from_hours(1);

/// What `prune` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneReport {
    /// A snapshot is being written; try again later.
    Busy,
    /// This many snapshots name chunks which the vault lacks; nothing was removed.
    Stopped(usize),
    /// This many packs were removed.
    Removed(usize),
}

/// How old packs must be.
#[derive(Clone, Copy)]
struct Age {
    least: Duration,
    /// They are older than what anybody is writing.
    before: Option<SystemTime>,
}

/// What all manifests need.
#[derive(Default)]
struct Needed {
    /// Those that were looked at, as they were: one that is taken again is another one.
    snapshots: HashSet<(String, Stamp)>,
    packs: HashSet<u32>,
    /// Parts of lists that were read; snapshots share most of them.
    parts: HashSet<ChunkId>,
    /// Parts that name chunks which the vault lacks, with their number.
    incomplete: std::collections::HashMap<ChunkId, usize>,
}

impl Vault {
    /// Removes packs that no snapshot needs and that are older than `grace`.
    ///
    /// A manifest that cannot be read stops it: what it names is unknown. So does a chunk that a
    /// manifest names and the vault lacks: the pack that had it may come back.
    pub fn prune(&self, grace: Duration) -> Result<PruneReport, VaultError> {
        self.prune_with(grace, CLOCKS)
    }

    /// The same where clocks differ by no more than `clocks`.
    pub(crate) fn prune_with(
        &self,
        grace: Duration,
        clocks: Duration,
    ) -> Result<PruneReport, VaultError> {
        let last_writer = {
            let state = self.state();
            if state.writers > 0 && !self.is_shared() {
                return Ok(PruneReport::Busy);
            }
            state.begun
        };
        // Another node may have promised more meanwhile.
        self.load_promises()?;
        self.extend_locks()?;
        let mut age = Age { least: grace.max(self.kept_for()), before: None };
        if self.is_shared() {
            self.finish_removals()?;
            age.before = self.oldest_writer(clocks)?;
        }
        self.remove_unneeded(last_writer, age)
    }

    /// Removes everything that no manifest names, whoever is writing.
    #[cfg(test)]
    pub(crate) fn prune_unprotected(&self) -> Result<PruneReport, VaultError> {
        let last_writer = self.state().begun;
        self.remove_unneeded(last_writer, Age { least: Duration::ZERO, before: None })
    }

    /// Removes packs of some age that no snapshot needs.
    fn remove_unneeded(&self, last_writer: u64, age: Age) -> Result<PruneReport, VaultError> {
        let mut needed = Needed::default();
        let lost = self.need_new(&mut needed)?;
        let count = lost.len();
        self.state().lost = lost;
        if count > 0 {
            return Ok(PruneReport::Stopped(count));
        }
        let old = self.old_packs(age)?;
        let Some(unused) = self.take_out_of_index(last_writer, &needed.packs, &old) else {
            return Ok(PruneReport::Busy);
        };
        if self.is_shared() && !unused.is_empty() {
            let removal = self.announce_removal(&unused)?;
            // Who stored a manifest before it could see that is seen now.
            match self.need_new(&mut needed) {
                Ok(lost) if lost.is_empty() => {}
                looked => {
                    // If this fails, too, whoever finds it later looks again.
                    self.withdraw_removal(&removal)?;
                    return looked.map(|_| PruneReport::Busy);
                }
            }
        }
        for id in &unused {
            let name = id.object();
            // One that stays is found by the next start, and removed by a later call.
            self.store.remove(&name).map_err(self.file_error(&name))?;
        }
        self.tidy_indexes()?;
        if !unused.is_empty() {
            self.store_checks()?;
        }
        Ok(PruneReport::Removed(unused.len()))
    }

    /// The snapshots that cannot be restored, with how many of their chunks are missing; one whose manifest
    /// cannot be read lacks one at least.
    pub(crate) fn find_lost(&self) -> Result<Vec<(String, usize)>, VaultError> {
        let (mut needed, mut lost) = (Needed::default(), Vec::new());
        for snapshot in self.snapshots()? {
            let missing = match self.missing_of(&snapshot, &mut needed) {
                Err(VaultError::Damaged { .. }) => 1,
                outcome => outcome?,
            };
            if missing > 0 {
                lost.push((snapshot, missing));
            }
        }
        Ok(lost)
    }

    /// Notes the packs that a snapshot needs; answers how many of its chunks are missing.
    fn missing_of(&self, snapshot: &str, needed: &mut Needed) -> Result<usize, VaultError> {
        match self.load_manifest(snapshot) {
            Ok(manifest) => self.need(&manifest, needed),
            // It was removed meanwhile.
            Err(VaultError::Missing { .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Notes the packs that snapshots need which were not looked at yet; answers those of which chunks
    /// are missing, with their number.
    fn need_new(&self, needed: &mut Needed) -> Result<Vec<(String, usize)>, VaultError> {
        let snapshots = self.store.list_objects(SNAPSHOTS).map_err(self.file_error(SNAPSHOTS))?;
        if self.is_shared() {
            // Whoever stored one of them had said before which packs it is in.
            self.refresh()?;
        }
        let mut lost = Vec::new();
        for listed in snapshots {
            let snapshot = listed.name;
            if !needed.snapshots.insert((snapshot.clone(), listed.stamp)) {
                continue;
            }
            let missing = self.missing_of(&snapshot, needed)?;
            if missing > 0 {
                lost.push((snapshot, missing));
            }
        }
        Ok(lost)
    }

    /// Notes the packs that a snapshot needs; answers how many of its chunks are missing.
    fn need(&self, manifest: &Manifest, needed: &mut Needed) -> Result<usize, VaultError> {
        let mut missing = 0;
        for item in manifest.items() {
            if let ListItem::Part(part) = item {
                if !needed.parts.insert(part.id) {
                    missing += needed.incomplete.get(&part.id).copied().unwrap_or(0);
                    continue;
                }
                missing += self.need_chunk(part.id, needed);
            }
            let chunks = match self.load_item(item) {
                Ok(chunks) => chunks,
                Err(VaultError::MissingChunk(_) | VaultError::Damaged { .. }) => {
                    missing += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let lost: usize = chunks.iter().map(|chunk| self.need_chunk(chunk.id, needed)).sum();
            if let (ListItem::Part(part), 1..) = (item, lost) {
                needed.incomplete.insert(part.id, lost);
            }
            missing += lost;
        }
        Ok(missing)
    }

    /// Notes the packs in which the chunks of a snapshot are, as far as the vault has them.
    pub(crate) fn note_packs(
        &self,
        manifest: &Manifest,
        packs: &mut HashSet<u32>,
    ) -> Result<(), VaultError> {
        let mut needed = Needed::default();
        self.need(manifest, &mut needed)?;
        packs.extend(needed.packs);
        Ok(())
    }

    /// Notes where a chunk is; answers 1 if it is nowhere.
    fn need_chunk(&self, chunk: ChunkId, needed: &mut Needed) -> usize {
        let places = self.places(chunk);
        needed.packs.extend(places.iter().map(|place| place.pack));
        usize::from(places.is_empty())
    }

    /// Forgets the packs that are not needed, unless somebody began to write since: from here on
    /// nobody refers to them. Their files are removed afterwards, while nothing is held.
    fn take_out_of_index(
        &self,
        last_writer: u64,
        needed: &HashSet<u32>,
        old: &HashSet<PackId>,
    ) -> Option<Vec<PackId>> {
        let mut state = self.state();
        if state.begun != last_writer && !self.is_shared() {
            return None;
        }
        let mut unused = Vec::new();
        let mut numbers = HashSet::new();
        for (number, pack) in (0..).zip(&mut state.packs) {
            let is_whole = matches!(pack.state, PackState::Whole { .. });
            if is_whole && !needed.contains(&number) && old.contains(&pack.id) {
                pack.state = PackState::Removed;
                unused.push(pack.id);
                numbers.insert(number);
            }
        }
        state.index.remove(|place| numbers.contains(&place.pack));
        state.condemned += 1;
        Some(unused)
    }

    /// The packs of some age. A clock that went back makes a pack look new, which keeps it.
    fn old_packs(&self, age: Age) -> Result<HashSet<PackId>, VaultError> {
        let listed = self.store.list_objects(PACKS).map_err(self.file_error(PACKS))?;
        let is_old = |written: SystemTime| {
            written.elapsed().is_ok_and(|elapsed| elapsed >= age.least)
                && age.before.is_none_or(|before| written <= before)
        };
        let old = listed.iter().filter(|pack| is_old(pack.written));
        Ok(old.filter_map(|pack| PackId::parse(&pack.name)).collect())
    }
}
