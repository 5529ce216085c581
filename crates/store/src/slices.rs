//! The oplog is a ring of trees, each of which holds the entries of a time.
//!
//! Entries are appended to the newest tree; when it is full, the next free one is begun. Forgetting
//! the oldest entries means emptying the oldest tree: LMDB then reads its branch pages only. Taking
//! entries one by one would read and copy every page of them, long after the system has dropped
//! these from memory.
//!
//! The list of trees in use stands in the file, so it changes with the entries, and a moment has
//! its own.

/// How many trees the ring has.
pub(crate) const RING: usize = 192;
/// A tree is full at this size, and at more while many are in use. Its pages become one record of
/// LMDB's list of free pages, which commits write again until it is used up.
const SLICE_BYTES: u64 = 16 << 20;
/// So many more trees in use let the next one be twice as large.
const GROWS_EACH: usize = 32;
/// A tree that was begun so long ago is full too, so that old entries do not wait for new ones.
const SLICE_SECONDS: u32 = 60 * 60;
/// The length of the keys of entries; the first four are seconds.
pub(crate) const KEY_BYTES: usize = 8;
/// A slice in the list: number of the tree, first key, bytes once it is full.
const RECORD_BYTES: usize = 1 + KEY_BYTES + 8;

/// A tree of the ring that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    /// Which tree.
    pub(crate) tree: u8,
    /// Its first key.
    pub(crate) first: [u8; KEY_BYTES],
    /// What it took when the next one was begun; 0 for the newest.
    pub(crate) bytes: u64,
}

/// The trees in use, from the oldest to the newest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Slices(Vec<Slice>);

impl Slices {
    /// Reads the list; `None` if it is damaged.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let record = |record: &[u8]| {
            let (tree, rest) = record.split_first()?;
            let (first, bytes) = rest.split_first_chunk::<KEY_BYTES>()?;
            let bytes = u64::from_be_bytes(bytes.try_into().ok()?);
            (usize::from(*tree) < RING).then_some(Slice { tree: *tree, first: *first, bytes })
        };
        bytes.chunks(RECORD_BYTES).map(record).collect::<Option<_>>().map(Self)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let record = |slice: &Slice| {
            [[slice.tree].as_slice(), &slice.first, &slice.bytes.to_be_bytes()].concat()
        };
        self.0.iter().flat_map(record).collect()
    }

    pub(crate) fn newest(&self) -> Option<Slice> {
        self.0.last().copied()
    }

    /// What all but the newest take.
    pub(crate) fn full_bytes(&self) -> u64 {
        self.0.iter().map(|slice| slice.bytes).sum()
    }

    /// Begins a tree at a key if the newest one, which takes `bytes`, is full and another is free.
    /// Answers whether it did.
    pub(crate) fn begin(&mut self, first: [u8; KEY_BYTES], bytes: u64) -> bool {
        let is_old = |slice: &Slice| seconds(first) >= seconds(slice.first) + SLICE_SECONDS;
        let most = SLICE_BYTES << (self.0.len() / GROWS_EACH);
        if self.0.last().is_some_and(|newest| bytes < most && !is_old(newest)) {
            return false;
        }
        let is_free = |tree: &u8| self.0.iter().all(|slice| slice.tree != *tree);
        let Some(tree) = (0..RING).filter_map(|tree| u8::try_from(tree).ok()).find(is_free) else {
            return false;
        };
        if let Some(full) = self.0.last_mut() {
            full.bytes = bytes;
        }
        self.0.push(Slice { tree, first, bytes: 0 });
        true
    }

    /// Takes the oldest tree out of the list if all its keys are below `key`; never the newest.
    pub(crate) fn take_before(&mut self, key: &[u8]) -> Option<Slice> {
        let next = self.0.get(1)?;
        (next.first.as_slice() <= key).then(|| self.0.remove(0))
    }

    /// The trees that may hold keys from `from` on, below `to`.
    pub(crate) fn within(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = Slice> {
        let ends = |position: usize| self.0.get(position + 1).map(|next| next.first);
        self.0.iter().enumerate().filter_map(move |(position, slice)| {
            let is_after = ends(position).is_some_and(|end| end.as_slice() <= from);
            let is_before = to.is_some_and(|to| slice.first.as_slice() >= to);
            (!is_after && !is_before).then_some(*slice)
        })
    }
}

/// The seconds of a key.
fn seconds(key: [u8; KEY_BYTES]) -> u32 {
    let [a, b, c, d, ..] = key;
    // One hour is added to it.
    u32::from_be_bytes([a, b, c, d]).min(u32::MAX - SLICE_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(slices: impl Iterator<Item = Slice>) -> Vec<u64> {
        slices.map(|slice| u64::from_be_bytes(slice.first)).collect()
    }

    #[test]
    fn trees_are_begun_when_one_is_full_and_used_again() {
        let mut slices = Slices::default();
        let key = |number: u64| number.to_be_bytes();
        assert!(slices.begin(key(10), 0) && !slices.begin(key(11), SLICE_BYTES - 1));
        assert!(slices.begin(key(20), SLICE_BYTES) && slices.begin(key(30), SLICE_BYTES + 5));
        assert_eq!(slices.full_bytes(), 2 * SLICE_BYTES + 5);
        assert_eq!(numbers(slices.within(&key(15), Some(&key(30)))), [10, 20]);
        assert_eq!(numbers(slices.within(&key(20), None).rev()), [30, 20]);
        assert_eq!(Slices::decode(&slices.encode()).as_ref(), Some(&slices));
        assert_eq!(Slices::decode(&[1]), None);
        assert_eq!(slices.take_before(&key(19)), None);
        let oldest = slices.take_before(&key(20)).unwrap();
        assert!(slices.take_before(&key(99)).is_some());
        assert_eq!(slices.take_before(&key(99)), None, "the newest stays");
        assert!(slices.begin(key(40), SLICE_BYTES));
        assert_eq!(slices.newest().unwrap().tree, oldest.tree);
    }

    #[test]
    fn a_ring_without_a_free_tree_goes_on_in_the_newest() {
        let mut slices = Slices::default();
        let begun = (0..1_000u64).filter(|n| slices.begin(n.to_be_bytes(), u64::MAX / 2_000));
        assert_eq!(begun.count(), RING);
        // With trees that are just full, the ring holds so much.
        let mut slices = Slices::default();
        let mut total = 0;
        for number in 0..RING as u64 {
            let bytes = SLICE_BYTES << (number / GROWS_EACH as u64);
            assert!(slices.begin(number.to_be_bytes(), bytes));
            total += bytes;
        }
        assert_eq!(total, 63 << 29);
    }

    #[test]
    fn a_tree_that_is_an_hour_old_is_full() {
        let mut slices = Slices::default();
        let key = |seconds: u64| (seconds << 32).to_be_bytes();
        assert!(slices.begin(key(100), 0) && !slices.begin(key(3_699), 1));
        assert!(slices.begin(key(3_700), 1) && !slices.begin(key(3_701), 1));
        assert!(slices.begin([u8::MAX; KEY_BYTES], 1) && !slices.begin([u8::MAX; KEY_BYTES], 1));
    }
}
