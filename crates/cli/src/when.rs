//! Moments as people say them, and as they are said back.
//!
//! `now`, `2 hours ago`, `1h 30m ago`, `yesterday 18:00`, `monday 9:15`, `18:00` (the last time that it
//! was), `2026-11-26 18:00`, RFC 3339, seconds since 1970, and an oplog entry as `SECONDS:INCREMENT` or
//! `Timestamp(SECONDS, INCREMENT)`. A time of day that a change of clocks makes happen twice, or never, is
//! refused: it would not be one moment.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::AmbiguousOffset;
use jiff::{Span, Timestamp, Unit, Zoned};
use tidemark_model::{OplogTime, PointInTime};

/// A moment, and how it is called.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Moment {
    /// An instant; its second counts.
    Instant(Zoned),
    /// An entry of the oplog.
    Entry(OplogTime),
}

const EXAMPLES: &str = "say it as \"yesterday 18:00\", \"2 hours ago\", \"2026-11-26 18:00\", 2026-11-26T18:00:00+09:00, or an oplog entry 1795683600:4";

/// What may stand after the time of day, in the first list of `weekdays`.
const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

/// No second since 1970 of this century has fewer digits.
const SECONDS_DIGITS: usize = 9;

impl Moment {
    /// What is meant, in the zone of `now`.
    pub(crate) fn parse(text: &str, now: &Zoned) -> Result<Self, String> {
        let text = text.trim();
        if let Some(entry) = parse_entry(text) {
            return Ok(Self::Entry(entry));
        }
        let lower = text.to_ascii_lowercase();
        if lower == "now" {
            return Ok(Self::Instant(now.clone()));
        }
        if let Ok(zoned) = text.parse::<Zoned>() {
            return Ok(Self::Instant(zoned));
        }
        if let Some(instant) = parse_seconds(text).or_else(|| text.parse::<Timestamp>().ok()) {
            return Ok(Self::Instant(instant.to_zoned(now.time_zone().clone())));
        }
        if lower.ends_with(" ago") {
            let span = parse_ago(&lower);
            let span = span.ok_or_else(|| format!("{text:?} is no time; {EXAMPLES}"))?;
            let then = now.checked_add(span);
            return then.map(Self::Instant).map_err(|_| format!("{text:?} is too long ago"));
        }
        let civil = parse_civil(text).or_else(|| parse_day(&lower, now));
        let civil = civil.ok_or_else(|| format!("{text:?} is no time; {EXAMPLES}"))?;
        in_zone(civil, now).map(Self::Instant)
    }

    /// As a request to restore takes it.
    pub(crate) fn point(&self) -> Result<PointInTime, String> {
        match self {
            Self::Entry(entry) => Ok(PointInTime::Entry(*entry)),
            Self::Instant(at) => {
                let second = u32::try_from(at.timestamp().as_second());
                let second = second.map_err(|_| format!("{at} is no moment of an oplog"))?;
                Ok(PointInTime::Second(second))
            }
        }
    }

    /// Exactly which moment it is, with its zone and in UTC.
    pub(crate) fn describe(&self, now: &Zoned) -> String {
        match self {
            Self::Instant(at) => describe(at),
            Self::Entry(entry) => {
                let at = Timestamp::from_second(i64::from(entry.seconds)).unwrap_or_default();
                let at = describe(&at.to_zoned(now.time_zone().clone()));
                format!("oplog entry {}:{} ({at})", entry.seconds, entry.increment)
            }
        }
    }
}

/// An instant with its zone, and in UTC.
fn describe(at: &Zoned) -> String {
    let zone = at.time_zone().iana_name().unwrap_or("this machine's zone");
    let local = at.strftime("%Y-%m-%d %H:%M:%S %:z");
    format!("{local} ({zone}), {}", at.timestamp().strftime("%Y-%m-%dT%H:%M:%SZ"))
}

fn parse_seconds(text: &str) -> Option<Timestamp> {
    let is_number = text.len() >= SECONDS_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok().and_then(|s| Timestamp::from_second(s).ok()))?
}

fn parse_entry(text: &str) -> Option<OplogTime> {
    let inner = text.strip_prefix("Timestamp(").and_then(|rest| rest.strip_suffix(')'));
    let (seconds, increment) = match inner {
        Some(inner) => inner.split_once(',')?,
        None => text.split_once(':').filter(|(seconds, _)| seconds.len() >= SECONDS_DIGITS)?,
    };
    Some(OplogTime::new(seconds.trim().parse().ok()?, increment.trim().parse().ok()?))
}

/// `2 hours ago`, `an hour ago`, `1h 30m ago`.
fn parse_ago(lower: &str) -> Option<Span> {
    let one = ["an ", "a "].iter().find_map(|article| lower.strip_prefix(article));
    let text = one.map_or_else(|| lower.to_owned(), |rest| format!("1 {rest}"));
    text.parse().ok()
}

/// `2026-11-26 18:00[:30]` and `2026-11-26`, and nothing that is only like them.
fn parse_civil(text: &str) -> Option<DateTime> {
    let is_of = |form: &str| {
        let is_like = |(a, b): (char, char)| if a == '0' { b.is_ascii_digit() } else { a == b };
        form.len() == text.len() && form.chars().zip(text.chars()).all(is_like)
    };
    let times =
        ["0000-00-00 00:00", "0000-00-00 00:00:00", "0000-00-00T00:00", "0000-00-00T00:00:00"];
    if times.iter().any(|form| is_of(form)) {
        return text.parse().ok();
    }
    is_of("0000-00-00").then(|| text.parse::<Date>().ok())?.map(|date| date.at(0, 0, 0, 0))
}

/// `yesterday 18:00`, `monday at 9:15`, `18:00`.
fn parse_day(lower: &str, now: &Zoned) -> Option<DateTime> {
    let (day, time) = match lower.rsplit_once(' ') {
        Some((day, time)) => (day.trim().trim_end_matches(" at"), parse_time(time)?),
        None => match parse_time(lower) {
            Some(time) => ("", time),
            None if lower.is_empty() => return None,
            None => (lower, Time::midnight()),
        },
    };
    let today = now.date();
    let date = match day.strip_prefix("last ").unwrap_or(day) {
        "today" => today,
        "yesterday" => today.yesterday().ok()?,
        // The last time that the clock showed it.
        "" => {
            let is_past = today.to_datetime(time) <= now.datetime();
            if is_past { today } else { today.yesterday().ok()? }
        }
        word => {
            let (_, weekday) = WEEKDAYS.iter().find(|(name, _)| *name == word)?;
            let is_today = *weekday == today.weekday() && !day.starts_with("last ");
            let is_past = today.to_datetime(time) <= now.datetime();
            if is_today && is_past { today } else { today.nth_weekday(-1, *weekday).ok()? }
        }
    };
    Some(date.to_datetime(time))
}

/// `9:15`, `18:00`, `18:00:30`.
fn parse_time(text: &str) -> Option<Time> {
    let mut parts = text.split(':').map(|part| part.parse::<i8>().ok());
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    parts.next().is_none().then(|| Time::new(hour, minute, second, 0).ok())?
}

fn in_zone(civil: DateTime, now: &Zoned) -> Result<Zoned, String> {
    let zone = now.time_zone();
    let found = zone.to_ambiguous_zoned(civil);
    let name = zone.iana_name().unwrap_or("this machine's zone");
    match found.offset() {
        AmbiguousOffset::Unambiguous { .. } => {
            found.compatible().map_err(|error| format!("{civil} is no time: {error}"))
        }
        AmbiguousOffset::Fold { before, after } => Err(format!(
            "{civil} happened twice in {name}; say which with its offset: {civil}{before} or {civil}{after}"
        )),
        AmbiguousOffset::Gap { .. } => {
            Err(format!("{civil} never was in {name}: the clocks went forward over it"))
        }
    }
}

/// The time now, in the zone of this machine.
pub(crate) fn now() -> Zoned {
    tidemark_model::Clock::system().now().to_zoned(jiff::tz::TimeZone::system())
}

/// How long ago an instant was, in its largest unit.
pub(crate) fn ago(instant: &str, now: &Zoned) -> String {
    let Ok(at) = instant.parse::<Timestamp>() else { return instant.to_owned() };
    let seconds = now.timestamp().as_second() - at.as_second();
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let found = units.iter().find(|(size, _)| seconds.abs() >= *size);
    let (size, word) = found.copied().unwrap_or((1, "s"));
    let number = seconds / size;
    if number < 0 { format!("in {} {word}", -number) } else { format!("{number} {word} ago") }
}

/// An instant of the server in the zone of this machine, to the second.
pub(crate) fn local(instant: &str, now: &Zoned) -> String {
    let Ok(at) = instant.parse::<Timestamp>() else { return instant.to_owned() };
    let at = at.to_zoned(now.time_zone().clone());
    at.round(Unit::Second).unwrap_or(at).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Friday afternoon.
    fn now() -> Zoned {
        "2026-11-27T15:30:00+09:00[Asia/Seoul]".parse().unwrap()
    }

    fn parsed(text: &str) -> String {
        match Moment::parse(text, &now()).unwrap() {
            Moment::Instant(at) => at.timestamp().to_string(),
            Moment::Entry(entry) => format!("{}:{}", entry.seconds, entry.increment),
        }
    }

    #[test]
    fn moments_are_understood_as_people_say_them() {
        for (text, meant) in [
            ("now", "2026-11-27T06:30:00Z"),
            ("2 hours ago", "2026-11-27T04:30:00Z"),
            ("an hour ago", "2026-11-27T05:30:00Z"),
            ("1h 30m ago", "2026-11-27T05:00:00Z"),
            ("3 days ago", "2026-11-24T06:30:00Z"),
            ("yesterday 18:00", "2026-11-26T09:00:00Z"),
            ("Yesterday at 9:05:30", "2026-11-26T00:05:30Z"),
            ("today 00:00", "2026-11-26T15:00:00Z"),
            ("15:00", "2026-11-27T06:00:00Z"),
            ("18:00", "2026-11-26T09:00:00Z"),
            ("monday 9:15", "2026-11-23T00:15:00Z"),
            ("friday 9:15", "2026-11-27T00:15:00Z"),
            ("friday 18:00", "2026-11-20T09:00:00Z"),
            ("last friday 9:15", "2026-11-20T00:15:00Z"),
            ("yesterday", "2026-11-25T15:00:00Z"),
            ("2026-11-26 18:00", "2026-11-26T09:00:00Z"),
            ("2026-11-26T18:00:30", "2026-11-26T09:00:30Z"),
            ("2026-11-26", "2026-11-25T15:00:00Z"),
            ("2026-11-26T18:00:00Z", "2026-11-26T18:00:00Z"),
            ("2026-11-26T18:00:00-05:00", "2026-11-26T23:00:00Z"),
            ("1795683600", "2026-11-26T09:00:00Z"),
            ("2026-11-26T18:00:00+01:00[Europe/Berlin]", "2026-11-26T17:00:00Z"),
            ("2026-11-26 18:00[Europe/Berlin]", "2026-11-26T17:00:00Z"),
            ("1795683600:4", "1795683600:4"),
            ("Timestamp(1795683600, 4)", "1795683600:4"),
        ] {
            assert_eq!(parsed(text), meant, "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused_with_examples() {
        for text in [
            "",
            "soon",
            "25:00",
            "18:60",
            "yesterday 6pm",
            "12",
            "2026-13-01",
            "5 ago",
            "2026-11-26 18",
            "20261126T180000",
            "2026-11-26 25:00",
        ] {
            let error = Moment::parse(text, &now()).unwrap_err();
            assert!(error.contains("yesterday 18:00"), "{text}: {error}");
        }
    }

    #[test]
    fn a_time_that_was_twice_or_never_is_refused() {
        let now: Zoned = "2026-11-27T15:30:00+01:00[Europe/Berlin]".parse().unwrap();
        let twice = Moment::parse("2026-10-25 02:30", &now).unwrap_err();
        assert!(twice.contains("+02") && twice.contains("+01"), "{twice}");
        let never = Moment::parse("2026-03-29 02:30", &now).unwrap_err();
        assert!(never.contains("never was"), "{never}");
    }

    #[test]
    fn it_is_said_back_with_zone_and_in_utc() {
        let now = now();
        let said = Moment::parse("yesterday 18:00", &now).unwrap().describe(&now);
        assert_eq!(said, "2026-11-26 18:00:00 +09:00 (Asia/Seoul), 2026-11-26T09:00:00Z");
        let entry = Moment::parse("1795683600:4", &now).unwrap();
        assert!(entry.describe(&now).starts_with("oplog entry 1795683600:4 (2026-11-26 18:00:00"));
        assert_eq!(entry.point().unwrap(), PointInTime::Entry(OplogTime::new(1_795_683_600, 4)));
    }

    #[test]
    fn ages_have_one_unit() {
        let ages = ["2026-11-27T06:29:30Z", "2026-11-27T04:00:00Z", "2026-11-20T04:00:00Z"];
        assert_eq!(ages.map(|at| ago(at, &now())), ["30 s ago", "2 h ago", "7 d ago"]);
        assert_eq!(ago("2026-11-27T06:40:00Z", &now()), "in 10 min");
    }
}
