//! The clock: the only place that reads the time of day.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// Where the present comes from: the system, or a fixed instant in tests.
///
/// Clones share their state, so an advance is seen by all holders.
#[derive(Debug, Clone)]
pub struct Clock {
    source: Source,
    offset_seconds: Arc<AtomicI64>,
    /// By how many milliseconds the clock that others share is ahead of the machine's.
    correction_millis: Arc<AtomicI64>,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    System,
    Fixed(Timestamp),
}

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Self {
        Self::from(Source::System)
    }

    /// A clock that stands still at `start` until it is advanced.
    pub fn fixed(start: Timestamp) -> Self {
        Self::from(Source::Fixed(start))
    }

    fn from(source: Source) -> Self {
        Self { source, offset_seconds: Arc::default(), correction_millis: Arc::default() }
    }

    /// What the machine's clock says.
    #[expect(clippy::disallowed_methods, reason = "the home of the wall clock")]
    pub fn uncorrected(&self) -> Timestamp {
        match self.source {
            Source::System => Timestamp::now(),
            Source::Fixed(start) => start,
        }
    }

    /// Says by how much the clock that others share is ahead of the machine's; a clock that stands still
    /// is right.
    pub fn correct(&self, ahead: SignedDuration) {
        if let Source::System = self.source {
            let millis = i64::try_from(ahead.as_millis()).unwrap_or(0);
            self.correction_millis.store(millis, Ordering::Relaxed);
        }
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        let correction =
            SignedDuration::from_millis(self.correction_millis.load(Ordering::Relaxed));
        let machine = self.uncorrected();
        let base = machine.saturating_add(correction).unwrap_or(machine);
        let offset = SignedDuration::from_secs(self.offset_seconds.load(Ordering::Relaxed));
        base.saturating_add(offset).unwrap_or(base)
    }

    /// Moves the clock forward.
    pub fn advance(&self, seconds: u32) {
        self.offset_seconds.fetch_add(i64::from(seconds), Ordering::Relaxed);
    }

    /// How far the clock was moved, in seconds.
    pub fn offset_seconds(&self) -> i64 {
        self.offset_seconds.load(Ordering::Relaxed)
    }

    /// Takes back every advance.
    pub fn reset(&self) {
        self.offset_seconds.store(0, Ordering::Relaxed);
    }
}

/// Writes an instant as the API does: `YYYY-MM-DDTHH:MM:SSZ`, whole seconds.
pub fn format_instant(instant: Timestamp) -> String {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant).to_string()
}

/// Reads an RFC 3339 instant.
pub fn parse_instant(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_in_whole_seconds() {
        let instant: Timestamp = "2026-01-02T16:55:04.987Z".parse().unwrap();
        assert_eq!(format_instant(instant), "2026-01-02T16:55:04Z");
    }

    #[test]
    fn a_clock_follows_the_one_that_others_share() {
        let clock = Clock::system();
        let hour = SignedDuration::from_hours(1);
        clock.clone().correct(-hour);
        let behind = clock.uncorrected().duration_since(clock.now());
        assert!((behind - hour).abs() < SignedDuration::from_secs(1), "{behind}");
        clock.reset();
        assert!(clock.now() < clock.uncorrected(), "an advance is not a correction");
    }

    #[test]
    fn an_advance_is_seen_by_every_clone() {
        let clock = Clock::fixed(Timestamp::from_second(100).unwrap());
        let other = clock.clone();
        clock.advance(20);
        assert_eq!((other.now().as_second(), other.offset_seconds()), (120, 20));
        other.reset();
        assert_eq!(clock.now().as_second(), 100);
    }
}
