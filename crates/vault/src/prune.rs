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
use crate::layout::PACKS;
use crate::list::ListItem;
use crate::manifest::Manifest;
use crate::pack::PackId;
use crate::state::PackState;
use crate::vault::Vault;

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

/// What all manifests need.
#[derive(Default)]
struct Needed {
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
        let last_writer = {
            let state = self.state();
            if state.writers > 0 {
                return Ok(PruneReport::Busy);
            }
            state.begun
        };
        let mut needed = Needed::default();
        let mut lost = Vec::new();
        for snapshot in self.snapshots()? {
            let missing = match self.load_manifest(&snapshot) {
                Ok(manifest) => self.need(&manifest, &mut needed)?,
                // It was removed meanwhile.
                Err(VaultError::Missing { .. }) => 0,
                Err(error) => return Err(error),
            };
            if missing > 0 {
                lost.push((snapshot, missing));
            }
        }
        let count = lost.len();
        self.state().lost = lost;
        if count > 0 {
            return Ok(PruneReport::Stopped(count));
        }
        let old = self.old_packs(grace)?;
        let Some(unused) = self.take_out_of_index(last_writer, &needed.packs, &old) else {
            return Ok(PruneReport::Busy);
        };
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
        if state.begun != last_writer {
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
        Some(unused)
    }

    /// The packs that were written longer ago than `grace`. A clock that went back makes a pack look
    /// new, which keeps it.
    fn old_packs(&self, grace: Duration) -> Result<HashSet<PackId>, VaultError> {
        let listed = self.store.list_objects(PACKS).map_err(self.file_error(PACKS))?;
        let is_old = |written: SystemTime| written.elapsed().is_ok_and(|age| age >= grace);
        let old = listed.iter().filter(|pack| is_old(pack.written));
        Ok(old.filter_map(|pack| PackId::parse(&pack.name)).collect())
    }
}
