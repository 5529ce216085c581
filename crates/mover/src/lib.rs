//! Moves data between deployments and the vault: snapshots, restores, oplog capture, archives.
//!
//! Every deployment is spoken to over the MongoDB wire protocol. This crate knows no HTTP and no
//! SQL: it is told what to move and says how that went; whoever called it keeps the record.

mod archive;
mod capture;
mod chunk_store;
mod difference;
mod documents;
mod error;
mod export;
mod id_ranges;
mod import;
mod indexes;
mod lookup;
mod oplog_slice;
mod order;
mod parts;
mod proof;
mod reading;
mod replay;
mod restore;
mod server_collections;
mod snapshot;
mod stop;
mod synthesis;
mod transactions;
mod visit;
mod wanted;

pub use archive::{ArchiveSummary, write_archive};
pub use capture::{Capture, CaptureOutcome, RangeEnd, SegmentSink};
pub use difference::{DocumentDifference, NamespaceDifference, compare_snapshots};
pub use documents::{DocumentRestore, Matches, Presence, filter_of};
pub use error::MoverError;
pub use export::{export, select};
pub use import::{ImportRequest, import_dump};
pub use lookup::{IdRanges, Looked, find_collection, visit_documents};
pub use order::compare as compare_ids;
pub use parts::PART_BYTES;
pub use proof::{Expected, Proof, prove};
pub use reading::DRAFT_INTERVAL;
pub use restore::{
    Attempt, Foreseen, ForeseenNamespace, Look, Replay, Restore, RestoreSource, Verified,
    discard_attempt, discard_stage, forget_swap, list_stages, swap_stage, was_swapped,
};
pub use snapshot::{ReadSnapshot, SnapshotRequest, WantedMode, read_snapshot};
pub use stop::{Progress, Stop};
pub use synthesis::{SynthesisRequest, differences, synthesize};
