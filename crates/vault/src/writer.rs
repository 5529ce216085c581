//! Writing one snapshot, from many threads.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use crate::chunker::RawChunk;
use crate::digest::ChunkId;
use crate::error::VaultError;
use crate::index::{Name, name_of};
use crate::layout::PACKS;
use crate::locking::lock;
use crate::manifest::Manifest;
use crate::pack::{PackWriter, compress};
use crate::pack_index::IndexedPack;
use crate::sharing::Presence;
use crate::state::PackState;
use crate::vault::Vault;

/// Finished packs wait for an index object until it has so many bytes, or the snapshot is flushed.
const LONGEST_WAIT_BYTES: usize = 4 * 1024 * 1024;

/// Writes the chunks of one snapshot, and its manifest at the end.
///
/// Dropping it without `finish` leaves packs that no manifest names; `prune` removes them.
pub struct SnapshotWriter {
    vault: Arc<Vault>,
    /// Packs that are not full and that no thread has at the moment. A thread takes one, writes
    /// to it without holding anything, and puts it back: held for that only.
    packs: Mutex<Vec<PackWriter>>,
    /// The same for parts of lists: they lie beside each other, because they are read together.
    part_packs: Mutex<Vec<PackWriter>>,
    /// Packs that are finished and that no index object names yet. Held for changes of memory.
    finished: Mutex<Vec<IndexedPack>>,
    /// Chunks that are being written or are in packs that no index object names; only this snapshot
    /// may rely on them. Held for lookups.
    pending: Mutex<HashSet<Name>>,
    /// Packs that this snapshot refers to, each looked at once. Held for lookups, not for a look.
    trusted: Mutex<HashMap<u32, bool>>,
    presence: Presence,
    /// What `State::condemned` was when it began.
    condemned: u64,
}

impl SnapshotWriter {
    fn new(vault: Arc<Vault>, presence: Presence, condemned: u64) -> Self {
        Self {
            vault,
            packs: Mutex::default(),
            part_packs: Mutex::default(),
            finished: Mutex::default(),
            pending: Mutex::default(),
            trusted: Mutex::default(),
            presence,
            condemned,
        }
    }

    /// Stores a chunk unless the vault has it; returns its name.
    ///
    /// What an older pack holds is relied on only if the pack's file is what it was when it was
    /// written or last read as a whole; otherwise it is read as a whole first.
    pub fn put_chunk(&self, chunk: &RawChunk) -> Result<ChunkId, VaultError> {
        self.put_among(&self.packs, chunk)
    }

    /// Stores a part of a list, as `put_chunk` does.
    pub(crate) fn put_part(&self, part: &RawChunk) -> Result<ChunkId, VaultError> {
        self.put_among(&self.part_packs, part)
    }

    fn put_among(
        &self,
        packs: &Mutex<Vec<PackWriter>>,
        chunk: &RawChunk,
    ) -> Result<ChunkId, VaultError> {
        self.vault.stay(&self.presence)?;
        let id = self.vault.name_chunk(&chunk.bytes);
        if self.is_stored(id)? || !lock(&self.pending).insert(name_of(id)) {
            return Ok(id);
        }
        let file = self.vault.file_error(PACKS);
        let compressed = compress(&chunk.bytes).map_err(&file)?;
        let idle = lock(packs).pop();
        let mut writer = match idle {
            Some(writer) => writer,
            None => {
                PackWriter::create(&self.vault.key, self.vault.store.as_ref()).map_err(&file)?
            }
        };
        writer.append(id, chunk.bytes.len(), compressed).map_err(&file)?;
        if writer.is_full() {
            self.finish_pack(writer)?;
        } else {
            lock(packs).push(writer);
        }
        Ok(id)
    }

    /// Relies on a chunk that the vault has, as `put_chunk` does.
    pub fn keep_chunk(&self, id: ChunkId) -> Result<(), VaultError> {
        self.vault.stay(&self.presence)?;
        if self.is_stored(id)? { Ok(()) } else { Err(VaultError::MissingChunk(id)) }
    }

    /// Makes all chunks durable that no thread has at the moment: they can be read from now on.
    pub fn flush(&self) -> Result<(), VaultError> {
        for packs in [&self.packs, &self.part_packs] {
            let idle = std::mem::take(&mut *lock(packs));
            idle.into_iter().try_for_each(|writer| self.finish_pack(writer))?;
        }
        self.index_finished(0)
    }

    /// Names finished packs in an index object, if it has more than so many bytes: from then on every
    /// snapshot may rely on their chunks.
    fn index_finished(&self, least_bytes: usize) -> Result<(), VaultError> {
        let finished = {
            let mut finished = lock(&self.finished);
            let bytes: usize = finished.iter().map(IndexedPack::encoded_bytes).sum();
            if bytes <= least_bytes {
                return Ok(());
            }
            std::mem::take(&mut *finished)
        };
        self.vault.store_written(&finished)?;
        let mut pending = lock(&self.pending);
        for name in finished.iter().flat_map(|pack| &pack.chunks) {
            pending.remove(name);
        }
        Ok(())
    }

    /// Whether a pack that can be relied on has the chunk.
    fn is_stored(&self, id: ChunkId) -> Result<bool, VaultError> {
        for place in self.vault.places(id) {
            let known = lock(&self.trusted).get(&place.pack).copied();
            let is_trusted = if let Some(is_trusted) = known {
                is_trusted
            } else {
                let is_trusted = self.vault.trust(place.pack)?;
                lock(&self.trusted).insert(place.pack, is_trusted);
                is_trusted
            };
            // Looking at the pack may have shown that the chunk is not whole there.
            if is_trusted && self.vault.places(id).contains(&place) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Proves that the vault has every chunk that a manifest names.
    fn prove(&self, manifest: &Manifest) -> Result<(), VaultError> {
        let Some(missing) = self.vault.find_missing(manifest)? else { return Ok(()) };
        // In a shared vault another process may have been in the way at any time.
        let was_overtaken = self.vault.is_shared();
        Err(if was_overtaken { VaultError::Overtaken } else { VaultError::MissingChunk(missing) })
    }

    /// The same after the manifest was stored, if packs were named to be removed since this began.
    fn prove_again(&self, manifest: &Manifest) -> Result<(), VaultError> {
        let was_overtaken = self.vault.state().condemned != self.condemned;
        if was_overtaken { self.prove(manifest) } else { Ok(()) }
    }

    fn finish_pack(&self, writer: PackWriter) -> Result<(), VaultError> {
        let finished = writer.finish().map_err(self.vault.file_error(PACKS))?;
        lock(&self.finished).push(IndexedPack::new(&finished));
        self.index_finished(LONGEST_WAIT_BYTES)
    }

    /// Makes all chunks durable, proves that the vault has every chunk that is named, then writes
    /// the manifest: now the snapshot exists.
    pub fn finish(self, manifest: &Manifest) -> Result<(), VaultError> {
        self.flush()?;
        self.store(manifest)?;
        // If this fails the packs are read as a whole before they are relied on again.
        let _ = self.vault.store_checks();
        Ok(())
    }

    /// Writes the manifest of a snapshot whose chunks are durable.
    pub(crate) fn store(&self, manifest: &Manifest) -> Result<(), VaultError> {
        let vault = &self.vault;
        self.prove(manifest)?;
        vault.store_manifest(manifest)?;
        if vault.is_shared() {
            vault.refresh()?;
            if let Err(error) = self.prove_again(manifest) {
                vault.remove_manifest(&manifest.snapshot)?;
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        self.vault.state().writers -= 1;
        self.vault.leave(&self.presence);
    }
}

impl Vault {
    /// Begins to write a snapshot.
    pub fn writer(self: &Arc<Self>) -> Result<SnapshotWriter, VaultError> {
        let presence = self.appear()?;
        let mut state = self.state();
        state.writers += 1;
        state.begun += 1;
        let condemned = state.condemned;
        drop(state);
        Ok(SnapshotWriter::new(Arc::clone(self), presence, condemned))
    }

    /// Whether a pack can be relied on: its file is what it was when it was written or last read
    /// as a whole. If not, it is read as a whole now; what of it is whole stays in the index.
    fn trust(&self, number: u32) -> Result<bool, VaultError> {
        let found = self.state().pack(number).map(|pack| (pack.id, pack.state.clone()));
        let Some((id, PackState::Whole { stamp })) = found else { return Ok(false) };
        let present = self.present_stamp(id);
        if stamp.is_some() && stamp == present {
            return Ok(true);
        }
        Ok(self.check_pack(number, None)?.is_some())
    }
}
