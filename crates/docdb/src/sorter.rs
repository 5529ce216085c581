//! Sorting of more than memory holds: runs in unnamed temporary files, then a merge.
//!
//! Memory is `MEMORY_BYTES` while items come, and a small buffer for each run while they go. A
//! crash leaves nothing: the files have no names.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::error::{Code, CommandError, Result};

/// What is held before a run is written.
const MEMORY_BYTES: usize = if cfg!(test) { 16 * 1024 } else { 24 * 1024 * 1024 };
/// What is read ahead of each run.
const READ_BYTES: usize = 64 * 1024;
/// Less than this stays in memory.
const SMALL_BYTES: usize = 512 * 1024;
/// What an item takes beside its bytes.
const ITEM_BYTES: usize = size_of::<Item>();
/// Merged at the same time; more runs are first merged into longer ones.
const MOST_RUNS: usize = 256;

#[derive(Clone, Copy)]
struct Item {
    starts: usize,
    key_ends: usize,
    ends: usize,
}

/// Takes items with keys, in any order.
pub(crate) struct Sorter {
    folder: PathBuf,
    memory_bytes: usize,
    bytes: Vec<u8>,
    items: Vec<Item>,
    runs: Vec<Run>,
}

/// Items in order.
pub(crate) struct Sorted {
    merge: Merge,
}

/// The error for a temporary file that cannot be used.
pub(crate) fn failed(error: std::io::Error) -> CommandError {
    tracing::error!(%error, "a temporary file of an instance failed");
    CommandError::new(
        Code::OutOfDiskSpace,
        "a temporary file could not be written or read; free space on the disk and try again",
    )
}

impl Sorter {
    /// An empty one; what does not fit in memory goes to unnamed files in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        Self::with_memory(folder, MEMORY_BYTES)
    }

    fn with_memory(folder: &Path, memory_bytes: usize) -> Self {
        let folder = folder.to_owned();
        Self { folder, memory_bytes, bytes: Vec::new(), items: Vec::new(), runs: Vec::new() }
    }

    /// Adds an item. Items with the same key keep their order.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let held = self.bytes.len() + self.items.len() * ITEM_BYTES;
        if !self.items.is_empty() && held + key.len() + value.len() > self.memory_bytes {
            self.write_run()?;
        }
        let starts = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let key_ends = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.items.push(Item { starts, key_ends, ends: self.bytes.len() });
        Ok(())
    }

    /// Whether something was written to the disk.
    pub(crate) fn has_spilled(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Keeps only the first `wanted` items of those in memory.
    pub(crate) fn keep_first(&mut self, wanted: usize) {
        if self.has_spilled() || self.items.len() <= wanted {
            return;
        }
        self.sort_items();
        self.items.truncate(wanted);
        let mut bytes = Vec::new();
        for item in &mut self.items {
            let starts = bytes.len();
            bytes.extend_from_slice(self.bytes.get(item.starts..item.ends).unwrap_or_default());
            let key_ends = starts + (item.key_ends - item.starts);
            *item = Item { starts, key_ends, ends: bytes.len() };
        }
        self.bytes = bytes;
    }

    /// How many items are in memory.
    pub(crate) fn held(&self) -> usize {
        self.items.len()
    }

    fn sort_items(&mut self) {
        let bytes = &self.bytes;
        let key = |item: &Item| bytes.get(item.starts..item.key_ends).unwrap_or_default();
        self.items.sort_by(|a, b| key(a).cmp(key(b)));
    }

    fn write_run(&mut self) -> Result<()> {
        self.sort_items();
        let file = tempfile::tempfile_in(&self.folder).map_err(failed)?;
        let mut out = BufWriter::with_capacity(READ_BYTES, file);
        for item in &self.items {
            let part = |from, to| self.bytes.get(from..to).unwrap_or_default();
            write_item(&mut out, part(item.starts, item.key_ends), part(item.key_ends, item.ends))
                .map_err(failed)?;
        }
        self.runs.push(Run::of(out).map_err(failed)?);
        self.items.clear();
        self.bytes.clear();
        if self.runs.len() >= MOST_RUNS {
            self.merge_runs()?;
        }
        Ok(())
    }

    fn merge_runs(&mut self) -> Result<()> {
        let mut merge = Merge::new(std::mem::take(&mut self.runs))?;
        let file = tempfile::tempfile_in(&self.folder).map_err(failed)?;
        let mut out = BufWriter::with_capacity(READ_BYTES, file);
        while let Some((key, value)) = merge.next()? {
            write_item(&mut out, &key, &value).map_err(failed)?;
        }
        self.runs.push(Run::of(out).map_err(failed)?);
        Ok(())
    }

    /// The items in the order of their keys.
    pub(crate) fn finish(mut self) -> Result<Sorted> {
        self.sort_items();
        let items = std::mem::take(&mut self.items).into_iter();
        let last = Memory { bytes: std::mem::take(&mut self.bytes), items };
        let mut merge = Merge::new(std::mem::take(&mut self.runs))?;
        merge.add(Source::Memory(last))?;
        Ok(Sorted { merge })
    }
}

impl Sorted {
    /// Puts what is in memory into a file, for somebody who may not come back for a while.
    pub(crate) fn put_aside(&mut self, folder: &Path) -> Result<()> {
        for source in &mut self.merge.sources {
            let Source::Memory(memory) = source else { continue };
            if memory.items.as_slice().len() * ITEM_BYTES + memory.bytes.len() < SMALL_BYTES {
                continue;
            }
            let file = tempfile::tempfile_in(folder).map_err(failed)?;
            let mut out = BufWriter::with_capacity(READ_BYTES, file);
            for item in memory.items.by_ref() {
                let part = |from, to| memory.bytes.get(from..to).unwrap_or_default();
                write_item(
                    &mut out,
                    part(item.starts, item.key_ends),
                    part(item.key_ends, item.ends),
                )
                .map_err(failed)?;
            }
            *source = Source::Run(Run::of(out).map_err(failed)?);
        }
        Ok(())
    }

    /// The next item.
    pub(crate) fn next(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        self.merge.next()
    }
}

fn write_item(out: &mut impl Write, key: &[u8], value: &[u8]) -> std::io::Result<()> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    out.write_all(&length(key))?;
    out.write_all(&length(value))?;
    out.write_all(key)?;
    out.write_all(value)
}

/// A sorted file.
struct Run(BufReader<File>);

impl Run {
    fn of(out: BufWriter<File>) -> std::io::Result<Self> {
        let mut file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(Self(BufReader::with_capacity(READ_BYTES, file)))
    }

    fn next(&mut self) -> std::io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let mut head = [[0; 4]; 2];
        match self.0.read_exact(head.as_flattened_mut()) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let [key, value] = head.map(|length| u32::from_le_bytes(length) as usize);
        let (mut key, mut value) = (vec![0; key], vec![0; value]);
        self.0.read_exact(&mut key)?;
        self.0.read_exact(&mut value)?;
        Ok(Some((key, value)))
    }
}

/// What never left memory.
struct Memory {
    bytes: Vec<u8>,
    items: std::vec::IntoIter<Item>,
}

enum Source {
    Run(Run),
    Memory(Memory),
}

impl Source {
    fn next(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        match self {
            Self::Run(run) => run.next().map_err(failed),
            Self::Memory(memory) => Ok(memory.items.next().map(|item| {
                let part = |from, to| memory.bytes.get(from..to).unwrap_or_default().to_vec();
                (part(item.starts, item.key_ends), part(item.key_ends, item.ends))
            })),
        }
    }
}

/// Key, source, value: of equal keys the earlier source comes first.
type Front = Reverse<(Vec<u8>, usize, Vec<u8>)>;

struct Merge {
    sources: Vec<Source>,
    fronts: BinaryHeap<Front>,
}

impl Merge {
    fn new(runs: Vec<Run>) -> Result<Self> {
        let mut merge = Self { sources: Vec::new(), fronts: BinaryHeap::new() };
        for run in runs {
            merge.add(Source::Run(run))?;
        }
        Ok(merge)
    }

    fn add(&mut self, source: Source) -> Result<()> {
        self.sources.push(source);
        self.advance(self.sources.len() - 1)
    }

    fn advance(&mut self, source: usize) -> Result<()> {
        if let Some(found) = self.sources.get_mut(source)
            && let Some((key, value)) = found.next()?
        {
            self.fronts.push(Reverse((key, source, value)));
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let Some(Reverse((key, source, value))) = self.fronts.pop() else { return Ok(None) };
        self.advance(source)?;
        Ok(Some((key, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_memory_holds_comes_in_order_and_equal_keys_keep_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::with_memory(folder.path(), 2_000);
        let mut expected = Vec::new();
        for number in 0..20_000u32 {
            let key = (number.wrapping_mul(2_654_435_761) % 700).to_be_bytes().to_vec();
            sorter.push(&key, &number.to_be_bytes()).unwrap();
            expected.push((key, number.to_be_bytes().to_vec()));
        }
        assert!(sorter.has_spilled());
        expected.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut sorted = sorter.finish().unwrap();
        for item in expected {
            assert_eq!(sorted.next().unwrap(), Some(item));
        }
        assert_eq!(sorted.next().unwrap(), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_first_of_many_are_kept_without_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(folder.path());
        for number in (0..1_000u32).rev() {
            sorter.push(&number.to_be_bytes(), b"value").unwrap();
            if sorter.held() > 20 {
                sorter.keep_first(10);
            }
        }
        sorter.keep_first(10);
        assert_eq!(sorter.held(), 10);
        let first = sorter.finish().unwrap().next().unwrap();
        assert_eq!(first, Some((vec![0; 4], b"value".to_vec())));
    }
}
