//! Snapshots at rest: chunks, packs, manifests, oplog segments.
//!
//! `docs/format/vault.md` describes every byte. Objects are written once, to a temporary name,
//! synced and renamed; a snapshot exists when its manifest exists, and the manifest is written
//! after everything it names. The folder and the key are enough to read all of it.
//!
//! It fails closed: what cannot be read is unknown, and what is unknown is never deleted,
//! overwritten or referred to.

#[cfg(test)]
mod bucket_tests;
mod cache;
mod checks;
mod chunker;
mod copy;
mod digest;
mod draft;
mod error;
#[cfg(test)]
mod faults;
mod files;
mod health;
mod index;
mod indexing;
mod keeping;
mod key;
mod layout;
mod list;
mod locking;
mod manifest;
mod opening;
mod oplog;
mod pack;
mod pack_index;
mod pack_list;
mod parallel;
mod parts;
mod pass;
mod prune;
mod resealing;
mod sealed;
mod segment;
mod sharing;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod vault;
mod vaults;
mod verify;
mod writer;

pub use cache::CachePlace;
pub use checks::VaultHealth;
pub use chunker::{Chunker, RawChunk};
pub use copy::{CopyOptions, CopyReport};
pub use digest::{ChunkId, DocumentSet};
pub use draft::{Draft, DraftPart};
pub use error::VaultError;
pub use files::{FileWriter, KeptFile};
pub use key::{KeyError, VaultKey};
pub use list::{ChunkList, ChunkRef, Extent, ListItem, PartRef};
pub use manifest::{CollectionManifest, Manifest, ManifestError, SnapshotMode, SnapshotOwner};
pub use parts::ListWriter;
pub use pass::ResealReport;
pub use prune::PruneReport;
pub use segment::{OplogSegment, SegmentError};
pub use store::{Location, LocationError, RequestKind};
pub use vault::Vault;
pub use vaults::Vaults;
pub use verify::{Damage, VerifyReport};
pub use writer::SnapshotWriter;
