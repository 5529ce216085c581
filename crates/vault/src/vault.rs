//! The vault: packs, manifests and oplog segments under one key.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::{File, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemark_model::OplogSpan;

use crate::digest::ChunkId;
use crate::error::VaultError;
use crate::index::Place;
use crate::key::VaultKey;
use crate::layout::{self, FOLDERS, OPLOG, PACKS, SNAPSHOTS, holds_objects, manifest_name};
use crate::manifest::Manifest;
use crate::pack::{FinishedPack, PackError, PackId, PackReader};
use crate::sealed::{self, Kind, SealError};
use crate::state::{Pack, PackState, State};
use crate::storage::{self, FolderStorage, Put, Storage};

/// What the configuration object holds; opening it proves that the key is the vault's.
const CONFIGURATION: &[u8] = b"tidemark vault, format 2";
/// No sealed object is larger.
const LARGEST_OBJECT: u64 = 4 << 30;
/// Packs that stay open for reading, with their tables of some 20 KB each.
const OPEN_PACKS: usize = 32;

/// An open vault.
pub struct Vault {
    root: PathBuf,
    pub(crate) storage: Box<dyn Storage>,
    pub(crate) key: VaultKey,
    naming_key: [u8; 32],
    /// Held for lookups and changes of memory only; no file is touched meanwhile.
    state: Mutex<State>,
    /// Held for lookups only.
    open_packs: Mutex<VecDeque<(u32, Arc<PackReader>)>>,
    /// The segments of each instance that was asked for, where this process is the only writer.
    /// Held for lookups and changes of memory only.
    pub(crate) segments: Mutex<HashMap<String, BTreeSet<OplogSpan>>>,
    /// The lock of the only writer; a vault that is only read has none.
    lock: Option<File>,
}

impl Vault {
    /// Opens the vault in `root` as its only writer, or makes it if the folder does not exist or is
    /// empty. What unfinished writes left behind is removed.
    ///
    /// Reads the table of every pack; one that is damaged is kept, remembered and its chunks count
    /// as missing.
    pub fn open(root: &Path, key: VaultKey) -> Result<Arc<Self>, VaultError> {
        let lock = lock_folder(root)?;
        Self::open_locked((root, Some(lock)), key, Box::new(FolderStorage::new(root)))
    }

    pub(crate) fn open_locked(
        (root, lock): (&Path, Option<File>),
        key: VaultKey,
        storage: Box<dyn Storage>,
    ) -> Result<Arc<Self>, VaultError> {
        let file = |source| VaultError::File { path: root.to_owned(), source };
        check_key((root, storage.as_ref()), &key, true)?;
        for folder in FOLDERS.iter().chain([&""]) {
            storage.remove_unfinished(folder).map_err(file)?;
        }
        let vault = Self::load(root, (key, lock), storage)?;
        let instances = vault.captured_instances()?;
        let captured: Vec<String> =
            instances.iter().map(|instance| format!("{OPLOG}/{instance}")).collect();
        for folder in &captured {
            vault.storage.remove_unfinished(folder).map_err(vault.file_error(folder))?;
        }
        // One for all that lie beside each other.
        for folder in ["", OPLOG].into_iter().chain(captured.first().map(String::as_str)) {
            vault.storage.settle(folder).map_err(vault.file_error(folder))?;
        }
        Ok(Arc::new(vault))
    }

    /// Opens a vault whose configuration is lost, and writes it again, if the key opens what the
    /// vault holds.
    pub fn open_without_configuration(root: &Path, key: VaultKey) -> Result<Arc<Self>, VaultError> {
        let lock = lock_folder(root)?;
        let storage: Box<dyn Storage> = Box::new(FolderStorage::new(root));
        let vault = Self::load(root, (key, Some(lock)), storage)?;
        // Each pack has a key of its own that is made of the vault's.
        let opens_one = {
            let state = vault.state();
            state.packs.iter().any(|pack| matches!(pack.state, PackState::Whole { .. }))
        };
        if !opens_one {
            return Err(VaultError::WrongKey { path: root.to_owned() });
        }
        let place = (Kind::Configuration, layout::CONFIGURATION);
        vault.put(layout::CONFIGURATION, &sealed::seal(&vault.key, place, CONFIGURATION))?;
        Ok(Arc::new(vault))
    }

    /// Opens a vault to read it only; another process may be writing meanwhile.
    pub fn open_to_read(root: &Path, key: VaultKey) -> Result<Arc<Self>, VaultError> {
        let storage = FolderStorage::new(root);
        check_key((root, &storage), &key, false)?;
        Self::load(root, (key, None), Box::new(storage)).map(Arc::new)
    }

    fn load(
        root: &Path,
        (key, lock): (VaultKey, Option<File>),
        storage: Box<dyn Storage>,
    ) -> Result<Self, VaultError> {
        let naming_key = key.chunk_naming_key();
        let vault = Self {
            root: root.to_owned(),
            storage,
            key,
            naming_key,
            state: Mutex::default(),
            open_packs: Mutex::default(),
            segments: Mutex::default(),
            lock,
        };
        vault.load_index()?;
        Ok(vault)
    }

    /// Whether this process is the vault's only writer.
    pub(crate) fn is_writer(&self) -> bool {
        self.lock.is_some()
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn file_error<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Fn(std::io::Error) -> VaultError + 'a {
        move |source| VaultError::File { path: self.root.join(name), source }
    }

    pub(crate) fn damaged(&self, name: &str, reason: impl ToString) -> VaultError {
        VaultError::Damaged { path: self.root.join(name), reason: reason.to_string() }
    }

    /// Reads the tables of all packs, and what earlier checks found.
    pub(crate) fn load_index(&self) -> Result<(), VaultError> {
        let checks = self.load_checks()?;
        let mut state = State::default();
        for id in self.list_packs()? {
            let found = checks.of(id);
            let (state_of_pack, chunks) =
                match PackReader::open(&self.key, self.storage.as_ref(), id) {
                    Ok(reader) => {
                        let chunks: Vec<ChunkId> =
                            reader.entries().iter().map(|entry| entry.id).collect();
                        (PackState::Whole { stamp: found.stamp }, chunks)
                    }
                    Err(error) => (PackState::Unreadable(error.to_string()), Vec::new()),
                };
            let pack = Pack {
                id,
                state: state_of_pack,
                bad: found.bad.clone(),
                checked_at: found.checked_at,
            };
            let number = state.add_pack(pack, &chunks);
            state.forget_bad(number, &chunks, &found.bad);
        }
        let mut present = self.state();
        (state.writers, state.begun) = (present.writers, present.begun);
        *present = state;
        drop(present);
        self.lock_open_packs().clear();
        Ok(())
    }

    /// The packs that are there.
    pub(crate) fn list_packs(&self) -> Result<Vec<PackId>, VaultError> {
        let names = self.storage.list(PACKS).map_err(self.file_error(PACKS))?;
        Ok(names.iter().filter_map(|name| PackId::parse(name)).collect())
    }

    fn lock_open_packs(&self) -> MutexGuard<'_, VecDeque<(u32, Arc<PackReader>)>> {
        self.open_packs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a pack, unless it is open.
    fn open_pack(&self, number: u32) -> Result<Arc<PackReader>, PackError> {
        if let Some((_, reader)) = self.lock_open_packs().iter().find(|(open, _)| *open == number) {
            return Ok(Arc::clone(reader));
        }
        let id = self.state().pack(number).map(|pack| pack.id).ok_or(PackError::Format)?;
        let reader = Arc::new(PackReader::open(&self.key, self.storage.as_ref(), id)?);
        let mut open = self.lock_open_packs();
        open.push_back((number, Arc::clone(&reader)));
        if open.len() > OPEN_PACKS {
            open.pop_front();
        }
        Ok(reader)
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
        for place in self.places(chunk) {
            match read(place) {
                Ok(found) => return Ok(found),
                Err(error) => {
                    let is_damage = error.is_damage();
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
        state.index.remove_place(chunk, place);
        if let Some(pack) = state.pack(place.pack) {
            pack.bad.insert(place.ordinal);
            pack.checked_at = 0;
        }
        drop(state);
        self.close_pack(place.pack);
        // If this is not written the chunk is found again by the next who reads it.
        let _ = self.store_checks();
    }

    /// Adds a pack that was written just now.
    pub(crate) fn register(&self, finished: FinishedPack) {
        let pack = Pack {
            id: finished.id,
            state: PackState::Whole { stamp: Some(finished.stamp) },
            bad: BTreeSet::new(),
            checked_at: 0,
        };
        self.state().add_pack(pack, &finished.chunks);
    }

    /// The ids of all snapshots.
    pub fn snapshots(&self) -> Result<Vec<String>, VaultError> {
        let mut names = self.storage.list(SNAPSHOTS).map_err(self.file_error(SNAPSHOTS))?;
        names.retain(|name| !name.contains('.'));
        Ok(names)
    }

    /// Whether the vault has a snapshot.
    pub fn has_snapshot(&self, snapshot: &str) -> Result<bool, VaultError> {
        let name = manifest_name(snapshot);
        match self.storage.stamp(&name) {
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
    /// was durable: now it is.
    pub fn find_stored(&self, snapshot: &str) -> Result<Option<Manifest>, VaultError> {
        if !self.has_snapshot(snapshot)? {
            return Ok(None);
        }
        let name = manifest_name(snapshot);
        self.storage.settle(&name).map_err(self.file_error(&name))?;
        self.load_manifest(snapshot).map(Some)
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
        self.storage.remove(&name).map_err(self.file_error(&name))
    }

    /// Writes an object, which must be the first of its name.
    pub(crate) fn put(&self, name: &str, sealed: &[u8]) -> Result<(), VaultError> {
        match storage::write(self.storage.as_ref(), name, sealed, Put::New) {
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
        let sealed =
            storage::read(self.storage.as_ref(), name, LARGEST_OBJECT).map_err(|source| {
                match source.kind() {
                    ErrorKind::NotFound => VaultError::Missing {
                        kind: what,
                        name: name.rsplit('/').next().unwrap_or(name).to_owned(),
                    },
                    ErrorKind::InvalidData => self.damaged(name, source),
                    _ => self.file_error(name)(source),
                }
            })?;
        sealed::open(&self.key, (kind, name), &sealed).map_err(|error| self.damaged(name, error))
    }
}

fn clone(error: &std::io::Error) -> std::io::Error {
    match error.raw_os_error() {
        Some(code) => std::io::Error::from_raw_os_error(code),
        None => std::io::Error::new(error.kind(), error.to_string()),
    }
}

/// Makes the folder if it does not exist, closes it to other users and locks it; the operating
/// system gives the lock back when the process ends.
fn lock_folder(root: &Path) -> Result<File, VaultError> {
    let unusable = |source| VaultError::File { path: root.to_owned(), source };
    std::fs::create_dir_all(root).map_err(unusable)?;
    storage::sync_parent(root).map_err(unusable)?;
    std::fs::set_permissions(root, Permissions::from_mode(0o700)).map_err(unusable)?;
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    let file = options.open(root.join("lock")).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(VaultError::InUse { path: root.to_owned() }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

/// Proves that the key is the vault's, or makes it so in a new vault.
fn check_key(
    (root, storage): (&Path, &dyn Storage),
    key: &VaultKey,
    may_create: bool,
) -> Result<(), VaultError> {
    let place = (Kind::Configuration, layout::CONFIGURATION);
    let path = root.to_owned();
    let file = |source| VaultError::File { path: root.join(layout::CONFIGURATION), source };
    match storage::read(storage, layout::CONFIGURATION, LARGEST_OBJECT) {
        Ok(sealed) => match sealed::open(key, place, &sealed) {
            Ok(content) if content == CONFIGURATION => Ok(()),
            Ok(_) | Err(SealError::Format) => Err(VaultError::Damaged {
                path: root.join(layout::CONFIGURATION),
                reason: "it is not the configuration of a vault".into(),
            }),
            Err(SealError::FirstFormat) => Err(VaultError::FirstFormat { path }),
            Err(SealError::Tampered) => Err(VaultError::WrongKey { path }),
        },
        Err(error) if error.kind() != ErrorKind::NotFound => Err(file(error)),
        Err(_) if holds_objects(storage).map_err(file)? => {
            Err(VaultError::NoConfiguration { path })
        }
        Err(_) if !may_create => {
            Err(VaultError::Missing { kind: "configuration in", name: root.display().to_string() })
        }
        Err(_) => {
            let sealed = sealed::seal(key, place, CONFIGURATION);
            storage::write(storage, layout::CONFIGURATION, &sealed, Put::New)
                .map(drop)
                .map_err(file)
        }
    }
}
