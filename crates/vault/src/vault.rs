//! The vault: a folder of packs, manifests and oplog segments under one key.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::chunker::RawChunk;
use crate::digest::ChunkId;
use crate::folder;
use crate::key::VaultKey;
use crate::manifest::{Manifest, ManifestError};
use crate::pack::{Entry, PackError, PackId, PackReader, PackWriter, compress};
use crate::sealed::{self, Kind, SealError};
use crate::segment::{OplogSegment, SegmentName};

/// What the configuration object holds; opening it proves that the key is the vault's.
const CONFIGURATION: &[u8] = b"tidemark vault, format 1";

/// Why the vault did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A file cannot be read or written.
    #[error("the vault cannot use {path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The vault was made with another key.
    #[error(
        "the vault in {path} was made with another key; give the right one with --vault-key-file"
    )]
    WrongKey {
        /// The vault's folder.
        path: PathBuf,
    },
    /// An object was changed since it was written.
    #[error(
        "{path} is damaged ({reason}); run `tidemark vault verify` and restore another snapshot"
    )]
    Damaged {
        /// The object.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A chunk that a snapshot names is in no pack.
    #[error(
        "chunk {0} is in no readable pack; run `tidemark vault verify` and restore another snapshot"
    )]
    MissingChunk(ChunkId),
    /// There is no such object.
    #[error("the vault has no {kind} {name}")]
    Missing {
        /// What is looked for.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Something cannot be written in the vault's format.
    #[error("a manifest cannot be written: {0}")]
    Unwritable(#[from] ManifestError),
}

/// Where a chunk is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Location {
    pub(crate) pack: PackId,
    pub(crate) entry: Entry,
}

#[derive(Default)]
struct State {
    index: HashMap<ChunkId, Location>,
    damaged_packs: Vec<(PathBuf, String)>,
    writers: usize,
    /// How many writers there have ever been.
    begun: u64,
}

/// An open vault.
pub struct Vault {
    pub(crate) root: PathBuf,
    pub(crate) key: VaultKey,
    naming_key: [u8; 32],
    state: Mutex<State>,
}

impl Vault {
    /// Opens the vault in `root` as its only writer, or makes it if the folder does not exist or is
    /// empty. What unfinished writes left behind is removed.
    ///
    /// Reads the table of every pack; one that is damaged is remembered for `verify` and its
    /// chunks count as missing.
    pub fn open(root: &Path, key: VaultKey) -> Result<Arc<Self>, VaultError> {
        for folder in ["packs", "snapshots", "oplog"] {
            let folder = root.join(folder);
            std::fs::create_dir_all(&folder)
                .and_then(|()| folder::remove_temporary(&folder))
                .map_err(Self::file_error(&folder))?;
        }
        let vault = Self::load(root, key)?;
        for instance in vault.captured_instances()? {
            let folder = vault.segment_folder(&instance);
            folder::remove_temporary(&folder).map_err(Self::file_error(&folder))?;
        }
        Ok(vault)
    }

    /// Opens a vault to read it only; another process may be writing meanwhile.
    pub fn open_to_read(root: &Path, key: VaultKey) -> Result<Arc<Self>, VaultError> {
        if root.join("config").exists() {
            return Self::load(root, key);
        }
        Err(VaultError::Missing { kind: "configuration in", name: root.display().to_string() })
    }

    fn load(root: &Path, key: VaultKey) -> Result<Arc<Self>, VaultError> {
        check_key(root, &key)?;
        let naming_key = key.chunk_naming_key();
        let vault = Self { root: root.to_owned(), key, naming_key, state: Mutex::default() };
        vault.load_index()?;
        Ok(Arc::new(vault))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> VaultError + '_ {
        move |source| VaultError::File { path: path.to_owned(), source }
    }

    /// Reads the tables of all packs.
    pub(crate) fn load_index(&self) -> Result<(), VaultError> {
        let mut state = self.lock();
        state.damaged_packs.clear();
        for pack in self.packs()? {
            let path = self.pack_path(pack);
            let table =
                PackReader::open(&self.key, &path, pack).and_then(|mut reader| reader.table());
            match table {
                Ok(entries) => {
                    state.index.extend(
                        entries.into_iter().map(|entry| (entry.id, Location { pack, entry })),
                    );
                }
                Err(error) => state.damaged_packs.push((path, error.to_string())),
            }
        }
        Ok(())
    }

    /// The packs that are there.
    pub(crate) fn packs(&self) -> Result<Vec<PackId>, VaultError> {
        let folder = self.root.join("packs");
        // Names that end in `.tmp` are no packs yet.
        let names = folder::names(&folder).map_err(Self::file_error(&folder))?;
        let parse = |name: &String| {
            let number = u128::from_str_radix(name, 16).ok().filter(|_| name.len() == 32)?;
            Some(PackId(number.to_be_bytes()))
        };
        Ok(names.iter().filter_map(parse).collect())
    }

    pub(crate) fn pack_path(&self, pack: PackId) -> PathBuf {
        self.root.join("packs").join(pack.to_string())
    }

    pub(crate) fn damaged_packs(&self) -> Vec<(PathBuf, String)> {
        self.lock().damaged_packs.clone()
    }

    pub(crate) fn locate(&self, chunk: ChunkId) -> Result<Location, VaultError> {
        self.lock().index.get(&chunk).copied().ok_or(VaultError::MissingChunk(chunk))
    }

    /// The number of the last writer, if nobody writes now.
    pub(crate) fn last_writer(&self) -> Option<u64> {
        let state = self.lock();
        (state.writers == 0).then_some(state.begun)
    }

    /// Removes packs unless somebody began to write after the writer with this number: what a new
    /// manifest names is not among what was looked at.
    pub(crate) fn remove_packs(
        &self,
        last_writer: u64,
        is_unused: impl Fn(PackId) -> bool,
    ) -> Result<Option<Vec<PackId>>, VaultError> {
        let mut state = self.lock();
        if state.begun != last_writer {
            return Ok(None);
        }
        let unused: Vec<PackId> =
            self.packs()?.into_iter().filter(|pack| is_unused(*pack)).collect();
        state.index.retain(|_, location| !unused.contains(&location.pack));
        for pack in &unused {
            let path = self.pack_path(*pack);
            std::fs::remove_file(&path).map_err(Self::file_error(&path))?;
        }
        Ok(Some(unused))
    }

    /// The name of a chunk with these bytes.
    pub fn name_chunk(&self, raw: &[u8]) -> ChunkId {
        ChunkId(*blake3::keyed_hash(&self.naming_key, raw).as_bytes())
    }

    /// Reads a chunk and proves that it holds the bytes it is named after.
    pub fn read_chunk(&self, chunk: ChunkId) -> Result<Vec<u8>, VaultError> {
        let location = self.locate(chunk)?;
        let path = self.pack_path(location.pack);
        let damaged = |error: PackError| VaultError::Damaged {
            path: path.clone(),
            reason: format!("chunk {chunk} at byte {}: {error}", location.entry.offset),
        };
        let reader = PackReader::open(&self.key, &path, location.pack).map_err(damaged)?;
        let raw = reader.chunk(&location.entry).map_err(damaged)?;
        if self.name_chunk(&raw) == chunk { Ok(raw) } else { Err(damaged(PackError::Tampered)) }
    }

    /// Begins to write a snapshot.
    pub fn writer(self: &Arc<Self>) -> SnapshotWriter {
        let mut state = self.lock();
        state.writers += 1;
        state.begun += 1;
        drop(state);
        SnapshotWriter { vault: Arc::clone(self), pack: Mutex::default() }
    }

    fn manifest_path(&self, snapshot: &str) -> PathBuf {
        self.root.join("snapshots").join(snapshot)
    }

    /// The ids of all snapshots.
    pub fn snapshots(&self) -> Result<Vec<String>, VaultError> {
        let folder = self.root.join("snapshots");
        let mut names = folder::names(&folder).map_err(Self::file_error(&folder))?;
        names.retain(|name| !name.contains('.'));
        Ok(names)
    }

    /// Loads the manifest of a snapshot.
    pub fn load_manifest(&self, snapshot: &str) -> Result<Manifest, VaultError> {
        let path = self.manifest_path(snapshot);
        let bytes = self.load_object(&path, Kind::Manifest, "snapshot")?;
        let manifest = Manifest::decode(&bytes).map_err(|error| VaultError::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        if manifest.snapshot == snapshot {
            return Ok(manifest);
        }
        let reason = format!("it is the manifest of {}", manifest.snapshot);
        Err(VaultError::Damaged { path, reason })
    }

    /// Forgets a snapshot; its chunks stay until `prune`. Forgetting twice is fine.
    pub fn remove_manifest(&self, snapshot: &str) -> Result<(), VaultError> {
        remove(&self.manifest_path(snapshot))
    }

    fn load_object(
        &self,
        path: &Path,
        kind: Kind,
        what: &'static str,
    ) -> Result<Vec<u8>, VaultError> {
        let sealed = std::fs::read(path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => VaultError::Missing {
                kind: what,
                name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            },
            _ => VaultError::File { path: path.to_owned(), source },
        })?;
        sealed::open(&self.key, kind, &sealed).map_err(|error: SealError| VaultError::Damaged {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }

    fn segment_folder(&self, instance: &str) -> PathBuf {
        self.root.join("oplog").join(instance)
    }

    /// Stores a segment of an instance's oplog. Storing it again is fine.
    pub fn put_segment(&self, instance: &str, segment: &OplogSegment) -> Result<(), VaultError> {
        let folder = self.segment_folder(instance);
        std::fs::create_dir_all(&folder).map_err(Self::file_error(&folder))?;
        let path = folder.join(segment.name.to_string());
        let encoded = segment.encode().map_err(Self::file_error(&path))?;
        let sealed = sealed::seal(&self.key, Kind::Segment, &encoded);
        folder::write_new(&path, &sealed).map_err(Self::file_error(&path))?;
        folder::sync_parent(&folder).map_err(Self::file_error(&folder))
    }

    /// The segments of an instance's oplog, in order.
    pub fn segments(&self, instance: &str) -> Result<Vec<SegmentName>, VaultError> {
        let folder = self.segment_folder(instance);
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let names = folder::names(&folder).map_err(Self::file_error(&folder))?;
        let mut segments: Vec<_> =
            names.iter().filter_map(|name| SegmentName::parse(name)).collect();
        segments.sort();
        Ok(segments)
    }

    /// Loads a segment.
    pub fn load_segment(
        &self,
        instance: &str,
        name: SegmentName,
    ) -> Result<OplogSegment, VaultError> {
        let path = self.segment_folder(instance).join(name.to_string());
        let bytes = self.load_object(&path, Kind::Segment, "oplog segment")?;
        let damaged = || VaultError::Damaged {
            path: path.clone(),
            reason: "it is not a whole segment".into(),
        };
        OplogSegment::decode(&bytes).filter(|segment| segment.name == name).ok_or_else(damaged)
    }

    /// Removes a segment. Removing it twice is fine.
    pub fn remove_segment(&self, instance: &str, name: SegmentName) -> Result<(), VaultError> {
        remove(&self.segment_folder(instance).join(name.to_string()))
    }

    /// The instances that have oplog segments.
    pub fn captured_instances(&self) -> Result<Vec<String>, VaultError> {
        let folder = self.root.join("oplog");
        folder::names(&folder).map_err(Self::file_error(&folder))
    }
}

fn remove(path: &Path) -> Result<(), VaultError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(VaultError::File { path: path.to_owned(), source })
        }
        _ => folder::sync_parent(path).map_err(Vault::file_error(path)),
    }
}

/// Proves that the key is the vault's, or makes it so in a new vault.
fn check_key(root: &Path, key: &VaultKey) -> Result<(), VaultError> {
    let path = root.join("config");
    match std::fs::read(&path) {
        Ok(sealed) => match sealed::open(key, Kind::Configuration, &sealed) {
            Ok(content) if content == CONFIGURATION => Ok(()),
            Ok(_) | Err(SealError::Format) => Err(VaultError::Damaged {
                path,
                reason: "it is not the configuration of a vault".into(),
            }),
            Err(SealError::Tampered) => Err(VaultError::WrongKey { path: root.to_owned() }),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let sealed = sealed::seal(key, Kind::Configuration, CONFIGURATION);
            folder::write_new(&path, &sealed).map_err(Vault::file_error(&path))
        }
        Err(source) => Err(VaultError::File { path, source }),
    }
}

/// Writes the chunks of one snapshot, from many threads, and its manifest at the end.
///
/// Dropping it without `finish` leaves packs that no manifest names; `prune` removes them.
pub struct SnapshotWriter {
    vault: Arc<Vault>,
    pack: Mutex<PackInProgress>,
}

#[derive(Default)]
struct PackInProgress {
    writer: Option<PackWriter>,
    /// Chunks of packs that are not finished; only this snapshot may rely on them.
    pending: HashSet<ChunkId>,
}

impl SnapshotWriter {
    /// Stores a chunk unless the vault has it; returns its name.
    pub fn put_chunk(&self, chunk: &RawChunk) -> Result<ChunkId, VaultError> {
        let id = self.vault.name_chunk(&chunk.bytes);
        if self.vault.lock().index.contains_key(&id) || self.lock().pending.contains(&id) {
            return Ok(id);
        }
        let folder = self.vault.root.join("packs");
        let compressed = compress(&chunk.bytes).map_err(Vault::file_error(&folder))?;
        let mut pack = self.lock();
        if pack.pending.contains(&id) {
            return Ok(id);
        }
        let mut writer = match pack.writer.take() {
            Some(writer) => writer,
            None => {
                PackWriter::create(&self.vault.key, &folder).map_err(Vault::file_error(&folder))?
            }
        };
        writer.append(id, chunk.bytes.len(), compressed).map_err(Vault::file_error(&folder))?;
        pack.pending.insert(id);
        if writer.is_full() {
            self.finish_pack(writer, &mut pack)?;
        } else {
            pack.writer = Some(writer);
        }
        Ok(id)
    }

    fn lock(&self) -> MutexGuard<'_, PackInProgress> {
        self.pack.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish_pack(&self, writer: PackWriter, pack: &mut PackInProgress) -> Result<(), VaultError> {
        let folder = self.vault.root.join("packs");
        let (id, entries) = writer.finish().map_err(Vault::file_error(&folder))?;
        pack.pending.clear();
        let locations = entries.into_iter().map(|entry| (entry.id, Location { pack: id, entry }));
        self.vault.lock().index.extend(locations);
        Ok(())
    }

    /// Makes all chunks durable, then writes the manifest: now the snapshot exists.
    pub fn finish(self, manifest: &Manifest) -> Result<(), VaultError> {
        let mut pack = self.lock();
        if let Some(writer) = pack.writer.take() {
            self.finish_pack(writer, &mut pack)?;
        }
        for chunk in manifest.chunks() {
            self.vault.locate(chunk.id)?;
        }
        let path = self.vault.manifest_path(&manifest.snapshot);
        let sealed = sealed::seal(&self.vault.key, Kind::Manifest, &manifest.encode()?);
        folder::write_new(&path, &sealed).map_err(Vault::file_error(&path))
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        self.vault.lock().writers -= 1;
    }
}
