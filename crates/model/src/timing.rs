//! When something is done again and again: by hours, days, weeks, months, years, or a cron expression, in a
//! time zone.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};

use crate::frequency::{Frequency, LAST_DAY};

/// A yearly slot is never further away than this, in days.
const YEAR_AND_A_DAY: i64 = 367;
/// From so many slots of an expression it is said how often it asks.
const LOOKED_AT: usize = 50;

/// Where slots are counted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The hour of the day.
    pub(crate) hour: i8,
    /// The minute of that hour.
    pub(crate) minute: i8,
    /// Where it is that hour.
    pub(crate) zone: TimeZone,
}

/// When something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timing<'a> {
    /// By the calendar: [`Frequency::allows`].
    Every(Frequency, u32),
    /// By a cron expression.
    Cron(&'a str),
}

/// Which slot is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The last one at or before a moment.
    Upto,
    /// The first one after it.
    After,
}

/// Why a cron expression cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It is none.
    #[error(
        "{text:?} is no cron expression of five fields (minute, hour, day, month, weekday): {reason}"
    )]
    Malformed {
        /// What was given.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// It names no moment at all.
    #[error("{0:?} never happens")]
    Never(String),
}

fn parse(text: &str) -> Result<Cron, CronError> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser
        .parse(text)
        .map_err(|error| CronError::Malformed { text: text.to_owned(), reason: error.to_string() })
}

/// How often a cron expression asks, at the most: what its snapshots are called.
pub fn frequency_of_cron(text: &str) -> Result<Frequency, CronError> {
    let cron = parse(text)?;
    let begin = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    let slots: Vec<Timestamp> =
        cron.iter_after(begin).take(LOOKED_AT).map(|slot| slot.timestamp()).collect();
    if slots.is_empty() {
        return Err(CronError::Never(text.to_owned()));
    }
    let gaps = slots.windows(2).filter_map(|pair| match pair {
        [one, next] => Some(next.duration_since(*one).as_hours()),
        _ => None,
    });
    Ok(match gaps.min() {
        Some(hours) if hours < 24 => Frequency::Hourly,
        Some(hours) if hours < 7 * 24 => Frequency::Daily,
        Some(hours) if hours < 28 * 24 => Frequency::Weekly,
        Some(hours) if hours < 365 * 24 => Frequency::Monthly,
        _ => Frequency::Yearly,
    })
}

impl<'a> Timing<'a> {
    /// By a cron expression, or without one by the calendar.
    pub(crate) fn new((frequency, interval): (Frequency, u32), cron: Option<&'a str>) -> Self {
        cron.map_or(Self::Every(frequency, interval), Self::Cron)
    }

    /// The last slot at or before a moment, or the first one after it. A time that a day skips comes when the
    /// clock is set forward, one that a day has twice counts once.
    pub(crate) fn slot(
        self,
        reference: &Reference,
        at: Timestamp,
        direction: Direction,
    ) -> Option<Timestamp> {
        let here = at.to_zoned(reference.zone.clone());
        let (frequency, interval) = match self {
            Self::Every(frequency, interval) => (frequency, interval),
            Self::Cron(text) => {
                let cron = parse(text).ok()?;
                let found = match direction {
                    Direction::Upto => cron.find_previous_occurrence(&here, true),
                    Direction::After => cron.find_next_occurrence(&here, false),
                };
                return found.ok().map(|slot| slot.timestamp());
            }
        };
        let times = times_of(reference, (frequency, interval));
        let is_meant = |slot: &Timestamp| match direction {
            Direction::Upto => *slot <= at,
            Direction::After => *slot > at,
        };
        // Where the zone is set forward at midnight a slot is on the day before.
        (-1..=YEAR_AND_A_DAY).find_map(|days| {
            let days = if direction == Direction::Upto { -days } else { days };
            let date = here.date().checked_add(Span::new().days(days)).ok()?;
            if !occurs_on((frequency, interval), date) {
                return None;
            }
            let slots = times.iter().filter_map(|time| {
                let slot = date.to_datetime(*time).to_zoned(reference.zone.clone());
                slot.ok().map(|slot| slot.timestamp())
            });
            let meant = slots.filter(is_meant);
            if direction == Direction::Upto { meant.max() } else { meant.min() }
        })
    }
}

/// The times of a day at which something is done.
fn times_of(reference: &Reference, (frequency, interval): (Frequency, u32)) -> Vec<Time> {
    let Ok(first) = Time::new(reference.hour, reference.minute, 0, 0) else { return Vec::new() };
    let Some(hours) = i64::from(interval).checked_abs().filter(|hours| *hours > 0) else {
        return Vec::new();
    };
    if frequency != Frequency::Hourly {
        return vec![first];
    }
    (0..24 / hours).map(|turn| first.wrapping_add((turn * hours).hours())).collect()
}

fn occurs_on((frequency, interval): (Frequency, u32), date: Date) -> bool {
    let is = |day: i8| u32::try_from(day).is_ok_and(|day| day == interval);
    match frequency {
        Frequency::Hourly | Frequency::Daily => true,
        Frequency::Weekly => is(date.weekday().to_monday_one_offset()),
        Frequency::Monthly if interval == LAST_DAY => date.day() == date.days_in_month(),
        Frequency::Monthly => is(date.day()),
        Frequency::Yearly => date.day() == 1 && is(date.month()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn reference(zone: &str, hour: i8, minute: i8) -> Reference {
        Reference { hour, minute, zone: TimeZone::get(zone).unwrap() }
    }

    #[test]
    fn slots_follow_the_clock_of_their_zone_through_its_changes() {
        // Seoul has nine hours and no changes; Berlin changes on 2026-03-29 and 2026-10-25.
        let daily = Timing::Every(Frequency::Daily, 1);
        for (zone, time, from, next) in [
            ("Asia/Seoul", (18, 30), "2026-03-04T09:30:00Z", "2026-03-05T09:30:00Z"),
            ("Europe/Berlin", (18, 0), "2026-03-28T17:00:00Z", "2026-03-29T16:00:00Z"),
            ("Europe/Berlin", (2, 30), "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z"),
            ("Europe/Berlin", (2, 30), "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
            ("Europe/Berlin", (2, 30), "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
        ] {
            let reference = reference(zone, time.0, time.1);
            let found = daily.slot(&reference, at(from), Direction::After);
            assert_eq!(found, Some(at(next)), "{zone} {from}");
            let back = daily.slot(&reference, at(next), Direction::Upto);
            assert_eq!(back, Some(at(next)), "{zone} {next}");
        }
        // Monday in Seoul is Sunday in UTC.
        let weekly = Timing::Every(Frequency::Weekly, 1);
        let found = weekly.slot(
            &reference("Asia/Seoul", 3, 0),
            at("2026-03-04T00:00:00Z"),
            Direction::After,
        );
        assert_eq!(found, Some(at("2026-03-08T18:00:00Z")));
        let hourly = Timing::Every(Frequency::Hourly, 12);
        let found = hourly.slot(
            &reference("Asia/Tokyo", 20, 15),
            at("2026-03-04T00:00:00Z"),
            Direction::Upto,
        );
        assert_eq!(found, Some(at("2026-03-03T23:15:00Z")));
    }

    #[test]
    fn cron_expressions_are_followed_in_their_zone() {
        let weekdays = Timing::Cron("30 18 * * 1-5");
        let seoul = reference("Asia/Seoul", 0, 0);
        // A Friday.
        let friday = at("2026-03-06T09:30:00Z");
        assert_eq!(weekdays.slot(&seoul, friday, Direction::Upto), Some(friday));
        let monday = at("2026-03-09T09:30:00Z");
        assert_eq!(weekdays.slot(&seoul, friday, Direction::After), Some(monday));
        assert_eq!(
            weekdays.slot(&seoul, at("2026-03-08T00:00:00Z"), Direction::Upto),
            Some(friday)
        );
    }

    #[test]
    fn expressions_say_how_often_they_ask_or_what_is_wrong() {
        for (text, frequency) in [
            ("*/5 * * * *", Frequency::Hourly),
            ("0 0,12 * * *", Frequency::Hourly),
            ("0 3 * * *", Frequency::Daily),
            ("0 3 * * 1-5", Frequency::Daily),
            ("0 3 * * SUN", Frequency::Weekly),
            ("0 3 1 * *", Frequency::Monthly),
            ("0 3 L * *", Frequency::Monthly),
            ("0 3 1 1 *", Frequency::Yearly),
        ] {
            assert_eq!(frequency_of_cron(text), Ok(frequency), "{text}");
        }
        for bad in ["", "x", "60 * * * *", "* * * *", "0 0 0 0 0 0 0", "* * * * * *"] {
            assert!(matches!(frequency_of_cron(bad), Err(CronError::Malformed { .. })), "{bad}");
        }
        assert!(matches!(frequency_of_cron("0 0 30 2 *"), Err(CronError::Never(_))));
    }
}
