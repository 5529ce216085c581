//! Where a vault's objects are: a folder of files that appear whole or not at all.
//!
//! Everything the vault reads and writes passes through here, so that a test can make any call
//! fail (`faults.rs`). Names are paths with `/` below the vault's root. Only regular files count
//! and no link is followed: a pipe in the folder must not hang whoever reads it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use tidemark_model::random_bytes;

/// The ending of files that are being written.
const UNFINISHED: &str = ".tmp";

/// What changes when somebody writes to an object behind the vault's back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) size: u64,
    /// When the content was last changed, in nanoseconds since the epoch.
    pub(crate) modified: i64,
    /// When content or attributes were last changed, in nanoseconds since the epoch.
    pub(crate) changed: i64,
}

/// Whether an object may take the place of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It must be the first of its name; otherwise the error is `AlreadyExists`.
    New,
    /// It may replace one.
    Replace,
}

/// A place for objects.
pub(crate) trait Storage: Send + Sync {
    /// The names of whole objects and of folders in a folder, in order; none if there is no folder.
    fn list(&self, folder: &str) -> Result<Vec<String>>;
    /// Opens an object to read it.
    fn open(&self, name: &str) -> Result<Box<dyn Object>>;
    /// Begins an object; nobody sees it before it is finished.
    fn create(&self, name: &str) -> Result<Box<dyn NewObject>>;
    /// Removes an object; one that is not there is removed already.
    fn remove(&self, name: &str) -> Result<()>;
    /// Removes what unfinished writes left behind in a folder.
    fn remove_unfinished(&self, folder: &str) -> Result<()>;
    /// The object's stamp, without opening it.
    fn stamp(&self, name: &str) -> Result<Stamp>;
    /// Makes the names of an object or a folder and of all beside it durable: who gave them may have
    /// ended before they were.
    fn settle(&self, name: &str) -> Result<()>;
}

/// A whole object.
pub(crate) trait Object: Send + Sync {
    /// Its stamp when it was opened.
    fn stamp(&self) -> Stamp;
    /// Fills a buffer from an offset; less is an error.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()>;
}

/// An object in the making; dropping it leaves an unfinished one.
pub(crate) trait NewObject: Send {
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// Makes it durable, and gives it its name.
    fn finish(self: Box<Self>, put: Put) -> Result<Stamp>;
}

/// Reads a whole object of at most `limit` bytes.
pub(crate) fn read(storage: &dyn Storage, name: &str, limit: u64) -> Result<Vec<u8>> {
    let object = storage.open(name)?;
    let size = object.stamp().size;
    if size > limit {
        return Err(Error::other(format!("it has {size} bytes, more than any object of its kind")));
    }
    let size = usize::try_from(size).map_err(Error::other)?;
    let mut bytes = vec![0; size];
    object.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Writes a whole object.
pub(crate) fn write(storage: &dyn Storage, name: &str, bytes: &[u8], put: Put) -> Result<Stamp> {
    let mut object = storage.create(name)?;
    object.write(bytes)?;
    object.finish(put)
}

/// A folder on a local disk.
pub(crate) struct FolderStorage {
    root: PathBuf,
}

impl FolderStorage {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

/// Makes a folder, for its owner only, with all that lead to it; every new name is durable.
fn make_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make_folder(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync_parent(folder),
    }
}

/// Makes what happened in the folder of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn stamp_of(metadata: &std::fs::Metadata) -> Result<Stamp> {
    if !metadata.is_file() {
        return Err(Error::new(ErrorKind::InvalidData, "it is not a regular file"));
    }
    let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000) + rest;
    Ok(Stamp {
        size: metadata.len(),
        modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    })
}

impl Storage for FolderStorage {
    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.root.join(folder)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            // A name that is not Unicode is not one of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        names.retain(|name| !name.ends_with(UNFINISHED));
        names.sort();
        Ok(names)
    }

    fn open(&self, name: &str) -> Result<Box<dyn Object>> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(self.root.join(name))?;
        let stamp = stamp_of(&file.metadata()?)?;
        Ok(Box::new(FolderObject { file, stamp }))
    }

    fn create(&self, name: &str) -> Result<Box<dyn NewObject>> {
        let path = self.root.join(name);
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        let mut temporary = path.clone().into_os_string();
        let mark = u32::from_le_bytes(random_bytes());
        temporary.push(format!(".{mark:08x}{UNFINISHED}"));
        let temporary = PathBuf::from(temporary);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        Ok(Box::new(NewFile { file, temporary, path, is_finished: false }))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.root.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync_parent(&path),
        }
    }

    fn remove_unfinished(&self, folder: &str) -> Result<()> {
        let entries = match std::fs::read_dir(self.root.join(folder)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(UNFINISHED) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn stamp(&self, name: &str) -> Result<Stamp> {
        stamp_of(&std::fs::symlink_metadata(self.root.join(name))?)
    }

    fn settle(&self, name: &str) -> Result<()> {
        sync_parent(&self.root.join(name))
    }
}

struct FolderObject {
    file: File,
    stamp: Stamp,
}

impl Object for FolderObject {
    fn stamp(&self) -> Stamp {
        self.stamp
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

struct NewFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    is_finished: bool,
}

impl NewObject for NewFile {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes)
    }

    fn finish(mut self: Box<Self>, put: Put) -> Result<Stamp> {
        self.file.sync_all()?;
        match put {
            Put::Replace => std::fs::rename(&self.temporary, &self.path)?,
            Put::New => name_once(&self.temporary, &self.path)?,
        }
        self.is_finished = true;
        sync_parent(&self.path)?;
        stamp_of(&self.file.metadata()?)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // What a crash leaves is removed at the next start.
        if !self.is_finished {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Renames a file to a name that nobody has.
fn name_once(from: &Path, to: &Path) -> Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems without it have links.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        outcome => Ok(outcome?),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn an_object_is_there_whole_or_not_at_all_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FolderStorage::new(&folder.path().join("vault"));
        let mut unfinished = storage.create("a/b/one").unwrap();
        unfinished.write(b"half").unwrap();
        assert_eq!(storage.list("a/b").unwrap(), [""; 0]);
        drop(unfinished);
        write(&storage, "a/b/one", b"first", Put::New).unwrap();
        let second = write(&storage, "a/b/one", b"second", Put::New);
        assert_eq!(second.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(read(&storage, "a/b/one", 100).unwrap(), b"first");
        let before = storage.stamp("a/b/one").unwrap();
        write(&storage, "a/b/one", b"third", Put::Replace).unwrap();
        assert_ne!(storage.stamp("a/b/one").unwrap(), before);
        assert!(read(&storage, "a/b/one", 3).is_err());
        assert_eq!(std::fs::read_dir(folder.path().join("vault/a/b")).unwrap().count(), 1);
        let mode = |path: &str| {
            std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777
        };
        assert_eq!(
            (mode("vault"), mode("vault/a/b"), mode("vault/a/b/one")),
            (0o700, 0o700, 0o600)
        );
        storage.remove("a/b/one").unwrap();
        storage.remove("a/b/one").unwrap();
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FolderStorage::new(folder.path());
        rustix::fs::mkfifoat(CWD, folder.path().join("pipe"), rustix::fs::Mode::RWXU).unwrap();
        std::fs::write(folder.path().join("file"), "x").unwrap();
        symlink(folder.path().join("file"), folder.path().join("link")).unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        for name in ["pipe", "link", "folder"] {
            assert!(storage.open(name).is_err(), "{name}");
            assert!(storage.stamp(name).is_err(), "{name}");
        }
        assert!(storage.open("file").is_ok());
    }
}
