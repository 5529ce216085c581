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
}

#[derive(Debug, Clone, Copy)]
enum Source {
    System,
    Fixed(Timestamp),
}

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Self {
        Self { source: Source::System, offset_seconds: Arc::default() }
    }

    /// A clock that stands still at `start` until it is advanced.
    pub fn fixed(start: Timestamp) -> Self {
        Self { source: Source::Fixed(start), offset_seconds: Arc::default() }
    }

    /// The present instant.
    #[expect(clippy::disallowed_methods, reason = "the home of the wall clock")]
    pub fn now(&self) -> Timestamp {
        let base = match self.source {
            Source::System => Timestamp::now(),
            Source::Fixed(start) => start,
        };
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
    fn an_advance_is_seen_by_every_clone() {
        let clock = Clock::fixed(Timestamp::from_second(100).unwrap());
        let other = clock.clone();
        clock.advance(20);
        assert_eq!((other.now().as_second(), other.offset_seconds()), (120, 20));
        other.reset();
        assert_eq!(clock.now().as_second(), 100);
    }
}
