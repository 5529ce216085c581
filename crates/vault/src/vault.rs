//! The vault: packs, manifests and oplog segments under one key.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use tidemark_model::OplogSpan;

use crate::cache::Cache;
use crate::digest::ChunkId;
use crate::error::VaultError;
use crate::index::{Place, name_of};
use crate::key::VaultKey;
use crate::layout::{KEPT, PACKS, SNAPSHOTS, manifest_name};
use crate::list::ListItem;
use crate::locking::lock;
use crate::manifest::Manifest;
use crate::pack::{PackError, PackId, PackReader};
use crate::pack_list::PackList;
use crate::pass::Resealing;
use crate::sealed::{self, Kind};
use crate::state::PackState;
use crate::state::State;
use crate::store::{Hold, KeepingStore, Kept, Put, RequestKind, Store};

/// No sealed object is larger.
pub(crate) const LARGEST_OBJECT: u64 = 4 << 30;
/// Packs that stay open for reading, with their tables of some 20 KB each.
const OPEN_PACKS: usize = 32;

/// An open vault.
pub struct Vault {
    root: PathBuf,
    pub(crate) store: Box<dyn Store>,
    pub(crate) key: VaultKey,
    naming_key: [u8; 32],
    /// Held for lookups and changes of memory only; no file is touched meanwhile.
    state: Mutex<State>,
    /// Held for lookups only.
    open_packs: Mutex<VecDeque<(u32, Arc<PackReader>)>>,
    /// The segments of each instance that was asked for, where this process is the only writer.
    /// Held for lookups and changes of memory only.
    pub(crate) segments: Mutex<HashMap<String, BTreeSet<OplogSpan>>>,
    /// Held while packs are listed.
    pub(crate) pack_list: Mutex<PackList>,
    /// Held while objects are sealed anew.
    pub(crate) resealing: Mutex<Resealing>,
    /// What a bucket was asked for before.
    pub(crate) cache: Option<Cache>,
    /// For how long what is written is kept.
    pub(crate) hold: Hold,
    /// Until when a store that can do that keeps packs itself, as far as this process knows. Held for lookups.
    pub(crate) locks: Mutex<HashMap<PackId, SystemTime>>,
    access: Access,
}

/// What a process may do with a vault.
pub(crate) enum Access {
    /// Read; others may write meanwhile.
    Reader,
    /// Write, as the only one: the folder is locked for as long as this is held.
    OnlyWriter { _lock: File },
    /// Write, beside other processes.
    Writer,
}

impl Vault {
    /// An open vault of which nothing was read yet.
    pub(crate) fn new(
        (root, access): (PathBuf, Access),
        key: VaultKey,
        store: Box<dyn Store>,
    ) -> Self {
        let naming_key = key.chunk_naming_key();
        let hold = Hold::default();
        let store = Box::new(KeepingStore::new(store, hold.clone(), KEPT));
        Self {
            root,
            store,
            hold,
            key,
            naming_key,
            state: Mutex::default(),
            open_packs: Mutex::default(),
            segments: Mutex::default(),
            pack_list: Mutex::default(),
            resealing: Mutex::default(),
            locks: Mutex::default(),
            cache: None,
            access,
        }
    }

    /// How many requests its store was asked since it was opened, of each kind; none of a folder.
    pub fn requests(&self) -> Vec<(RequestKind, u64)> {
        self.store.requests()
    }

    /// Whether this process may write.
    pub(crate) fn is_writer(&self) -> bool {
        !matches!(self.access, Access::Reader)
    }

    /// Whether every request has its price, so that few are made: it is in an object store.
    pub fn is_paid_by_request(&self) -> bool {
        !self.is_only_writer()
    }

    /// Whether nobody else writes.
    pub(crate) fn is_only_writer(&self) -> bool {
        matches!(self.access, Access::OnlyWriter { .. })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn file_error<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Fn(std::io::Error) -> VaultError + 'a {
        move |source| match source.get_ref().and_then(|cause| cause.downcast_ref::<Kept>()) {
            Some(Kept { left }) => VaultError::Kept {
                name: name.to_owned(),
                hours_left: left.as_secs().div_ceil(3_600),
            },
            None => VaultError::File { path: self.root.join(name), source },
        }
    }

    pub(crate) fn damaged(&self, name: &str, reason: impl ToString) -> VaultError {
        VaultError::Damaged { path: self.root.join(name), reason: reason.to_string() }
    }

    fn lock_open_packs(&self) -> MutexGuard<'_, VecDeque<(u32, Arc<PackReader>)>> {
        lock(&self.open_packs)
    }

    /// Opens a pack, unless it is open.
    fn open_pack(&self, number: u32) -> Result<Arc<PackReader>, PackError> {
        if let Some((_, reader)) = self.lock_open_packs().iter().find(|(open, _)| *open == number) {
            return Ok(Arc::clone(reader));
        }
        let known = self.state().pack(number).map(|pack| (pack.id, pack.state.clone()));
        let (id, state) = known.ok_or(PackError::Format)?;
        let reader = match (&self.cache, state) {
            (Some(cache), PackState::Whole { stamp: Some(stamp) }) => {
                PackReader::open_known((&self.key, id), (self.store.as_ref(), stamp), cache)?
            }
            _ => PackReader::open(&self.key, self.store.as_ref(), id)?,
        };
        let reader = Arc::new(reader);
        let mut open = self.lock_open_packs();
        open.push_back((number, Arc::clone(&reader)));
        if open.len() > OPEN_PACKS {
            open.pop_front();
        }
        Ok(reader)
    }

    /// Forgets all packs that are open.
    pub(crate) fn close_packs(&self) {
        self.lock_open_packs().clear();
    }

    /// Forgets a pack that is open, so that it is opened anew.
    pub(crate) fn close_pack(&self, number: u32) {
        self.lock_open_packs().retain(|(open, _)| *open != number);
    }

    /// The name of a chunk with these bytes.
    pub fn name_chunk(&self, raw: &[u8]) -> ChunkId {
        ChunkId(*blake3::keyed_hash(&self.naming_key, raw).as_bytes())
    }

    pub(crate) fn places(&self, chunk: ChunkId) -> Vec<Place> {
        self.state().index.find(chunk)
    }

    /// Reads a chunk and proves that it holds the bytes it is named after.
    ///
    /// A place where it cannot be read is never read or referred to again, so that the next
    /// snapshot with this content stores it anew; its pack is read as a whole by the next check.
    pub fn read_chunk(&self, chunk: ChunkId) -> Result<Vec<u8>, VaultError> {
        self.at_a_place(chunk, |place| self.read_place(chunk, place))
    }

    /// Reads the bytes of a chunk where they are stored and proves by their seal that they are what was
    /// stored. They are not decompressed: who reads the chunk later compares it with its name.
    pub fn check_chunk(&self, chunk: ChunkId) -> Result<(), VaultError> {
        self.at_a_place(chunk, |place| {
            let reader = self.open_pack(place.pack)?;
            let entry = reader.entries().get(place.ordinal as usize);
            let entry = entry.filter(|entry| entry.id == chunk).ok_or(PackError::Format)?;
            reader.check(entry)
        })
    }

    /// Does something with a chunk at the first of its places that is whole.
    fn at_a_place<T>(
        &self,
        chunk: ChunkId,
        read: impl Fn(Place) -> Result<T, PackError>,
    ) -> Result<T, VaultError> {
        let mut failure = VaultError::MissingChunk(chunk);
        let mut places = self.places(chunk);
        if places.is_empty() && self.is_shared() {
            // Another process may have written it since.
            self.refresh()?;
            places = self.places(chunk);
        }
        for place in places {
            match read(place) {
                Ok(found) => return Ok(found),
                Err(error) => {
                    let is_damage = error.is_damage();
                    if is_damage {
                        self.check_its_key()?;
                    }
                    failure = self.chunk_error((chunk, place), error);
                    if !is_damage {
                        return Err(failure);
                    }
                    self.give_place_up(chunk, place);
                }
            }
        }
        Err(failure)
    }

    /// Reads a part of a list, as `read_chunk` does; others that lie beside it are kept.
    pub(crate) fn read_part(&self, part: ChunkId) -> Result<Vec<u8>, VaultError> {
        self.at_a_place(part, |place| {
            let Some(cache) = &self.cache else { return self.read_place(part, place) };
            let reader = self.open_pack(place.pack)?;
            let entry = reader.entries().get(place.ordinal as usize).ok_or(PackError::Format)?;
            let raw = reader.part(entry, cache)?;
            if self.name_chunk(&raw) == part { Ok(raw) } else { Err(PackError::Tampered) }
        })
    }

    fn read_place(&self, chunk: ChunkId, place: Place) -> Result<Vec<u8>, PackError> {
        let reader = self.open_pack(place.pack)?;
        let entry = reader.entries().get(place.ordinal as usize).ok_or(PackError::Format)?;
        let raw = reader.chunk(entry)?;
        if self.name_chunk(&raw) == chunk { Ok(raw) } else { Err(PackError::Tampered) }
    }

    fn chunk_error(&self, (chunk, place): (ChunkId, Place), error: PackError) -> VaultError {
        let id = self.state().pack(place.pack).map(|pack| pack.id);
        let name = id.map_or_else(|| PACKS.to_owned(), PackId::object);
        match error {
            PackError::File(source) if !PackError::is_damage(&PackError::File(clone(&source))) => {
                VaultError::File { path: self.root.join(name), source }
            }
            error => self.damaged(&name, format!("chunk {chunk}: {error}")),
        }
    }

    /// Notes that a chunk cannot be read at a place.
    fn give_place_up(&self, chunk: ChunkId, place: Place) {
        let mut state = self.state();
        state.index.remove_place(name_of(chunk), place);
        if let Some(pack) = state.pack(place.pack) {
            pack.bad.insert(place.ordinal);
            pack.checked_at = 0;
        }
        drop(state);
        self.close_pack(place.pack);
        // If this is not written the chunk is found again by the next who reads it.
        let _ = self.store_checks();
    }

    /// The ids of all snapshots.
    pub fn snapshots(&self) -> Result<Vec<String>, VaultError> {
        let mut names = self.store.list(SNAPSHOTS).map_err(self.file_error(SNAPSHOTS))?;
        names.retain(|name| !name.contains('.'));
        Ok(names)
    }

    /// Whether the vault has a snapshot.
    pub fn has_snapshot(&self, snapshot: &str) -> Result<bool, VaultError> {
        let name = manifest_name(snapshot);
        match self.store.stamp(&name) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.file_error(&name)(error)),
            Ok(_) => Ok(true),
        }
    }

    /// Loads the manifest of a snapshot.
    pub fn load_manifest(&self, snapshot: &str) -> Result<Manifest, VaultError> {
        let name = manifest_name(snapshot);
        let bytes = self.load_object((Kind::Manifest, &name), "snapshot")?;
        let manifest =
            Manifest::decode(&bytes).map_err(|error| self.damaged(&name, error.to_string()))?;
        if manifest.snapshot == snapshot {
            return Ok(manifest);
        }
        Err(self.damaged(&name, format!("it is the manifest of {}", manifest.snapshot)))
    }

    /// The manifest of a snapshot that somebody has stored before, who may have ended before that
    /// was durable or proved: now it is.
    pub fn find_stored(&self, snapshot: &str) -> Result<Option<Manifest>, VaultError> {
        if !self.has_snapshot(snapshot)? {
            return Ok(None);
        }
        let name = manifest_name(snapshot);
        self.store.settle(&name).map_err(self.file_error(&name))?;
        self.lock_again(&name)?;
        let manifest = self.load_manifest(snapshot)?;
        if self.is_shared() {
            self.refresh()?;
            if self.find_missing(&manifest)?.is_some() {
                // Packs were removed while it was written, and nobody was told that it is complete.
                self.remove_manifest(snapshot)?;
                return Ok(None);
            }
        }
        Ok(Some(manifest))
    }

    /// A chunk that a manifest names and the vault lacks, if there is one.
    pub(crate) fn find_missing(&self, manifest: &Manifest) -> Result<Option<ChunkId>, VaultError> {
        let is_missing = |id: &ChunkId| self.places(*id).is_empty();
        for item in manifest.items() {
            if let ListItem::Part(part) = item
                && is_missing(&part.id)
            {
                return Ok(Some(part.id));
            }
            let chunks = self.load_item(item)?;
            if let Some(missing) = chunks.iter().map(|chunk| chunk.id).find(is_missing) {
                return Ok(Some(missing));
            }
        }
        Ok(None)
    }

    /// Stores the manifest of a snapshot, which must be the first of its name.
    pub(crate) fn store_manifest(&self, manifest: &Manifest) -> Result<(), VaultError> {
        let name = manifest_name(&manifest.snapshot);
        let sealed = sealed::seal(&self.key, (Kind::Manifest, &name), &manifest.encode()?);
        self.put(&name, &sealed)
    }

    /// Forgets a snapshot; its chunks stay until `prune`. Forgetting twice is fine.
    pub fn remove_manifest(&self, snapshot: &str) -> Result<(), VaultError> {
        self.remove_draft(snapshot)?;
        let name = manifest_name(snapshot);
        self.store.remove(&name).map_err(self.file_error(&name))
    }

    /// Writes an object, which must be the first of its name.
    pub(crate) fn put(&self, name: &str, sealed: &[u8]) -> Result<(), VaultError> {
        match self.store.put(name, sealed, Put::New) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(VaultError::Exists { name: name.to_owned() })
            }
            outcome => outcome.map(drop).map_err(self.file_error(name)),
        }
    }

    /// Reads and opens a sealed object.
    pub(crate) fn load_object(
        &self,
        (kind, name): (Kind, &str),
        what: &'static str,
    ) -> Result<Vec<u8>, VaultError> {
        // What never changes need not be asked for again; a manifest may be of another attempt.
        let cache = self.cache.as_ref().filter(|_| kind == Kind::Index);
        if let Some(kept) = cache.and_then(|cache| cache.find(name))
            && let Ok(opened) = sealed::open(&self.key, (kind, name), &kept)
        {
            return Ok(opened);
        }
        let sealed =
            self.store.read(name, LARGEST_OBJECT).map_err(|source| match source.kind() {
                ErrorKind::NotFound => VaultError::Missing {
                    kind: what,
                    name: name.rsplit('/').next().unwrap_or(name).to_owned(),
                },
                ErrorKind::InvalidData => self.damaged(name, source),
                _ => self.file_error(name)(source),
            })?;
        let opened = match sealed::open(&self.key, (kind, name), &sealed) {
            Ok(opened) => opened,
            Err(error) => {
                self.check_its_key()?;
                return Err(self.damaged(name, error));
            }
        };
        if let Some(cache) = cache {
            cache.keep(name, &sealed);
        }
        Ok(opened)
    }
}

fn clone(error: &std::io::Error) -> std::io::Error {
    match error.raw_os_error() {
        Some(code) => std::io::Error::from_raw_os_error(code),
        None => std::io::Error::new(error.kind(), error.to_string()),
    }
}
