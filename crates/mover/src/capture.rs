//! Following an oplog and keeping it in the vault.
//!
//! Each round reads from the last entry it has, that entry included: the first entry that comes
//! must be the same, byte for byte, or something is missing between. Only majority-committed
//! entries are read, so nothing that is kept can be rolled back.

use std::collections::BTreeSet;

use bson::raw::RawDocument;
use tidemark_model::{OplogSpan, OplogTime};
use tidemark_vault::{OplogSegment, Vault};
use tidemark_wire::DocumentRun;

use crate::error::MoverError;
use crate::restore::is_record_of_swaps;
use crate::stop::Stop;
use tidemark_deployment::Connection;
use tidemark_deployment::{ELSEWHERE, is_stage, newest_entry};

/// A segment is stored when it has this size; a round that reads more stores several.
const SEGMENT_BYTES: usize = 16 * 1024 * 1024;
/// Entries that only move time are not worth a segment more often than this.
const QUIET_SECONDS: u32 = 60;

/// Where captured segments go. What is put is durable when `put_segment` returns.
pub trait SegmentSink {
    /// Takes a segment of an instance's oplog; taking the same one again is fine.
    fn put_segment(&self, instance: &str, segment: &OplogSegment) -> Result<(), MoverError>;
}

impl SegmentSink for Vault {
    fn put_segment(&self, instance: &str, segment: &OplogSegment) -> Result<(), MoverError> {
        Ok(Self::put_segment(self, instance, segment)?)
    }
}

/// What a round of capturing found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureOutcome {
    /// Everything up to here is in the vault or is known to change nothing.
    CaughtUp {
        /// A position from which the segments follow each other without a gap: the last one of
        /// the round before, or the earliest one for the first round after a resume.
        from: OplogTime,
        /// The last position of the last stored segment.
        through: OplogTime,
        /// Where a restore put collections in place that the oplog does not tell of: the range ends
        /// before that entry, and lacks nothing up to it.
        swapped_at: Option<OplogTime>,
    },
    /// A new range begins: what comes before its first position does not lead to it.
    Began {
        /// The first position of the range.
        begins_at: OplogTime,
        /// Why it does not go on where the one before ended.
        after: RangeEnd,
    },
}

/// What comes before a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeEnd {
    /// Nothing was captured yet.
    Nothing,
    /// A restore put collections in place that the oplog does not tell of.
    Restore,
    /// What follows the last captured entry is not in the oplog any more.
    Gap,
}

/// The capture of one instance's oplog.
pub struct Capture {
    instance: String,
    /// The range that is being extended.
    stored: Option<OplogSpan>,
    /// The bytes of the last stored entry.
    last_entry: Option<Vec<u8>>,
    /// Where the segments begin that no round has told of.
    untold_from: OplogTime,
    /// A restore put collections in place that the oplog says nothing of: what follows belongs to
    /// a new range. The position of the entry that did it.
    swapped_at: Option<OplogTime>,
}

impl Capture {
    /// Takes the capture up where the vault has it.
    pub fn resume(vault: &Vault, instance: &str) -> Result<Self, MoverError> {
        let segments = outermost(vault.segments(instance)?);
        let stored = segments.last().copied();
        let last_entry = match stored {
            Some(name) => {
                let segment = vault.load_segment(instance, name)?;
                let last = DocumentRun::new(&segment.entries).flatten().last();
                last.map(|entry| entry.as_bytes().to_vec())
            }
            None => None,
        };
        let untold_from = run_start(&segments);
        let instance = instance.to_owned();
        Ok(Self { instance, stored, last_entry, untold_from, swapped_at: None })
    }

    /// Whether the range has ended, so that the next round begins a new one.
    pub fn is_over(&self) -> bool {
        self.swapped_at.is_some()
    }

    /// The last position that is stored.
    pub fn stored_through(&self) -> Option<OplogTime> {
        self.stored.map(|segment| segment.last)
    }

    /// Stores what is new. With `flush`, also entries that only move time.
    pub fn run_round(
        &mut self,
        connection: &mut Connection,
        sink: &dyn SegmentSink,
        flush: bool,
        stop: &Stop,
    ) -> Result<CaptureOutcome, MoverError> {
        if self.swapped_at.is_some() {
            let began = self.begin(RangeEnd::Restore, connection, sink, stop)?;
            self.swapped_at = None;
            return Ok(began);
        }
        let (Some(stored), Some(last_entry)) = (self.stored, self.last_entry.clone()) else {
            return self.begin(RangeEnd::Nothing, connection, sink, stop);
        };
        let mut round = Round::new(&self.instance, sink);
        let mut is_first = true;
        let mut has_gap = false;
        let mut swapped_at = None;
        let from = bson::Timestamp { time: stored.last.seconds, increment: stored.last.increment };
        let command = bson::doc! {
            "find": "oplog.rs",
            "filter": { "ts": { "$gte": from } },
            "readConcern": { "level": "majority" },
        };
        connection.for_each("local", command, |entry| {
            stop.check()?;
            // The first one belongs to the range already.
            if std::mem::take(&mut is_first) {
                has_gap = entry.as_bytes() != last_entry;
            } else if swapped_at.is_none() && is_swap(entry) {
                swapped_at = entry.get_timestamp("ts").ok();
            }
            if has_gap || swapped_at.is_some() { Ok(()) } else { round.push(entry) }
        })?;
        if has_gap || is_first {
            return self.begin(RangeEnd::Gap, connection, sink, stop);
        }
        let quiet_since = stored.last.seconds;
        let is_worth_it = flush
            || swapped_at.is_some()
            || round.has_changes
            || round.last.seconds >= quiet_since + QUIET_SECONDS;
        if is_worth_it {
            round.store()?;
        }
        if let Some((segment, last_entry)) = round.stored {
            self.stored = Some(segment);
            self.last_entry = Some(last_entry);
        }
        self.swapped_at = swapped_at.map(|at| OplogTime::new(at.time, at.increment));
        let through = self.stored.unwrap_or(stored).last;
        let from = std::mem::replace(&mut self.untold_from, through);
        Ok(CaptureOutcome::CaughtUp { from, through, swapped_at: self.swapped_at })
    }

    /// Begins a new range at the newest entry.
    fn begin(
        &mut self,
        after: RangeEnd,
        connection: &mut Connection,
        sink: &dyn SegmentSink,
        stop: &Stop,
    ) -> Result<CaptureOutcome, MoverError> {
        let begins_at = newest_entry(connection)?
            .ok_or_else(|| MoverError::OplogGap { what: "anything: it is empty".to_owned() })?;
        let from = bson::Timestamp { time: begins_at.seconds, increment: begins_at.increment };
        let mut round = Round::new(&self.instance, sink);
        let command = bson::doc! {
            "find": "oplog.rs",
            "filter": { "ts": from },
            "readConcern": { "level": "majority" },
        };
        connection.for_each("local", command, |entry| {
            stop.check()?;
            round.push(entry)
        })?;
        round.is_beginning = true;
        round.store()?;
        let (segment, last_entry) = round
            .stored
            .ok_or_else(|| MoverError::OplogGap { what: format!("{begins_at} any more") })?;
        self.stored = Some(segment);
        self.last_entry = Some(last_entry);
        self.untold_from = begins_at;
        Ok(CaptureOutcome::Began { begins_at, after })
    }
}

/// Whether an entry puts a collection in place that a restore staged, or, where there was none to
/// put in place, is the record that a swap has happened.
fn is_swap(entry: &RawDocument) -> bool {
    if entry.get_str("op").is_ok_and(|op| op == "i")
        && entry.get_str("ns").is_ok_and(is_record_of_swaps)
    {
        return true;
    }
    let renamed = entry
        .get_str("op")
        .ok()
        .filter(|op| *op == "c")
        .and_then(|_| entry.get_document("o").ok()?.get_str("renameCollection").ok());
    renamed.and_then(|from| from.split_once('.')).is_some_and(|(_, name)| is_stage(name))
}

/// Whether an entry changes documents that a restore stages. They come into place by a rename, with which
/// the range ends, or never: no moment needs them, and they are as much as everything that is restored.
fn is_of_stage(entry: &RawDocument) -> bool {
    let is_change = entry.get_str("op").is_ok_and(|op| matches!(op, "i" | "u" | "d"));
    let namespace = entry.get_str("ns").ok().filter(|_| is_change);
    namespace.and_then(|ns| ns.split_once('.')).is_some_and(|(_, name)| is_stage(name))
}

/// Whether an entry is only the place of one of another database. The last one of a segment is kept.
fn is_elsewhere(entry: &RawDocument) -> bool {
    entry.get_str("op").is_ok_and(|op| op == "n")
        && entry
            .get_document("o")
            .is_ok_and(|said| said.get_str("msg").is_ok_and(|said| said == ELSEWHERE))
}

/// Those that are no part of another one, in order: two who stored the same entries at the same time may
/// have stored one more piece of them.
fn outermost(segments: Vec<OplogSpan>) -> Vec<OplogSpan> {
    let mut kept: Vec<OplogSpan> = Vec::new();
    for segment in segments {
        // One position alone is where a range begins, whatever ends there.
        let begins = segment.first == segment.last;
        if begins || kept.last().is_none_or(|before| segment.last > before.last) {
            while kept.last().is_some_and(|before| {
                before.first == segment.first && before.first < before.last && !begins
            }) {
                kept.pop();
            }
            kept.push(segment);
        }
    }
    kept
}

/// Where the run of segments begins that follow each other up to the newest.
fn run_start(segments: &[OplogSpan]) -> OplogTime {
    let mut newest_first = segments.iter().rev();
    let mut start = newest_first.next().copied();
    for earlier in newest_first {
        match start {
            // A segment of one position is where a capture began anew.
            Some(later) if later.first < later.last && later.first == earlier.last => {
                start = Some(*earlier);
            }
            _ => break,
        }
    }
    start.map(|segment| segment.first).unwrap_or_default()
}

/// The entries of one round on their way into segments.
struct Round<'a> {
    instance: &'a str,
    sink: &'a dyn SegmentSink,
    entries: Vec<u8>,
    count: u64,
    namespaces: BTreeSet<String>,
    first: Option<OplogTime>,
    last: OplogTime,
    last_entry: Vec<u8>,
    /// Whether the last entry is among the entries.
    has_last: bool,
    /// Bytes that were left out since the last segment.
    left_out: usize,
    has_changes: bool,
    is_beginning: bool,
    stored: Option<(OplogSpan, Vec<u8>)>,
}

impl<'a> Round<'a> {
    fn new(instance: &'a str, sink: &'a dyn SegmentSink) -> Self {
        Self {
            instance,
            sink,
            entries: Vec::new(),
            count: 0,
            namespaces: BTreeSet::new(),
            first: None,
            last: OplogTime::default(),
            last_entry: Vec::new(),
            has_last: true,
            left_out: 0,
            has_changes: false,
            is_beginning: false,
            stored: None,
        }
    }

    fn push(&mut self, entry: &RawDocument) -> Result<(), MoverError> {
        let ts = entry.get_timestamp("ts").map_err(|error| MoverError::Replay {
            position: "unknown".to_owned(),
            reason: error.to_string(),
        })?;
        let at = OplogTime::new(ts.time, ts.increment);
        // The entry that the range before ends with is a proof, not a change.
        self.has_changes |= self.first.is_some() && entry.get_str("op").is_ok_and(|op| op != "n");
        // What the range before ends with is a proof, whatever it is.
        self.has_last = self.first.is_none() || !(is_of_stage(entry) || is_elsewhere(entry));
        self.first.get_or_insert(at);
        self.last = at;
        if self.has_last {
            self.take(entry.as_bytes());
        } else {
            self.left_out += entry.as_bytes().len();
        }
        if let Ok(namespace) = entry.get_str("ns")
            && !namespace.is_empty()
        {
            self.namespaces.insert(namespace.to_owned());
        }
        self.last_entry.clear();
        self.last_entry.extend_from_slice(entry.as_bytes());
        if self.entries.len() + self.left_out >= SEGMENT_BYTES { self.store() } else { Ok(()) }
    }

    fn take(&mut self, entry: &[u8]) {
        self.entries.extend_from_slice(entry);
        self.count += 1;
    }

    /// Stores what was read; the last entry begins the next segment.
    fn store(&mut self) -> Result<(), MoverError> {
        let Some(first) = self.first else {
            return Ok(());
        };
        // A segment ends with the last entry, whatever it is.
        if !std::mem::replace(&mut self.has_last, true) {
            let last = std::mem::take(&mut self.last_entry);
            self.take(&last);
            self.last_entry = last;
        }
        self.left_out = 0;
        if self.count < 2 && !self.is_beginning {
            return Ok(());
        }
        let name = OplogSpan { first, last: self.last };
        let segment = OplogSegment {
            name,
            count: self.count,
            namespaces: std::mem::take(&mut self.namespaces).into_iter().collect(),
            entries: std::mem::take(&mut self.entries),
        };
        self.sink.put_segment(self.instance, &segment)?;
        self.stored = Some((name, self.last_entry.clone()));
        self.entries.extend_from_slice(&self.last_entry);
        self.count = 1;
        self.first = Some(self.last);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(first: u32, last: u32) -> OplogSpan {
        OplogSpan { first: OplogTime::new(first, 1), last: OplogTime::new(last, 1) }
    }

    #[test]
    fn a_run_of_segments_starts_after_the_last_gap() {
        let start = |segments: &[OplogSpan]| run_start(segments).seconds;
        assert_eq!(start(&[]), 0);
        assert_eq!(start(&[segment(1, 1), segment(1, 3), segment(3, 4)]), 1);
        assert_eq!(start(&[segment(1, 3), segment(5, 5), segment(5, 7), segment(7, 8)]), 5);
        assert_eq!(start(&[segment(1, 5), segment(5, 5), segment(5, 7)]), 5);
    }

    #[test]
    fn pieces_of_other_segments_are_left_out() {
        let kept = |segments: &[OplogSpan]| outermost(segments.to_vec());
        let all = [segment(1, 5), segment(5, 5), segment(5, 7), segment(7, 9)];
        assert_eq!(kept(&all), all);
        let pieces = [segment(1, 3), segment(1, 9), segment(3, 5), segment(9, 12), segment(9, 20)];
        assert_eq!(kept(&pieces), [segment(1, 9), segment(9, 20)]);
    }
}
