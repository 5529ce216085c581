//! Restore drills: asked for, found.

use jiff::Timestamp;
use tidemark_catalog::{Catalog, CatalogError, Drill, Instance, NewDrill};
use tidemark_model::{
    BackupPoint, DrillCheck, DrillCheckError, DrillId, OplogSpan, OplogTime, PointInTime,
    SnapshotId,
};

use crate::restore_jobs::{self, CreateRestoreJobError, list_restorable};

/// Which backup is brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrillPoint {
    /// The newest snapshot.
    Newest,
    /// A moment at random among those that can be restored; the newest snapshot where there is none.
    Random,
    /// This one.
    Named(BackupPoint),
}

/// Why there is no drill.
#[derive(Debug, thiserror::Error)]
pub enum CreateDrillError {
    /// The instance has no complete snapshot yet.
    #[error("there is no complete snapshot to bring back")]
    NothingToRestore,
    /// One waits or is done now.
    #[error("an earlier drill is not finished")]
    Unfinished,
    /// A check cannot be asked.
    #[error(transparent)]
    Check(#[from] DrillCheckError),
    /// The snapshot or moment cannot be restored.
    #[error(transparent)]
    Point(#[from] CreateRestoreJobError),
    /// The records could not be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// A drill that somebody wants.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedDrill {
    /// Which backup.
    pub point: DrillPoint,
    /// The user's own checks.
    pub checks: Vec<DrillCheck>,
    /// Whether a schedule asks for it.
    pub is_scheduled: bool,
}

/// Records that a drill is wanted.
pub fn create(
    catalog: &Catalog,
    instance: &Instance,
    wanted: &WantedDrill,
    now: Timestamp,
) -> Result<Drill, CreateDrillError> {
    DrillCheck::check_all(&wanted.checks)?;
    if catalog.is_drilled(instance.id)? {
        return Err(CreateDrillError::Unfinished);
    }
    let (snapshot, moment) = find_point(catalog, instance, wanted.point, now)?;
    let drill = NewDrill {
        id: DrillId::new(now),
        instance: instance.id,
        is_scheduled: wanted.is_scheduled,
        snapshot,
        moment,
        checks: wanted.checks.clone(),
        created_at: now,
    };
    catalog.insert_drill(&drill)?;
    let found = catalog.find_drill(instance.id, drill.id)?;
    found.ok_or_else(|| CatalogError::Missing(format!("drill {}", drill.id)).into())
}

fn find_point(
    catalog: &Catalog,
    instance: &Instance,
    point: DrillPoint,
    now: Timestamp,
) -> Result<(SnapshotId, Option<PointInTime>), CreateDrillError> {
    let point = match point {
        DrillPoint::Named(point) => Some(point),
        DrillPoint::Newest => None,
        DrillPoint::Random => {
            let spans = list_restorable(catalog, instance, now)?;
            pick(&spans, rand())
                .map(|second| BackupPoint::Moment(PointInTime::Second(second), None))
        }
    };
    match point {
        None => {
            let newest = catalog.find_newest_complete(instance.id)?;
            Ok((newest.ok_or(CreateDrillError::NothingToRestore)?.id, None))
        }
        Some(BackupPoint::Snapshot(id)) => {
            Ok((restore_jobs::find_complete(catalog, instance, id)?.id, None))
        }
        Some(BackupPoint::Moment(moment, base)) => {
            let plan = restore_jobs::plan(catalog, instance, (moment, base), now)?;
            Ok((plan.base, Some(moment)))
        }
    }
}

fn rand() -> u64 {
    u64::from_le_bytes(tidemark_model::random_bytes())
}

/// A second of the spans; the number says which, each is as likely as any other.
fn pick(spans: &[OplogSpan], number: u64) -> Option<u32> {
    // Neither the first nor the last second of a span may be in it as a whole.
    let length = |span: &OplogSpan| {
        let last = span.last.seconds;
        let is_whole = span.last >= OplogTime::end_of_second(last);
        let through = if is_whole { last } else { last.saturating_sub(1) };
        u64::from(through.saturating_sub(span.first.seconds))
    };
    let total: u64 = spans.iter().map(length).sum();
    let mut place = number.checked_rem(total)?;
    for span in spans {
        if place < length(span) {
            return u32::try_from(place).ok()?.checked_add(span.first.seconds)?.checked_add(1);
        }
        place -= length(span);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_of_every_span_is_picked_and_no_other() {
        let span = |first, last| OplogSpan { first: OplogTime::new(first, 1), last };
        let end = OplogTime::end_of_second;
        let spans = [span(10, end(13)), span(20, end(20)), span(30, OplogTime::new(33, 5))];
        let picked: Vec<u32> = (0..5).filter_map(|number| pick(&spans, number)).collect();
        assert_eq!(picked, [11, 12, 13, 31, 32]);
        assert_eq!(pick(&spans, 5), Some(11));
        assert_eq!(pick(&[span(20, end(20))], 3), None);
        assert_eq!(pick(&[], 3), None);
    }
}
