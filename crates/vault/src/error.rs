//! Why the vault did not do what was asked.

use std::path::PathBuf;

use crate::digest::ChunkId;
use crate::manifest::ManifestError;
use crate::store::LocationError;

impl VaultError {
    /// Whether something in the vault is damaged or gone: everything else goes on.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::MissingChunk(_))
    }

    /// Whether it may go better after a while: a bucket that does not answer or refuses for now, or a
    /// snapshot that another process was in the way of.
    pub fn is_transient(&self) -> bool {
        use std::io::ErrorKind::{Other, PermissionDenied};
        match self {
            // Another node may know it.
            Self::Overtaken | Self::Unconfigured { .. } | Self::WrongKey { .. } => true,
            // What comes from an operating system has a code.
            Self::File { source, .. } => {
                source.raw_os_error().is_none() && matches!(source.kind(), Other | PermissionDenied)
            }
            _ => false,
        }
    }
}

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
    /// The keys are the vault's, but not the secret under which its chunks are named.
    #[error(
        "the vault in {path} names its chunks with another secret than the key file holds; copy the whole file that `tidemark keys rotate` wrote, with its line `tidemark-vault-names-1`"
    )]
    OtherNames {
        /// The vault's folder.
        path: PathBuf,
    },
    /// The folder holds objects, but not the one that proves the key.
    #[error(
        "the vault in {path} has lost its file `config`; nothing was changed. Copy the file back, or run `tidemark vault rebuild`"
    )]
    NoConfiguration {
        /// The vault's folder.
        path: PathBuf,
    },
    /// The first release wrote the vault.
    #[error(
        "the vault in {path} has the format of the first release, which this one does not read; nothing was changed. Download its snapshots with that release, or choose another --vault-folder"
    )]
    FirstFormat {
        /// The vault's folder.
        path: PathBuf,
    },
    /// Another process writes to the vault.
    #[error(
        "another tidemark process uses the vault in {path}; stop it or choose another --vault-folder"
    )]
    InUse {
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
    /// There is such an object already; it stays as it is.
    #[error("the vault has {name} already; it was left as it is")]
    Exists {
        /// The object.
        name: String,
    },
    /// It was promised to keep it; nothing was removed.
    #[error("the vault keeps {name} for another {hours_left} hours, whoever wants it removed")]
    Kept {
        /// The object.
        name: String,
        /// For how long, rounded up.
        hours_left: u64,
    },
    /// Something cannot be written in the vault's format.
    #[error("{0} cannot be written in the vault's format")]
    Unwritable(String),
    /// Another process removed packs while a snapshot that relied on them was written.
    #[error(
        "packs that the snapshot relied on were removed by another process meanwhile; it is taken again"
    )]
    Overtaken,
    /// An instance is in a vault that the configuration does not know.
    #[error(
        "vault {name} is not in the configuration of this node; add its section [[vaults]] again"
    )]
    Unconfigured {
        /// Its name.
        name: String,
    },
    /// The place of the vault cannot be used.
    #[error("{0}")]
    Location(#[from] LocationError),
    /// A manifest cannot be written.
    #[error("a manifest cannot be written: {0}")]
    Manifest(#[from] ManifestError),
}
