//! Opening a vault: whose key it is, who may write, and what it holds.

use std::fs::{File, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cache::{Cache, CachePlace};
use crate::error::VaultError;
use crate::key::VaultKey;
use crate::layout::{self, FOLDERS, OPLOG, holds_objects};
use crate::sealed::{self, Kind, SealError};
use crate::state::PackState;
use crate::store::{self, Location, Patience, Put, Store};
use crate::vault::{Access, LARGEST_OBJECT, Vault};

/// What the configuration object holds; opening it proves that the key is the vault's.
const CONFIGURATION: &str = "tidemark vault, format 2";
/// What follows it once keys were rotated: a mark of the secret of the names of chunks.
const NAMES: &str = ", names ";

/// What the configuration object holds under a key.
fn configuration(key: &VaultKey) -> String {
    if key.is_first() {
        return CONFIGURATION.to_owned();
    }
    format!("{CONFIGURATION}{NAMES}{}", key.mark())
}

/// Who the caller is in a place: of a folder there is one writer, of a bucket there may be many.
fn access(location: &Location, is_writer: bool) -> Result<Access, VaultError> {
    Ok(match location {
        _ if !is_writer => Access::Reader,
        Location::Folder(root) => Access::OnlyWriter { _lock: lock_folder(root)? },
        Location::Bucket(_) => Access::Writer,
    })
}

/// Fails soon where a bucket does not answer at all, or not to this caller.
fn check_answers(location: &Location) -> Result<(), VaultError> {
    if matches!(location, Location::Folder(_)) {
        return Ok(());
    }
    let store = store::open(location, Patience::FIRST)?;
    match store.stamp(layout::CONFIGURATION) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(VaultError::File { path: root_of(location), source })
        }
        _ => Ok(()),
    }
}

/// Where a vault is, as its errors say it.
fn root_of(location: &Location) -> PathBuf {
    PathBuf::from(location.to_string())
}

impl Vault {
    /// Opens the vault at a place to write to it, or makes it if there is none: a folder as its only
    /// writer, a bucket beside others. What unfinished writes left behind is removed.
    ///
    /// A pack that is damaged is kept, remembered and its chunks count as missing.
    pub fn open(location: impl Into<Location>, key: VaultKey) -> Result<Arc<Self>, VaultError> {
        Self::open_cached(location, key, None)
    }

    /// The same; of a bucket what is read again and again is kept in a folder.
    pub fn open_cached(
        location: impl Into<Location>,
        key: VaultKey,
        cache: Option<CachePlace>,
    ) -> Result<Arc<Self>, VaultError> {
        let location = location.into();
        check_answers(&location)?;
        let store = store::open(&location, Patience::USUAL)?;
        Self::open_in((location, store), key, cache)
    }

    pub(crate) fn open_in(
        (location, store): (Location, Box<dyn Store>),
        key: VaultKey,
        cache: Option<CachePlace>,
    ) -> Result<Arc<Self>, VaultError> {
        let access = access(&location, true)?;
        let cache = match (&location, cache) {
            (Location::Bucket(_), Some(place)) => {
                let path = place.folder.clone();
                Some(Cache::open(place).map_err(|source| VaultError::File { path, source })?)
            }
            _ => None,
        };
        let mut vault = Self::new((root_of(&location), access), key, store);
        vault.cache = cache;
        vault.begin()
    }

    #[cfg(test)]
    pub(crate) fn open_as_writer(
        (root, access): (PathBuf, Access),
        key: VaultKey,
        store: Box<dyn Store>,
    ) -> Result<Arc<Self>, VaultError> {
        Self::new((root, access), key, store).begin()
    }

    /// Proves the key, removes what was left unfinished, and learns what the vault holds.
    fn begin(self) -> Result<Arc<Self>, VaultError> {
        let mut vault = self;
        vault.key = check_key((vault.root(), vault.store.as_ref()), vault.key.clone(), true)?;
        vault.load_promises()?;
        for folder in FOLDERS.iter().chain([&""]) {
            vault.store.remove_unfinished(folder).map_err(vault.file_error(folder))?;
        }
        vault.load_index()?;
        let instances = vault.captured_instances()?;
        let captured: Vec<String> =
            instances.iter().map(|instance| format!("{OPLOG}/{instance}")).collect();
        for folder in &captured {
            vault.store.remove_unfinished(folder).map_err(vault.file_error(folder))?;
        }
        // One for all that lie beside each other.
        for folder in ["", OPLOG].into_iter().chain(captured.first().map(String::as_str)) {
            vault.store.settle(folder).map_err(vault.file_error(folder))?;
        }
        Ok(Arc::new(vault))
    }

    /// The vault at a place, of which nothing was read yet.
    fn unread(location: &Location, is_writer: bool, key: VaultKey) -> Result<Self, VaultError> {
        let access = access(location, is_writer)?;
        let store = store::open(location, Patience::USUAL)?;
        Ok(Self::new((root_of(location), access), key, store))
    }

    /// Opens a vault whose configuration is lost, and writes it again, if the key opens what the
    /// vault holds.
    pub fn open_without_configuration(
        location: impl Into<Location>,
        key: VaultKey,
    ) -> Result<Arc<Self>, VaultError> {
        let vault = Self::unread(&location.into(), true, key)?;
        vault.load_promises()?;
        vault.load_index()?;
        // Each pack has a key of its own that is made of the vault's.
        let opens_one = {
            let state = vault.state();
            state.packs.iter().any(|pack| matches!(pack.state, PackState::Whole { .. }))
        };
        if !opens_one {
            return Err(VaultError::WrongKey { path: vault.root().to_owned() });
        }
        let place = (Kind::Configuration, layout::CONFIGURATION);
        let sealed = sealed::seal(&vault.key, place, configuration(&vault.key).as_bytes());
        vault.put(layout::CONFIGURATION, &sealed)?;
        Ok(Arc::new(vault))
    }

    /// Opens a vault to read it only; other processes may be writing meanwhile.
    pub fn open_to_read(
        location: impl Into<Location>,
        key: VaultKey,
    ) -> Result<Arc<Self>, VaultError> {
        let mut vault = Self::unread(&location.into(), false, key)?;
        vault.key = check_key((vault.root(), vault.store.as_ref()), vault.key.clone(), false)?;
        vault.load_promises()?;
        vault.load_index()?;
        Ok(Arc::new(vault))
    }
}

/// Makes the folder if it does not exist, closes it to other users and locks it; the operating
/// system gives the lock back when the process ends.
fn lock_folder(root: &Path) -> Result<File, VaultError> {
    let unusable = |source| VaultError::File { path: root.to_owned(), source };
    std::fs::create_dir_all(root).map_err(unusable)?;
    store::sync_parent(root).map_err(unusable)?;
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

/// Proves that the keys are the vault's, or makes them so in a new vault. Answers them with the one that
/// seals from now on: the vault says which, unless this process has a newer one and may write.
fn check_key(
    (root, store): (&Path, &dyn Store),
    mut key: VaultKey,
    is_writer: bool,
) -> Result<VaultKey, VaultError> {
    let path = root.to_owned();
    let file = |source| VaultError::File { path: root.join(layout::CONFIGURATION), source };
    match store.read(layout::CONFIGURATION, LARGEST_OBJECT) {
        Ok(sealed) => {
            let number = check_configuration(root, &key, &sealed)?;
            if number > key.number() {
                // Another node rotated keys.
                key.seal_with(number);
            } else if number < key.number() && is_writer {
                raise_key(store, &key).map_err(file)?;
            }
            Ok(key)
        }
        Err(error) if error.kind() != ErrorKind::NotFound => Err(file(error)),
        Err(_) if holds_objects(store).map_err(file)? => Err(VaultError::NoConfiguration { path }),
        Err(_) if !is_writer => {
            Err(VaultError::Missing { kind: "configuration in", name: root.display().to_string() })
        }
        Err(_) => {
            let place = (Kind::Configuration, layout::CONFIGURATION);
            let sealed = sealed::seal(&key, place, configuration(&key).as_bytes());
            store.put(layout::CONFIGURATION, &sealed, Put::New).map_err(file)?;
            Ok(key)
        }
    }
}

/// Proves that one of the keys opens a configuration; answers its number.
fn check_configuration(root: &Path, key: &VaultKey, sealed: &[u8]) -> Result<u32, VaultError> {
    let path = root.to_owned();
    let place = (Kind::Configuration, layout::CONFIGURATION);
    let (content, number) = match sealed::open_with_number(key, place, sealed) {
        Ok(opened) => opened,
        Err(SealError::FirstFormat) => return Err(VaultError::FirstFormat { path }),
        Err(SealError::Tampered) => return Err(VaultError::WrongKey { path }),
        Err(SealError::Format) => return Err(no_configuration(root)),
    };
    let content = String::from_utf8(content).map_err(|_| no_configuration(root))?;
    match content.strip_prefix(CONFIGURATION).map(|rest| rest.strip_prefix(NAMES)) {
        Some(Some(mark)) if mark != key.mark() => Err(VaultError::OtherNames { path }),
        Some(None) if content != CONFIGURATION => Err(no_configuration(root)),
        Some(_) => Ok(number),
        None => Err(no_configuration(root)),
    }
}

fn no_configuration(root: &Path) -> VaultError {
    VaultError::Damaged {
        path: root.join(layout::CONFIGURATION),
        reason: "it is not the configuration of a vault".into(),
    }
}

/// Seals the configuration with a newer key: from now on all that start seal with it.
fn raise_key(store: &dyn Store, key: &VaultKey) -> std::io::Result<()> {
    let place = (Kind::Configuration, layout::CONFIGURATION);
    let mut raise = |sealed: &[u8]| match sealed::open_with_number(key, place, sealed) {
        Ok((_, number)) if number < key.number() => {
            Ok(Some(sealed::seal(key, place, configuration(key).as_bytes())))
        }
        _ => Ok(None),
    };
    store.rewrite(layout::CONFIGURATION, LARGEST_OBJECT, &mut raise).map(drop)
}
