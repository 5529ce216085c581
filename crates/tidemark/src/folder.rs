//! The data folder: one process at a time.

use std::fs::{File, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error(
        "the data folder {path} cannot be used: {source}; choose one with --data-dir that this user may write to"
    )]
    Unusable { path: PathBuf, source: std::io::Error },
    #[error(
        "another tidemark process uses the data folder {path}; stop it or choose another --data-dir"
    )]
    InUse { path: PathBuf },
}

/// The lock on a data folder; the operating system gives it back when the process ends.
pub(crate) struct FolderLock {
    _file: File,
}

/// Makes the folder if it does not exist, closes it to other users and locks it.
pub(crate) fn lock(folder: &Path) -> Result<FolderLock, FolderError> {
    let unusable = |source| FolderError::Unusable { path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(unusable)?;
    // What is inside lets its reader act as an organization owner.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(unusable)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(FolderLock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(FolderError::InUse { path: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

/// Whether a process uses a data folder.
pub(crate) fn is_locked(folder: &Path) -> bool {
    let Ok(file) = File::open(folder.join("lock")) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path()).unwrap();
        assert!(matches!(lock(folder.path()), Err(FolderError::InUse { .. })));
        drop(first);
        assert!(lock(folder.path()).is_ok());
        let mode = std::fs::metadata(folder.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
