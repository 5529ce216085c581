//! The oplog entries that a restore replays: the snapshot's own, then what was captured.

use bson::raw::RawDocument;
use tidemark_model::{OplogTime, RestorePlan, chain};
use tidemark_vault::{Manifest, SnapshotMode, Vault};
use tidemark_wire::DocumentRun;

use crate::error::MoverError;
use crate::stop::Stop;
use crate::visit::Visit;

/// How the state after the snapshot's own moment is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The instance whose oplog it is.
    pub instance: String,
    /// Which part of it.
    pub plan: RestorePlan,
}

/// What a visit of all entries found; a second visit must find the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Visited {
    pub(crate) count: u64,
    pub(crate) last: Option<OplogTime>,
}

/// The entries of one restore.
pub(crate) struct Entries<'a> {
    pub(crate) vault: &'a Vault,
    pub(crate) manifest: &'a Manifest,
    pub(crate) replay: Option<&'a Replay>,
    /// From where captured entries are looked at for parts of transactions; not after the snapshot's
    /// own moment.
    pub(crate) earliest: Option<OplogTime>,
    pub(crate) stop: &'a Stop,
}

/// Which of some entries count.
#[derive(Clone, Copy)]
struct Bounds {
    after: OplogTime,
    through: OplogTime,
}

impl Entries<'_> {
    /// Visits all entries that are replayed, in order.
    ///
    /// Fails where one is missing or is none: the segments must lead from the snapshot to where the
    /// plan says, and each begins with the last entry of the one before it, byte for byte.
    pub(crate) fn for_each(
        &self,
        mut visit: impl FnMut(Visit<'_>) -> Result<(), MoverError>,
    ) -> Result<Visited, MoverError> {
        let (mut visited, mut seen) = (Visited::default(), None);
        let mut take = |entry: &RawDocument, bounds: Bounds| -> Result<(), MoverError> {
            let at = position_of(entry)?;
            // Segments overlap by an entry, and what the snapshot has of its own comes first.
            if at > bounds.through || seen.is_some_and(|seen| at <= seen) {
                return Ok(());
            }
            seen = Some(at);
            let is_before = at <= bounds.after;
            visit(Visit { entry, is_before })?;
            if !is_before {
                visited.count += 1;
                visited.last = Some(at);
            }
            Ok(())
        };
        if let SnapshotMode::FuzzyWithOplog { start, end } = self.manifest.mode {
            self.for_each_of_snapshot(Bounds { after: start, through: end }, &mut take)?;
        }
        if let Some(replay) = self.replay {
            self.for_each_captured(replay, &mut take)?;
        }
        Ok(visited)
    }

    fn for_each_of_snapshot(
        &self,
        bounds: Bounds,
        take: &mut impl FnMut(&RawDocument, Bounds) -> Result<(), MoverError>,
    ) -> Result<(), MoverError> {
        for item in &self.manifest.oplog.items {
            for chunk in self.vault.load_item(item)? {
                self.stop.check()?;
                let raw = self.vault.read_chunk(chunk.id)?;
                for entry in DocumentRun::new(&raw) {
                    take(entry.map_err(|error| unreadable(error.to_string()))?, bounds)?;
                }
            }
        }
        Ok(())
    }

    fn for_each_captured(
        &self,
        replay: &Replay,
        take: &mut impl FnMut(&RawDocument, Bounds) -> Result<(), MoverError>,
    ) -> Result<(), MoverError> {
        let RestorePlan { from, through, reaches, .. } = replay.plan;
        if self.manifest.mode.consistent_at() != Some(from) {
            let what = format!("{through} from this snapshot, which does not show {from}");
            return Err(MoverError::OplogGap { what });
        }
        let segments = self.vault.segments(&replay.instance)?;
        let mut before: Option<Vec<u8>> = None;
        let begins = self.earliest.map_or(from, |earliest| earliest.min(from));
        for name in chain(&segments, begins, reaches)? {
            self.stop.check()?;
            let segment = self.vault.load_segment(&replay.instance, name)?;
            if before.as_ref().is_some_and(|entry| !segment.entries.starts_with(entry)) {
                let what =
                    format!("on from {}: the entries there are of another oplog", name.first);
                return Err(MoverError::OplogGap { what });
            }
            for entry in segment.entries() {
                let entry = entry.map_err(|error| unreadable(format!("{name}: {error}")))?;
                take(entry, Bounds { after: from, through })?;
                if position_of(entry)? == name.last {
                    before = Some(entry.as_bytes().to_vec());
                }
            }
        }
        Ok(())
    }
}

fn unreadable(reason: String) -> MoverError {
    MoverError::Replay { position: "unknown".to_owned(), reason }
}

fn position_of(entry: &RawDocument) -> Result<OplogTime, MoverError> {
    let ts = entry.get_timestamp("ts").map_err(|error| unreadable(error.to_string()))?;
    Ok(OplogTime::new(ts.time, ts.increment))
}
