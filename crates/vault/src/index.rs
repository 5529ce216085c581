//! Which chunk is where, for all chunks of a vault: 24 bytes each.
//!
//! A row is half of a chunk's name and its place in a pack; the rest is read from the pack's own
//! table when it is needed. Half a keyed BLAKE3 hash is enough to tell chunks apart: 128 bits.
//! Most rows lie sorted in one piece; what was added since waits beside them in a small tree.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use crate::digest::ChunkId;

/// Rows that wait before they are sorted in, where there are not more already.
const FEWEST_WAITING: usize = 1 << 14;
/// A share of the sorted rows may wait: sorting in costs a pass over all.
const WAITING_SHARE: usize = 16;

/// Half of a chunk's name.
pub(crate) type Name = [u8; 16];

/// Where a chunk is: the number of its pack among the packs of the vault, and its own in the pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) pack: u32,
    pub(crate) ordinal: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    name: Name,
    place: Place,
}

/// The index. A chunk may have several places.
#[derive(Debug, Default)]
pub(crate) struct Index {
    sorted: Vec<Row>,
    waiting: BTreeSet<Row>,
}

pub(crate) fn name_of(chunk: ChunkId) -> Name {
    let mut name = Name::default();
    name.iter_mut().zip(chunk.0).for_each(|(to, from)| *to = from);
    name
}

fn rows_of(name: Name) -> RangeInclusive<Row> {
    let row = |number| Row { name, place: Place { pack: number, ordinal: number } };
    row(0)..=row(u32::MAX)
}

impl Index {
    /// All places of a chunk.
    pub(crate) fn find(&self, chunk: ChunkId) -> Vec<Place> {
        let rows = rows_of(name_of(chunk));
        let begin = self.sorted.partition_point(|row| row < rows.start());
        let sorted = self.sorted.iter().skip(begin).take_while(|row| *row <= rows.end());
        sorted.chain(self.waiting.range(rows.clone())).map(|row| row.place).collect()
    }

    /// Adds the chunks of a pack, in the order in which they lie in it.
    pub(crate) fn insert(&mut self, pack: u32, chunks: impl IntoIterator<Item = Name>) {
        for (ordinal, name) in (0..).zip(chunks) {
            self.insert_place(name, Place { pack, ordinal });
        }
    }

    /// Adds the good ones of a pack's chunks; `sort` must follow before anything is looked for.
    pub(crate) fn append(&mut self, pack: u32, chunks: &[Name], is_good: impl Fn(u32) -> bool) {
        let rows = (0..).zip(chunks).filter(|(ordinal, _)| is_good(*ordinal));
        self.sorted.extend(
            rows.map(|(ordinal, name)| Row { name: *name, place: Place { pack, ordinal } }),
        );
    }

    /// Makes space for so many rows.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.sorted.reserve_exact(rows);
    }

    /// How many places there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.sorted.len() + self.waiting.len()
    }

    /// Sorts what was appended.
    pub(crate) fn sort(&mut self) {
        self.sorted.sort_unstable();
    }

    /// Adds one place of a chunk.
    pub(crate) fn insert_place(&mut self, name: Name, place: Place) {
        self.waiting.insert(Row { name, place });
        if self.waiting.len() > FEWEST_WAITING.max(self.sorted.len() / WAITING_SHARE) {
            self.sort_in();
        }
    }

    /// Merges what waits into what is sorted, from the end, without a second copy of either.
    fn sort_in(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let mut end = self.sorted.len();
        let Some(filler) = waiting.first().copied() else { return };
        self.sorted.reserve_exact(waiting.len());
        self.sorted.resize(end + waiting.len(), filler);
        let mut hole = self.sorted.len();
        for row in waiting.into_iter().rev() {
            while let Some(before) = end.checked_sub(1)
                && let Some(present) = self.sorted.get(before).copied()
                && present > row
            {
                hole -= 1;
                end = before;
                if let Some(slot) = self.sorted.get_mut(hole) {
                    *slot = present;
                }
            }
            hole -= 1;
            if let Some(slot) = self.sorted.get_mut(hole) {
                *slot = row;
            }
        }
    }

    /// Forgets the rows at these places.
    pub(crate) fn remove(&mut self, is_gone: impl Fn(Place) -> bool) {
        self.sorted.retain(|row| !is_gone(row.place));
        self.waiting.retain(|row| !is_gone(row.place));
    }

    /// Forgets one place of a chunk.
    pub(crate) fn remove_place(&mut self, name: Name, place: Place) {
        let row = Row { name, place };
        self.waiting.remove(&row);
        if let Ok(position) = self.sorted.binary_search(&row) {
            self.sorted.remove(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn chunk(number: u32) -> ChunkId {
        ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    #[test]
    fn many_chunks_take_24_bytes_each() {
        let mut index = Index::default();
        for pack in 0..200 {
            index.insert(pack, (0..1_000).map(|n| name_of(chunk(pack * 1_000 + n))));
        }
        assert_eq!(size_of::<Row>(), 24);
        assert!(index.sorted.capacity() + index.waiting.len() <= 220_000);
        for number in (0..200_000).step_by(77) {
            let place = Place { pack: number / 1_000, ordinal: number % 1_000 };
            assert_eq!(index.find(chunk(number)), [place]);
        }
        assert_eq!(index.find(chunk(200_000)), []);
    }

    proptest! {
        #[test]
        fn it_answers_what_a_map_answers(steps in proptest::collection::vec((0_u32..40, 0_u32..6, 0..10), 1..200)) {
            let mut index = Index::default();
            let mut model: HashMap<u32, BTreeSet<Place>> = HashMap::new();
            for (number, pack, kind) in steps {
                let place = Place { pack, ordinal: 0 };
                match kind {
                    0 => {
                        index.remove(|place| place.pack == pack);
                        model.values_mut().for_each(|places| places.retain(|place| place.pack != pack));
                    }
                    1 => {
                        index.remove_place(name_of(chunk(number)), place);
                        model.entry(number).or_default().remove(&place);
                    }
                    2 => index.sort_in(),
                    _ => {
                        let known = index.find(chunk(number)).contains(&place);
                        if !known {
                            index.insert_place(name_of(chunk(number)), place);
                        }
                        model.entry(number).or_default().insert(place);
                    }
                }
                for number in 0..40 {
                    let found: BTreeSet<Place> = index.find(chunk(number)).into_iter().collect();
                    prop_assert_eq!(&found, model.entry(number).or_default());
                }
            }
        }
    }
}
