//! Reading everything back, to name what is damaged before it is needed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tidemark_model::OplogTime;

use crate::digest::DocumentSet;
use crate::error::VaultError;
use crate::layout::PACKS;
use crate::list::{ChunkList, ChunkRef};
use crate::manifest::Manifest;
use crate::pack::{PackId, PackReader};
use crate::state::PackState;
use crate::vault::Vault;

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
    pub(crate) fn note(&mut self, object: impl Into<String>, reason: impl ToString) {
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
        self.verify_indexes(&mut report)?;
        self.verify_packs(&mut report)?;
        for snapshot in snapshots {
            match self.load_manifest(&snapshot) {
                Ok(manifest) => self.verify_references(&manifest, &mut report),
                Err(VaultError::Missing { .. }) => continue,
                Err(error) => report.note(format!("snapshot {snapshot}"), error),
            }
            report.snapshots += 1;
        }
        for instance in self.captured_instances()? {
            self.verify_segments(&instance, &mut report)?;
        }
        Ok(report)
    }

    /// Reads all packs; what is bad leaves the index.
    fn verify_packs(&self, report: &mut VerifyReport) -> Result<(), VaultError> {
        let count = u32::try_from(self.state().packs.len()).unwrap_or(u32::MAX);
        for number in 0..count {
            match self.check_pack(number, None) {
                Ok(chunks) => report.chunks += chunks.unwrap_or(0),
                Err(error) => report.note("packs", error),
            }
            let mut state = self.state();
            let Some(pack) = state.pack(number) else { continue };
            let object = self.root().join(pack.id.object()).display().to_string();
            match &pack.state {
                // It was removed since it was listed.
                PackState::Unreadable(_)
                    if self
                        .store
                        .stamp(&pack.id.object())
                        .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) => {}
                PackState::Unreadable(reason) => report.note(object, reason),
                PackState::Whole { .. } => {
                    for ordinal in &pack.bad {
                        report.note(object.clone(), format!("chunk number {ordinal} is damaged"));
                    }
                }
                PackState::Removed => {}
            }
        }
        // What has a pack's name and is no file, or came since.
        for name in self.store.list(PACKS).map_err(self.file_error(PACKS))? {
            let id = PackId::parse(&name).filter(|id| !self.state().numbers.contains_key(id));
            if let Some(id) = id
                && let Err(error) = PackReader::open(&self.key, self.store.as_ref(), id)
                && error.is_damage()
            {
                report.note(self.root().join(id.object()).display().to_string(), error);
            }
        }
        Ok(())
    }

    fn verify_references(&self, manifest: &Manifest, report: &mut VerifyReport) {
        let mut lost = 0_usize;
        for list in manifest.lists() {
            for item in &list.items {
                match self.load_item(item) {
                    Ok(chunks) => {
                        let is_lost = |chunk: &&ChunkRef| self.places(chunk.id).is_empty();
                        lost += chunks.iter().filter(is_lost).count();
                    }
                    Err(_) => lost += 1,
                }
            }
        }
        if lost > 0 {
            let reason =
                format!("{lost} of its chunks are damaged or missing; it cannot be restored");
            report.note(format!("snapshot {}", manifest.snapshot), reason);
        }
    }

    /// Reads the segments of an instance, and proves that each begins with the last entry of the
    /// one before it where their names say that they follow each other.
    fn verify_segments(&self, instance: &str, report: &mut VerifyReport) -> Result<(), VaultError> {
        let mut before: Option<(OplogTime, Vec<u8>)> = None;
        for name in self.segments(instance)? {
            let segment = match self.load_segment(instance, name) {
                Ok(segment) => segment,
                Err(VaultError::Missing { .. }) => continue,
                Err(error) => {
                    report.note(format!("oplog segment {instance}/{name}"), error);
                    report.segments += 1;
                    before = None;
                    continue;
                }
            };
            report.segments += 1;
            let follows =
                before.take().filter(|(last, _)| *last == name.first && name.first < name.last);
            if follows.is_some_and(|(_, entry)| !segment.entries.starts_with(&entry)) {
                let reason = "it does not begin with the last entry of the segment before it";
                report.note(format!("oplog segment {instance}/{name}"), reason);
            }
            let last = segment.entries().filter_map(Result::ok).last();
            before = last.map(|entry| (name.last, entry.as_bytes().to_vec()));
        }
        Ok(())
    }

    /// Reads all chunks of one snapshot and compares them with what the manifest says of them.
    ///
    /// After each chunk `goes_on` is asked; `false` ends the reading early without an error.
    pub fn check_snapshot(
        &self,
        manifest: &Manifest,
        goes_on: impl Fn(u64) -> bool + Sync,
    ) -> Result<(), VaultError> {
        let read = |content: &mut DocumentSet, chunk: &ChunkRef| {
            let raw = self.read_chunk(chunk.id)?;
            add_documents(content, &raw);
            Ok(goes_on(raw.len() as u64))
        };
        for collection in &manifest.collections {
            let Some(content) = self.read_content(&collection.chunks, &read)? else {
                return Ok(());
            };
            if content != collection.content {
                return Err(VaultError::Damaged {
                    path: self.root().join("snapshots").join(&manifest.snapshot),
                    reason: format!(
                        "{} does not hold what the manifest says",
                        collection.namespace()
                    ),
                });
            }
        }
        self.for_each_chunk(&manifest.oplog, |chunk| self.read_chunk(chunk.id).map(drop))
    }

    /// Reads the bytes of all chunks of one snapshot's documents and checks their seals: everything is
    /// there and is what was stored. For who reads the documents afterwards anyway, and compares them
    /// with what the manifest says.
    ///
    /// After each chunk `goes_on` is asked; `false` ends the reading early without an error.
    pub fn check_seals(
        &self,
        manifest: &Manifest,
        goes_on: impl Fn() -> bool + Sync,
    ) -> Result<(), VaultError> {
        let check = |_: &mut DocumentSet, chunk: &ChunkRef| {
            self.check_chunk(chunk.id)?;
            Ok(goes_on())
        };
        for collection in &manifest.collections {
            if self.read_content(&collection.chunks, &check)?.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What `read` adds of the chunks of a list, on all cores; `None` when it says not to go on.
    fn read_content(
        &self,
        list: &ChunkList,
        read: &(impl Fn(&mut DocumentSet, &ChunkRef) -> Result<bool, VaultError> + Sync),
    ) -> Result<Option<DocumentSet>, VaultError> {
        let next = AtomicUsize::new(0);
        let is_over = AtomicBool::new(false);
        let read_some = || -> Result<DocumentSet, VaultError> {
            let mut content = DocumentSet::default();
            while !is_over.load(Ordering::Relaxed)
                && let Some(item) = list.items.get(next.fetch_add(1, Ordering::Relaxed))
            {
                for chunk in self.load_item(item)? {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    if !read(&mut content, &chunk)? {
                        is_over.store(true, Ordering::Relaxed);
                    }
                }
            }
            Ok(content)
        };
        let read_some = || read_some().inspect_err(|_| is_over.store(true, Ordering::Relaxed));
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads = cores.min(list.items.len().max(1));
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
