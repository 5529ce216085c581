//! A folder on a local disk: files that appear whole or not at all.
//!
//! Only regular files count and no link is followed: a pipe in the folder must not hang whoever
//! reads it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use tidemark_model::random_bytes;

use crate::locking::lock;

use super::contract::{Listed, NewObject, Object, Put, Rewriter, Stamp, Store, too_large};

/// The ending of files that are being written.
const UNFINISHED: &str = ".tmp";

/// A folder on a local disk.
pub(crate) struct FolderStore {
    root: PathBuf,
    /// Held while an object that is there is replaced or removed; nobody else does that in a folder.
    changing: Mutex<()>,
}

impl FolderStore {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), changing: Mutex::new(()) }
    }

    fn begin(&self, name: &str) -> Result<NewFile> {
        let path = self.root.join(name);
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        let mut temporary = path.clone().into_os_string();
        let mark = u32::from_le_bytes(random_bytes());
        temporary.push(format!(".{mark:08x}{UNFINISHED}"));
        let temporary = PathBuf::from(temporary);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        Ok(NewFile { file, temporary, path, is_finished: false })
    }

    fn open_file(&self, name: &str) -> Result<FolderObject> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(self.root.join(name))?;
        let stamp = stamp_of(&file.metadata()?)?;
        Ok(FolderObject { file, stamp })
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

impl Store for FolderStore {
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

    fn list_objects(&self, folder: &str) -> Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for name in self.list(folder)? {
            let metadata = match std::fs::symlink_metadata(self.root.join(folder).join(&name)) {
                // It was removed meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            if let Ok(stamp) = stamp_of(&metadata) {
                listed.push(Listed { name, stamp, written: metadata.modified()? });
            }
        }
        Ok(listed)
    }

    fn open_end(&self, name: &str, bytes: u64) -> Result<(Box<dyn Object>, Vec<u8>)> {
        let object = self.open_file(name)?;
        let size = object.stamp.size;
        let end = object.read(size.saturating_sub(bytes), size.min(bytes))?;
        Ok((Box::new(object), end))
    }

    fn open_known(&self, name: &str, _stamp: Stamp) -> Result<Box<dyn Object>> {
        Ok(Box::new(self.open_file(name)?))
    }

    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let object = self.open_file(name)?;
        match object.stamp.size {
            size if size > limit => Err(too_large(size)),
            size => object.read(0, size),
        }
    }

    fn put(&self, name: &str, bytes: &[u8], put: Put) -> Result<Stamp> {
        let mut file = self.begin(name)?;
        file.write(bytes)?;
        let _alone = lock(&self.changing);
        file.finish_as(put)
    }

    /// The file is as old afterwards as it was before.
    fn rewrite(&self, name: &str, limit: u64, change: Rewriter<'_>) -> Result<Option<Stamp>> {
        let object = match self.open_file(name) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            object => object?,
        };
        if object.stamp.size > limit {
            return Err(too_large(object.stamp.size));
        }
        let Some(bytes) = change(&object.read(0, object.stamp.size)?)? else { return Ok(None) };
        let mut file = self.begin(name)?;
        file.write(&bytes)?;
        file.file.set_modified(object.file.metadata()?.modified()?)?;
        file.file.sync_all()?;
        let _alone = lock(&self.changing);
        match self.stamp(name) {
            Ok(stamp) if stamp == object.stamp => file.finish_as(Put::Replace).map(Some),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(None),
        }
    }

    fn create(&self, name: &str) -> Result<Box<dyn NewObject>> {
        Ok(Box::new(self.begin(name)?))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.root.join(name);
        let _alone = lock(&self.changing);
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

    fn written(&self, name: &str) -> Result<SystemTime> {
        std::fs::metadata(self.root.join(name))?.modified()
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

impl FolderObject {
    fn read(&self, offset: u64, size: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(size).map_err(Error::other)?];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

impl Object for FolderObject {
    fn stamp(&self) -> Stamp {
        self.stamp
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        if offset > self.stamp.size {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the file ends before"));
        }
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

    fn finish(self: Box<Self>) -> Result<Stamp> {
        self.finish_as(Put::New)
    }
}

impl NewFile {
    fn finish_as(mut self, put: Put) -> Result<Stamp> {
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
        let store = FolderStore::new(&folder.path().join("vault"));
        let mut unfinished = store.create("a/b/one").unwrap();
        unfinished.write(b"half").unwrap();
        assert_eq!(store.list("a/b").unwrap(), [""; 0]);
        drop(unfinished);
        store.put("a/b/one", b"first", Put::New).unwrap();
        let second = store.put("a/b/one", b"second", Put::New);
        assert_eq!(second.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(store.read("a/b/one", 100).unwrap(), b"first");
        let before = store.stamp("a/b/one").unwrap();
        store.put("a/b/one", b"third", Put::Replace).unwrap();
        assert_ne!(store.stamp("a/b/one").unwrap(), before);
        assert!(store.read("a/b/one", 3).is_err());
        assert_eq!(std::fs::read_dir(folder.path().join("vault/a/b")).unwrap().count(), 1);
        let mode = |path: &str| {
            std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777
        };
        assert_eq!(
            (mode("vault"), mode("vault/a/b"), mode("vault/a/b/one")),
            (0o700, 0o700, 0o600)
        );
        store.remove("a/b/one").unwrap();
        store.remove("a/b/one").unwrap();
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::new(folder.path());
        rustix::fs::mkfifoat(CWD, folder.path().join("pipe"), rustix::fs::Mode::RWXU).unwrap();
        std::fs::write(folder.path().join("file"), "x").unwrap();
        symlink(folder.path().join("file"), folder.path().join("link")).unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        for name in ["pipe", "link", "folder"] {
            assert!(store.open_end(name, 1).is_err(), "{name}");
            assert!(store.stamp(name).is_err(), "{name}");
        }
        assert!(store.open_end("file", 1).is_ok());
    }
}
