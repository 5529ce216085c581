//! Snapshots at rest: chunks, packs, manifests, oplog segments.
//!
//! `docs/format/vault.md` describes every byte. Objects are written once, to a temporary name,
//! synced and renamed; a snapshot exists when its manifest exists, and the manifest is written
//! after everything it names. The folder and the key are enough to read all of it.

mod chunker;
mod digest;
mod folder;
mod key;
mod manifest;
mod pack;
mod prune;
mod sealed;
mod segment;
mod vault;
mod verify;

pub use chunker::{Chunker, RawChunk};
pub use digest::{ChunkId, DocumentSet};
pub use key::{KeyError, VaultKey};
pub use manifest::{ChunkRef, CollectionManifest, Manifest, SnapshotMode};
pub use prune::PruneReport;
pub use segment::{OplogSegment, SegmentName};
pub use vault::{SnapshotWriter, Vault, VaultError};
pub use verify::{Damage, VerifyReport};
