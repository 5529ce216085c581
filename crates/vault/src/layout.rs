//! The names of objects in a vault.

use tidemark_model::OplogSpan;

use crate::store::Store;

/// The object that proves which key is the vault's.
pub(crate) const CONFIGURATION: &str = "config";
/// What is known of the packs' health.
pub(crate) const CHECKS: &str = "checks";
/// The folders of packs, manifests and oplog segments.
pub(crate) const PACKS: &str = "packs";
pub(crate) const SNAPSHOTS: &str = "snapshots";
pub(crate) const OPLOG: &str = "oplog";
/// The folder of what has been read of snapshots that are not complete.
pub(crate) const DRAFTS: &str = "drafts";
/// The folder of what says which chunks are in which packs.
pub(crate) const INDEXES: &str = "index";
/// The folders of who writes snapshots, and of packs that are being removed, in a shared vault.
pub(crate) const WRITERS: &str = "writers";
pub(crate) const REMOVALS: &str = "removals";
/// The folder of files that are kept for a while, which are no part of a backup.
pub(crate) const FILES: &str = "files";
/// The folder of promises to keep what is written.
pub(crate) const KEEPING: &str = "keeping";
/// The folders whose objects are kept for as long as was promised.
pub(crate) const KEPT: &[&str] = &[PACKS, SNAPSHOTS, OPLOG, KEEPING];
pub(crate) const FOLDERS: &[&str] = &[PACKS, SNAPSHOTS, OPLOG, DRAFTS, INDEXES];

/// The manifest of a snapshot.
pub(crate) fn manifest_name(snapshot: &str) -> String {
    format!("{SNAPSHOTS}/{snapshot}")
}

/// What has been read of a snapshot.
pub(crate) fn draft_name(snapshot: &str) -> String {
    format!("{DRAFTS}/{snapshot}")
}

/// A segment of an instance's oplog.
pub(crate) fn segment_name(instance: &str, name: OplogSpan) -> String {
    format!("{OPLOG}/{instance}/{name}")
}

/// Whether a folder holds objects of a vault.
pub(crate) fn holds_objects(store: &dyn Store) -> std::io::Result<bool> {
    for folder in FOLDERS {
        if !store.list(folder)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(store.list("")?.iter().any(|name| name == CONFIGURATION))
}
