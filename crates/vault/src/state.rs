//! What a process knows of the packs of a vault.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::index::{Index, Name, Place};
use crate::pack::PackId;
use crate::pack_index::IndexedPack;
use crate::store::Stamp;

/// What is known of a pack.
pub(crate) struct Pack {
    pub(crate) id: PackId,
    pub(crate) state: PackState,
    /// Whether an index object names it.
    pub(crate) is_indexed: bool,
    /// Chunks that could not be read, by their number in the pack. Nobody refers to them again.
    pub(crate) bad: BTreeSet<u32>,
    /// When all of it was read last, in seconds since the epoch; zero for never.
    pub(crate) checked_at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PackState {
    /// Its table is in the index.
    Whole {
        /// What its file was like when it was written or read as a whole. A file that is not like
        /// that any more, or `None`, is read again before a new snapshot refers to it.
        stamp: Option<Stamp>,
    },
    /// It cannot be read, so what it holds is unknown; it is kept.
    Unreadable(String),
    /// No snapshot needs it.
    Removed,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) index: Index,
    /// By number; a number is never used again.
    pub(crate) packs: Vec<Pack>,
    /// The number of each pack.
    pub(crate) numbers: HashMap<PackId, u32>,
    /// The index objects that were read or written.
    pub(crate) known_indexes: HashSet<String>,
    /// Packs that are being removed, by the object that says so.
    pub(crate) removals: HashMap<String, Vec<PackId>>,
    /// How often packs were taken out of the index to be removed.
    pub(crate) condemned: u64,
    pub(crate) writers: usize,
    /// How many writers there have ever been.
    pub(crate) begun: u64,
    /// Snapshots of which chunks are missing, as the last look at all manifests found it.
    pub(crate) lost: Vec<(String, usize)>,
}

impl State {
    /// Adds a pack that is not known yet.
    pub(crate) fn add_pack(&mut self, pack: Pack) -> u32 {
        let number = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
        self.numbers.insert(pack.id, number);
        self.packs.push(pack);
        number
    }

    /// Adds a pack that was just written, by this process or another.
    pub(crate) fn add_written(&mut self, pack: &IndexedPack) {
        let is_condemned = self.is_condemned(pack.id);
        let state =
            if is_condemned { PackState::Removed } else { PackState::Whole { stamp: pack.stamp } };
        let bad = BTreeSet::new();
        let number =
            self.add_pack(Pack { id: pack.id, state, is_indexed: true, bad, checked_at: 0 });
        if !is_condemned {
            self.index.insert(number, pack.chunks.iter().copied());
        }
    }

    /// Whether a pack is being removed.
    pub(crate) fn is_condemned(&self, id: PackId) -> bool {
        self.removals.values().any(|packs| packs.contains(&id))
    }

    /// Nobody refers to these packs any more.
    pub(crate) fn condemn(&mut self, removal: &str, packs: Vec<PackId>) {
        let numbers: HashSet<u32> =
            packs.iter().filter_map(|id| self.numbers.get(id).copied()).collect();
        for number in &numbers {
            if let Some(pack) = self.pack(*number) {
                pack.state = PackState::Removed;
            }
        }
        if !numbers.is_empty() {
            self.index.remove(|place| numbers.contains(&place.pack));
        }
        self.removals.insert(removal.to_owned(), packs);
        self.condemned += 1;
    }

    pub(crate) fn pack(&mut self, number: u32) -> Option<&mut Pack> {
        self.packs.get_mut(number as usize)
    }

    /// Takes the chunks that are known to be bad out of the index.
    pub(crate) fn forget_bad(&mut self, number: u32, chunks: &[Name], bad: &BTreeSet<u32>) {
        for ordinal in bad {
            if let Some(name) = chunks.get(*ordinal as usize) {
                let place = Place { pack: number, ordinal: *ordinal };
                self.index.remove_place(*name, place);
            }
        }
    }
}
