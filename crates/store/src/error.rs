//! Why a store could not do something.

use std::path::PathBuf;

use crate::tree::Tree;

/// Why a store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder holds the data of another version.
    #[error(
        "{folder} holds data of {found}, which this version of Tidemark cannot read; restore from \
         a snapshot into a new instance, or run the version that wrote it"
    )]
    OtherFormat {
        /// The folder.
        folder: PathBuf,
        /// What wrote it.
        found: String,
    },
    /// No space is left on the disk; nothing of the commit is in the file.
    #[error("no space is left on the disk")]
    DiskFull,
    /// The file or folder could not be used.
    #[error("{doing}")]
    File {
        /// What was attempted.
        doing: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The store refused.
    #[error("the store could not {doing}")]
    Refused {
        /// What was attempted.
        doing: &'static str,
        /// The cause.
        #[source]
        source: heed::Error,
    },
    /// A value lacks a piece: the file is damaged.
    #[error("a value in the tree {tree:?} lacks a piece; restore this instance from a snapshot")]
    Damaged {
        /// The tree.
        tree: Tree,
    },
}

pub(crate) fn refused(doing: &'static str) -> impl FnOnce(heed::Error) -> StoreError {
    move |source| match &source {
        heed::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => {
            StoreError::DiskFull
        }
        heed::Error::Mdb(heed::MdbError::MapFull) => StoreError::DiskFull,
        _ => StoreError::Refused { doing, source },
    }
}
