//! Which restores are possible, and what exactly is done for one.
//!
//! A restore is a value before it is work. `plan_restore` looks at what is known and answers a plan
//! or the reason why there is none; who takes a job, who does it and who shows what is restorable
//! ask the same function. It reads nothing: whoever asks brings the facts.

use std::fmt;

use crate::{OplogTime, PointInTime, SnapshotId};

/// A part of an oplog without a gap, both ends included; also the name of a captured segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OplogSpan {
    /// The position of the first entry.
    pub first: OplogTime,
    /// The position of the last entry.
    pub last: OplogTime,
}

impl OplogSpan {
    /// The span between two positions.
    pub const fn new(first: OplogTime, last: OplogTime) -> Self {
        Self { first, last }
    }

    /// Whether a position lies in it.
    pub fn contains(&self, position: OplogTime) -> bool {
        self.first <= position && position <= self.last
    }

    /// The span that its text stands for.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let position = |text| u64::from_str_radix(text, 16).ok().map(OplogTime::from_u64);
        Some(Self { first: position(first)?, last: position(last)? })
    }
}

impl fmt::Display for OplogSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.first.to_u64(), self.last.to_u64())
    }
}

/// A complete snapshot from which a restore may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The moment that it shows; `None` if it shows none.
    pub at: Option<OplogTime>,
}

/// A part of an oplog that was captured without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Captured {
    /// From its first entry to its last one.
    pub entries: OplogSpan,
    /// No entry between its last one and this position is lacking: there was none, or it will be
    /// captured.
    pub through: OplogTime,
}

impl Captured {
    /// What is captured; what came after it is not known.
    pub fn new(entries: OplogSpan) -> Self {
        Self { entries, through: entries.last }
    }

    /// The same, known to lack nothing through a position.
    #[must_use]
    pub fn through(self, position: OplogTime) -> Self {
        Self { through: self.through.max(position), ..self }
    }
}

/// What a restore of an instance can start from.
#[derive(Debug, Clone, Copy)]
pub struct Material<'a> {
    /// What was captured of its oplog, in order.
    pub captured: &'a [Captured],
    /// Its complete snapshots.
    pub bases: &'a [Base],
}

/// What is done to reach a moment: the entries after one position through another, on a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestorePlan {
    /// The snapshot that is staged.
    pub base: SnapshotId,
    /// The position that the snapshot shows; entries after it are replayed.
    pub from: OplogTime,
    /// The last position that belongs to the restored state.
    pub through: OplogTime,
    /// What the captured segments must lead to. There is no entry after it up to `through`.
    pub reaches: OplogTime,
}

/// Why a moment cannot be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No captured span holds the moment.
    #[error("{}", describe_outside(*wanted, *before, *after))]
    Outside {
        /// The wanted position.
        wanted: OplogTime,
        /// The newest restorable position before it.
        before: Option<OplogTime>,
        /// The oldest restorable position after it.
        after: Option<OplogTime>,
    },
    /// The snapshot that was named is not on the way to the moment.
    #[error(
        "the snapshot {snapshot} does not lead to {wanted}: it must show a moment before it, with the oplog between captured"
    )]
    WrongBase {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The wanted position.
        wanted: OplogTime,
    },
}

fn describe_outside(
    wanted: OplogTime,
    before: Option<OplogTime>,
    after: Option<OplogTime>,
) -> String {
    let nearest = match (before, after) {
        (None, None) => "no moment is restorable yet".to_owned(),
        (Some(before), None) => format!("the nearest before it is {before}"),
        (None, Some(after)) => format!("the nearest after it is {after}"),
        (Some(before), Some(after)) => format!("the nearest are {before} and {after}"),
    };
    format!("{wanted} cannot be restored; {nearest}")
}

/// A captured span with the moments in it that can be restored: from its first snapshot on.
struct Window {
    captured: OplogSpan,
    restorable: OplogSpan,
}

fn windows(material: &Material<'_>) -> Vec<Window> {
    let windows = material.captured.iter().filter_map(|captured| {
        let (entries, last) = (captured.entries, captured.through);
        let bases = material.bases.iter().filter_map(|base| base.at);
        let first = bases.filter(|at| entries.first <= *at && *at <= last).min()?;
        Some(Window { captured: entries, restorable: OplogSpan { first, last } })
    });
    windows.collect()
}

/// The spans of moments that can be restored: each begins with the first snapshot in a captured
/// span and ends where that ends.
pub fn restorable(material: &Material<'_>) -> Vec<OplogSpan> {
    windows(material).into_iter().map(|window| window.restorable).collect()
}

/// Plans a restore to a moment, from the snapshot `base` if one is named, otherwise from the
/// newest that leads there.
pub fn plan_restore(
    moment: PointInTime,
    base: Option<SnapshotId>,
    material: &Material<'_>,
) -> Result<RestorePlan, PlanError> {
    let wanted = moment.last_position();
    let windows = windows(material);
    let outside = || {
        let spans = || windows.iter().map(|window| window.restorable);
        PlanError::Outside {
            wanted,
            before: spans().rev().map(|span| span.last).find(|last| *last < wanted),
            after: spans().map(|span| span.first).find(|first| *first > wanted),
        }
    };
    let is_within = |window: &&Window| window.restorable.contains(wanted);
    let captured = windows.iter().rev().find(is_within).ok_or_else(outside)?.captured;
    let leads_there = |at: OplogTime| captured.first <= at && at <= wanted;
    let (snapshot, from) = if let Some(named) = base {
        let found = material.bases.iter().find(|base| base.snapshot == named);
        let at = found.and_then(|found| found.at).filter(|at| leads_there(*at));
        (named, at.ok_or(PlanError::WrongBase { snapshot: named, wanted })?)
    } else {
        let usable = material.bases.iter().filter_map(|base| Some((base.snapshot, base.at?)));
        let newest = usable.filter(|(_, at)| leads_there(*at)).max_by_key(|(_, at)| *at);
        newest.ok_or_else(outside)?
    };
    let reaches = wanted.min(captured.last).max(from);
    Ok(RestorePlan { base: snapshot, from, through: wanted, reaches })
}

/// A hole in what was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the captured oplog has nothing from {from} to {to}")]
pub struct OplogGap {
    /// The last position before it.
    pub from: OplogTime,
    /// The first position that is needed after it.
    pub to: OplogTime,
}

/// The segments that lead from one position to another, in order. Each begins with the entry that
/// the one before it ends with. Segments may cover each other, as they do while they are merged.
pub fn chain(
    segments: &[OplogSpan],
    from: OplogTime,
    to: OplogTime,
) -> Result<Vec<OplogSpan>, OplogGap> {
    let mut chain: Vec<OplogSpan> = Vec::new();
    while chain.last().is_none_or(|last| last.last < to) && from < to {
        let follows = |segment: &&OplogSpan| match chain.last() {
            None => segment.contains(from) && segment.last > from,
            Some(last) => segment.first == last.last && segment.last > last.last,
        };
        match segments.iter().filter(follows).max_by_key(|segment| segment.last) {
            Some(next) => chain.push(*next),
            None => return Err(OplogGap { from: chain.last().map_or(from, |last| last.last), to }),
        }
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn at(second: u32) -> OplogTime {
        OplogTime::new(second, 1)
    }

    fn span(first: u32, last: u32) -> OplogSpan {
        OplogSpan::new(at(first), at(last))
    }

    fn base(second: u32) -> Base {
        let instant = Timestamp::from_second(i64::from(second)).unwrap();
        Base { snapshot: SnapshotId::new(instant), at: Some(at(second)) }
    }

    #[test]
    fn a_moment_is_reached_from_the_newest_snapshot_before_it() {
        let (bases, spans) = ([base(10), base(20), base(50)], [span(5, 30), span(40, 60)]);
        let captured = spans.map(Captured::new);
        let material = Material { captured: &captured, bases: &bases };
        let plan = |second| plan_restore(PointInTime::Entry(at(second)), None, &material);
        assert_eq!(plan(25).unwrap().base, bases[1].snapshot);
        assert_eq!(
            plan(20).unwrap(),
            RestorePlan { base: bases[1].snapshot, from: at(20), through: at(20), reaches: at(20) }
        );
        assert_eq!(plan(19).unwrap().base, bases[0].snapshot);
        assert_eq!(plan(55).unwrap().base, bases[2].snapshot);
        // Before the first snapshot, in the gap, before the first one of the second span, later.
        for (second, before, after) in [
            (7, None, Some(10)),
            (35, Some(30), Some(50)),
            (45, Some(30), Some(50)),
            (61, Some(60), None),
        ] {
            let error = PlanError::Outside {
                wanted: at(second),
                before: before.map(at),
                after: after.map(at),
            };
            assert_eq!(plan(second), Err(error));
        }
        assert_eq!(restorable(&material), [span(10, 30), span(50, 60)]);
    }

    #[test]
    fn a_named_snapshot_must_lead_there() {
        let (bases, spans) = ([base(10), base(20), base(50)], [span(5, 30), span(40, 60)]);
        let captured = spans.map(Captured::new);
        let material = Material { captured: &captured, bases: &bases };
        let plan = |second, base: &Base| {
            plan_restore(PointInTime::Entry(at(second)), Some(base.snapshot), &material)
        };
        assert_eq!(plan(25, &bases[0]).unwrap().from, at(10));
        for (second, base) in [(25, &bases[2]), (55, &bases[1]), (15, &bases[1])] {
            assert!(matches!(plan(second, base), Err(PlanError::WrongBase { .. })));
        }
    }

    #[test]
    fn a_span_that_grows_reaches_the_present_and_one_that_may_not_does_not() {
        let (bases, captured) = ([base(10)], Captured::new(span(5, 30)));
        let plan = |captured| {
            let material = Material { captured: &[captured], bases: &bases };
            plan_restore(PointInTime::Second(40), None, &material)
        };
        assert!(plan(captured).is_err());
        assert!(plan(captured.through(at(39))).is_err());
        let reached = plan(captured.through(OplogTime::end_of_second(40))).unwrap();
        assert_eq!((reached.reaches, reached.through), (at(30), OplogTime::end_of_second(40)));
    }

    #[test]
    fn a_chain_has_no_gap_and_takes_the_largest_segments() {
        let segments = [
            span(1, 1),
            span(1, 4),
            span(1, 9),
            span(4, 6),
            span(6, 9),
            span(9, 12),
            span(20, 20),
            span(20, 22),
        ];
        assert_eq!(chain(&segments, at(3), at(11)).unwrap(), [span(1, 9), span(9, 12)]);
        assert_eq!(chain(&segments, at(9), at(9)).unwrap(), []);
        assert_eq!(chain(&segments, at(9), at(10)).unwrap(), [span(9, 12)]);
        assert_eq!(chain(&segments, at(3), at(21)), Err(OplogGap { from: at(12), to: at(21) }));
        assert_eq!(chain(&segments, at(15), at(21)), Err(OplogGap { from: at(15), to: at(21) }));
    }

    proptest! {
        /// Whatever is known: a plan begins at a snapshot and its segments lead, without a gap, to
        /// what it says; and a moment is refused only where none leads there.
        #[test]
        fn a_plan_can_be_done(
            cuts in proptest::collection::btree_set(1_u32..60, 1..20),
            gaps in proptest::collection::btree_set(0_usize..20, 0..4),
            snapshots in proptest::collection::btree_set(1_u32..60, 0..6),
            wanted in 1_u32..60,
        ) {
            let cuts: Vec<u32> = cuts.into_iter().collect();
            let segments: Vec<OplogSpan> = cuts
                .windows(2)
                .enumerate()
                .filter(|(number, _)| !gaps.contains(number))
                .map(|(_, pair)| span(pair[0], pair[1]))
                .collect();
            let mut spans: Vec<OplogSpan> = Vec::new();
            for segment in &segments {
                match spans.last_mut() {
                    Some(last) if last.last == segment.first => last.last = segment.last,
                    _ => spans.push(*segment),
                }
            }
            let bases: Vec<Base> = snapshots.iter().map(|second| base(*second)).collect();
            let captured: Vec<Captured> = spans.iter().copied().map(Captured::new).collect();
            let material = Material { captured: &captured, bases: &bases };
            let planned = plan_restore(PointInTime::Entry(at(wanted)), None, &material);
            let is_possible = snapshots.iter().any(|second| {
                *second <= wanted && spans.iter().any(|s| s.contains(at(*second)) && s.contains(at(wanted)))
            });
            prop_assert_eq!(planned.is_ok(), is_possible, "{:?}", planned);
            if let Ok(plan) = planned {
                prop_assert_eq!(plan.through, at(wanted));
                let chain = chain(&segments, plan.from, plan.reaches).unwrap();
                let mut reached = plan.from;
                for segment in chain {
                    prop_assert!(segment.contains(reached));
                    reached = segment.last;
                }
                prop_assert!(reached >= plan.reaches);
            }
        }
    }
}
