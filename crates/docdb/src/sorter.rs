//! Sorting of more than memory holds: runs in unnamed temporary files, then a merge.
//!
//! Memory is `MEMORY_BYTES` while items come, and a small buffer for each run while they go. A
//! crash leaves nothing: the files have no names.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::error::{Code, CommandError, Result};

/// What is held while items come: half of it takes items while the other half is being written.
const MEMORY_BYTES: usize = if cfg!(test) { 16 * 1024 } else { 24 * 1024 * 1024 };
/// What is read ahead of each run.
const READ_BYTES: usize = 64 * 1024;
/// Less than this stays in memory.
const SMALL_BYTES: usize = 512 * 1024;
/// What an item takes beside its bytes.
const ITEM_BYTES: usize = size_of::<Item>();
/// Merged at the same time; more runs are first merged into longer ones.
const MOST_RUNS: usize = 256;
/// What is merged ahead of whoever takes the items, a few times.
const BLOCK_BYTES: usize = 256 * 1024;
const BLOCKS_AHEAD: usize = 3;

#[derive(Clone, Copy)]
struct Item {
    starts: usize,
    key_ends: usize,
    ends: usize,
}

/// Items in memory.
#[derive(Default)]
struct Items {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

impl Items {
    fn push(&mut self, key: &[u8], value: &[u8]) {
        let starts = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let key_ends = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.items.push(Item { starts, key_ends, ends: self.bytes.len() });
    }

    fn held_bytes(&self) -> usize {
        self.bytes.len() + self.items.len() * ITEM_BYTES
    }

    fn get(&self, item: &Item) -> (&[u8], &[u8]) {
        let part = |from, to| self.bytes.get(from..to).unwrap_or_default();
        (part(item.starts, item.key_ends), part(item.key_ends, item.ends))
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.items.iter().map(|item| self.get(item))
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        let key = |item: &Item| bytes.get(item.starts..item.key_ends).unwrap_or_default();
        self.items.sort_by(|a, b| key(a).cmp(key(b)));
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
    }
}

/// Takes items with keys, in any order.
pub(crate) struct Sorter {
    folder: PathBuf,
    memory_bytes: usize,
    items: Items,
    runs: Vec<Run>,
    writing: Option<JoinHandle<std::io::Result<(Run, Items)>>>,
    spare: Items,
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
        Self {
            folder: folder.to_owned(),
            memory_bytes,
            items: Items::default(),
            runs: Vec::new(),
            writing: None,
            spare: Items::default(),
        }
    }

    /// Adds an item. Items with the same key keep their order.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let held = self.items.held_bytes() + key.len() + value.len();
        if !self.items.items.is_empty() && held > self.memory_bytes / 2 {
            self.begin_run()?;
        }
        self.items.push(key, value);
        Ok(())
    }

    /// Whether something was written to the disk.
    pub(crate) fn has_spilled(&self) -> bool {
        !self.runs.is_empty() || self.writing.is_some()
    }

    /// Keeps only the first `wanted` items of those in memory.
    pub(crate) fn keep_first(&mut self, wanted: usize) {
        if self.has_spilled() || self.items.items.len() <= wanted {
            return;
        }
        self.items.sort();
        let mut kept = Items::default();
        self.items.iter().take(wanted).for_each(|(key, value)| kept.push(key, value));
        self.items = kept;
    }

    /// How many items are in memory.
    pub(crate) fn held(&self) -> usize {
        self.items.items.len()
    }

    /// Has what is held sorted and written by a thread, and goes on with other memory.
    fn begin_run(&mut self) -> Result<()> {
        self.end_run()?;
        let mut items = std::mem::replace(&mut self.items, std::mem::take(&mut self.spare));
        let file = tempfile::tempfile_in(&self.folder).map_err(failed)?;
        let write = move || {
            items.sort();
            let run = Run::write(file, items.iter())?;
            items.clear();
            Ok((run, items))
        };
        let thread = std::thread::Builder::new().name("sorter".into()).spawn(write);
        self.writing = Some(thread.map_err(failed)?);
        Ok(())
    }

    /// Waits for the run that is being written.
    fn end_run(&mut self) -> Result<()> {
        let Some(writing) = self.writing.take() else { return Ok(()) };
        let outcome = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (run, spare) = outcome.map_err(failed)?;
        self.runs.push(run);
        self.spare = spare;
        if self.runs.len() >= MOST_RUNS { self.merge_runs() } else { Ok(()) }
    }

    fn merge_runs(&mut self) -> Result<()> {
        let mut merge = Merge::new(std::mem::take(&mut self.runs))?;
        let mut out = new_run(&self.folder)?;
        let mut front = Front::default();
        while merge.next(&mut front)? {
            write_item(&mut out, &front.key, &front.value).map_err(failed)?;
        }
        self.runs.push(Run::of(out).map_err(failed)?);
        Ok(())
    }

    /// The items in the order of their keys.
    pub(crate) fn finish(mut self) -> Result<Sorted> {
        self.end_run()?;
        self.items.sort();
        let mut merge = Merge::new(std::mem::take(&mut self.runs))?;
        let last = std::mem::take(&mut self.items);
        merge.add(Source::Memory { items: last, next: 0 })?;
        Ok(Sorted { merge })
    }
}

impl Drop for Sorter {
    // The thread would end by itself, but its memory counts as long as it runs.
    fn drop(&mut self) {
        if let Some(writing) = self.writing.take() {
            drop(writing.join());
        }
    }
}

impl Sorted {
    /// Puts what is in memory into a file, for somebody who may not come back for a while.
    pub(crate) fn put_aside(&mut self, folder: &Path) -> Result<()> {
        for source in &mut self.merge.sources {
            let Source::Memory { items, next } = source else { continue };
            if items.held_bytes() < SMALL_BYTES {
                continue;
            }
            let mut out = new_run(folder)?;
            for (key, value) in items.iter().skip(*next) {
                write_item(&mut out, key, value).map_err(failed)?;
            }
            *source = Source::Run(Run::of(out).map_err(failed)?);
        }
        Ok(())
    }

    /// The next item.
    pub(crate) fn next(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let mut front = Front::default();
        Ok(self.merge.next(&mut front)?.then_some((front.key, front.value)))
    }

    /// Visits all items, while the next ones are merged by a thread.
    pub(crate) fn for_each(self, mut visit: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        let (blocks, arriving) = sync_channel(BLOCKS_AHEAD);
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("merger".into());
            let merge = move || send_blocks(self.merge, &blocks);
            thread.spawn_scoped(scope, merge).map_err(failed)?;
            // Owned here, so that the thread ends when a visit fails.
            let arriving = arriving;
            for block in &arriving {
                let block: Items = block?;
                block.iter().try_for_each(|(key, value)| visit(key, value))?;
            }
            Ok(())
        })
    }
}

/// Sends all items in blocks, until nobody wants more.
fn send_blocks(mut merge: Merge, blocks: &SyncSender<Result<Items>>) {
    let mut front = Front::default();
    loop {
        let mut block = Items::default();
        while block.held_bytes() < BLOCK_BYTES {
            match merge.next(&mut front) {
                Ok(true) => block.push(&front.key, &front.value),
                Ok(false) => {
                    let _ = blocks.send(Ok(block));
                    return;
                }
                Err(error) => {
                    let _ = blocks.send(Err(error));
                    return;
                }
            }
        }
        if blocks.send(Ok(block)).is_err() {
            return;
        }
    }
}

fn write_item(out: &mut impl Write, key: &[u8], value: &[u8]) -> std::io::Result<()> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    out.write_all(&length(key))?;
    out.write_all(&length(value))?;
    out.write_all(key)?;
    out.write_all(value)
}

fn new_run(folder: &Path) -> Result<BufWriter<File>> {
    let file = tempfile::tempfile_in(folder).map_err(failed)?;
    Ok(BufWriter::with_capacity(READ_BYTES, file))
}

/// A sorted file.
struct Run(BufReader<File>);

impl Run {
    fn write<'i>(
        file: File,
        items: impl Iterator<Item = (&'i [u8], &'i [u8])>,
    ) -> std::io::Result<Self> {
        let mut out = BufWriter::with_capacity(READ_BYTES, file);
        for (key, value) in items {
            write_item(&mut out, key, value)?;
        }
        Self::of(out)
    }

    fn of(out: BufWriter<File>) -> std::io::Result<Self> {
        let mut file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(Self(BufReader::with_capacity(READ_BYTES, file)))
    }

    /// Reads the next item; `false` at the end.
    fn next(&mut self, front: &mut Front) -> std::io::Result<bool> {
        let mut head = [[0; 4]; 2];
        match self.0.read_exact(head.as_flattened_mut()) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
        let [key, value] = head.map(|length| u32::from_le_bytes(length) as usize);
        front.key.resize(key, 0);
        front.value.resize(value, 0);
        self.0.read_exact(&mut front.key)?;
        self.0.read_exact(&mut front.value)?;
        Ok(true)
    }
}

enum Source {
    Run(Run),
    /// What never left memory.
    Memory {
        items: Items,
        next: usize,
    },
}

impl Source {
    /// Takes the next item; `false` at the end.
    fn next(&mut self, front: &mut Front) -> Result<bool> {
        match self {
            Self::Run(run) => run.next(front).map_err(failed),
            Self::Memory { items, next } => {
                let Some(item) = items.items.get(*next) else { return Ok(false) };
                let (key, value) = items.get(item);
                front.key.clear();
                front.key.extend_from_slice(key);
                front.value.clear();
                front.value.extend_from_slice(value);
                *next += 1;
                Ok(true)
            }
        }
    }
}

/// The first item of a source.
#[derive(Default)]
struct Front {
    key: Vec<u8>,
    value: Vec<u8>,
    source: usize,
}

/// The smallest key is the greatest front, which a heap has at hand; of equal keys the earlier
/// source comes first.
impl Ord for Front {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key).then(other.source.cmp(&self.source))
    }
}

impl PartialOrd for Front {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Front {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Front {}

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

    fn add(&mut self, mut source: Source) -> Result<()> {
        let mut front = Front { source: self.sources.len(), ..Front::default() };
        if source.next(&mut front)? {
            self.fronts.push(front);
        }
        self.sources.push(source);
        Ok(())
    }

    /// Takes the first item of all; `false` at the end. The memory of `taken` is used again.
    fn next(&mut self, taken: &mut Front) -> Result<bool> {
        let Some(mut front) = self.fronts.peek_mut() else { return Ok(false) };
        std::mem::swap(&mut taken.key, &mut front.key);
        std::mem::swap(&mut taken.value, &mut front.value);
        let source = self.sources.get_mut(front.source);
        let has_more = source.map_or(Ok(false), |source| source.next(&mut front))?;
        if !has_more {
            PeekMut::pop(front);
        }
        Ok(true)
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
        let mut expected = expected.into_iter();
        for item in expected.by_ref().take(5_000) {
            assert_eq!(sorted.next().unwrap(), Some(item));
        }
        // The rest is merged ahead.
        let is_next = |key: &[u8], value: &[u8]| {
            assert_eq!(expected.next(), Some((key.to_vec(), value.to_vec())));
            Ok(())
        };
        sorted.for_each(is_next).unwrap();
        assert_eq!(expected.next(), None);
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
