//! Lines of a schedule as people say them: `every 6 hours keep 7 days`, `weekly on sunday`, `cron 0 18 * * 1-5`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::frequency::{Frequency, LAST_DAY};
use crate::schedule::{DrillItem, PolicyItem, Retention, RetentionUnit};
use crate::timing::{CronError, frequency_of_cron};

const WEEKDAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
/// Fields of a cron expression.
const CRON_FIELDS: usize = 5;
/// Letters by which a day or a month is known at least.
const FEWEST_LETTERS: usize = 3;

/// When something is done, of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineTiming {
    /// How often.
    pub frequency: Frequency,
    /// When exactly; one that [`Frequency::allows`].
    pub interval: u32,
    /// A cron expression that says it instead.
    pub cron: Option<String>,
}

/// When snapshots are taken, and how long they are kept: `daily keep 4 weeks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotLine {
    /// When.
    pub timing: LineTiming,
    /// How long.
    pub retention: Retention,
}

/// When drills are done, and with what: `weekly on sunday random`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrillLine {
    /// When.
    pub timing: LineTiming,
    /// Whether a moment at random is brought back, not the newest snapshot.
    pub is_random: bool,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LineError {
    /// It says no time.
    #[error(
        "{0:?} says no time; say \"every 6 hours\", \"daily\", \"weekly on sunday\", \"monthly on 1\", \"monthly on last\", \"yearly in january\", or \"cron 0 18 * * 1-5\""
    )]
    NoTime(String),
    /// Its hours do not divide a day, or there is no such day of a month.
    #[error("{0:?} cannot be: hours are 1, 2, 4, 6, 8 or 12, days of a month 1 to 28 or last")]
    NotAllowed(String),
    /// Its cron expression has not five fields.
    #[error(
        "{0:?} is no cron expression: it has five fields, minute, hour, day, month and weekday"
    )]
    NoCron(String),
    /// Its cron expression is none, or is never due.
    #[error(transparent)]
    Cron(#[from] CronError),
    /// It does not say how long snapshots are kept.
    #[error("{0:?} does not say how long snapshots are kept, as \"daily keep 7 days\" does")]
    NoRetention(String),
    /// It says it in a way that is none.
    #[error("{0:?} is no time that snapshots are kept, as \"7 days\" is")]
    BadRetention(String),
}

impl FromStr for LineTiming {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let unknown = || LineError::NoTime(text.trim().to_owned());
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let place = |names: &[&str], word: &str| {
            let is_meant = |name: &&str| name.starts_with(word) && word.len() >= FEWEST_LETTERS;
            let found = (1..).zip(names).find(|(_, name)| is_meant(name));
            found.map(|(place, _)| place).ok_or_else(unknown)
        };
        let number = |word: &str| word.parse::<u32>().map_err(|_| unknown());
        let (frequency, interval) = match words.as_slice() {
            ["cron", ..] => return cron(text),
            ["hourly"] | ["every", "hour"] => (Frequency::Hourly, 1),
            ["every", hours, "hours"] => (Frequency::Hourly, number(hours)?),
            ["daily"] | ["every", "day"] => (Frequency::Daily, 1),
            ["weekly"] | ["every", "week"] => (Frequency::Weekly, 7),
            ["weekly", "on", day] | ["every", "week", "on", day] => {
                (Frequency::Weekly, place(&WEEKDAYS, day)?)
            }
            ["monthly"] | ["every", "month"] => (Frequency::Monthly, 1),
            ["monthly", "on", "last", ..] => (Frequency::Monthly, LAST_DAY),
            ["monthly", "on", day] => (Frequency::Monthly, number(day)?),
            ["yearly"] | ["every", "year"] => (Frequency::Yearly, 1),
            ["yearly", "in", month] => (Frequency::Yearly, place(&MONTHS, month)?),
            _ => return Err(unknown()),
        };
        if frequency.allows(interval)
            && !(frequency == Frequency::Monthly && words.ends_with(&["40"]))
        {
            Ok(Self { frequency, interval, cron: None })
        } else {
            Err(LineError::NotAllowed(text.trim().to_owned()))
        }
    }
}

/// `cron` and its fields, as they were written: names of days and months may be in capitals.
fn cron(text: &str) -> Result<LineTiming, LineError> {
    let fields: Vec<&str> = text.split_whitespace().skip(1).collect();
    let cron = fields.join(" ").trim_matches(['\'', '"']).to_owned();
    // `@daily` and its like stand for five.
    let is_nickname = fields.len() == 1 && cron.starts_with('@');
    if fields.len() != CRON_FIELDS && !is_nickname {
        return Err(LineError::NoCron(cron));
    }
    Ok(LineTiming { frequency: frequency_of_cron(&cron)?, interval: 1, cron: Some(cron) })
}

impl fmt::Display for LineTiming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frequency, interval, cron } = self;
        if let Some(cron) = cron {
            return write!(f, "cron {cron}");
        }
        let place = usize::try_from(*interval).unwrap_or(0).saturating_sub(1);
        let name = |names: &'static [&str]| names.get(place).copied().unwrap_or_default();
        match frequency {
            Frequency::Hourly if *interval == 1 => write!(f, "every hour"),
            Frequency::Hourly => write!(f, "every {interval} hours"),
            Frequency::Daily => write!(f, "daily"),
            Frequency::Weekly => write!(f, "weekly on {}", name(&WEEKDAYS)),
            Frequency::Monthly if *interval == LAST_DAY => write!(f, "monthly on last"),
            Frequency::Monthly => write!(f, "monthly on {interval}"),
            Frequency::Yearly => write!(f, "yearly in {}", name(&MONTHS)),
        }
    }
}

impl FromStr for SnapshotLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let missing = || LineError::NoRetention(text.trim().to_owned());
        let (when, keep) = text.split_once(" keep ").ok_or_else(missing)?;
        Ok(Self { timing: when.parse()?, retention: retention(keep)? })
    }
}

impl fmt::Display for SnapshotLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Retention { unit, value } = self.retention;
        write!(f, "{} keep {value} {}", self.timing, unit.as_str())
    }
}

impl FromStr for DrillLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let text = text.trim();
        let random = text.strip_suffix(" random");
        Ok(Self { timing: random.unwrap_or(text).parse()?, is_random: random.is_some() })
    }
}

impl fmt::Display for DrillLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.timing, if self.is_random { " random" } else { "" })
    }
}

impl PolicyItem {
    /// What it says, as people say it.
    pub fn line(&self) -> SnapshotLine {
        let Self { frequency, interval, retention, .. } = *self;
        let timing = LineTiming { frequency, interval, cron: self.cron.clone() };
        SnapshotLine { timing, retention }
    }
}

impl DrillItem {
    /// What it says, as people say it.
    pub fn line(&self) -> DrillLine {
        let Self { frequency, interval, is_random, .. } = *self;
        let timing = LineTiming { frequency, interval, cron: self.cron.clone() };
        DrillLine { timing, is_random }
    }
}

fn retention(text: &str) -> Result<Retention, LineError> {
    let unknown = || LineError::BadRetention(text.trim().to_owned());
    let words: Vec<&str> = text.split_whitespace().collect();
    let [value, unit] = words.as_slice() else { return Err(unknown()) };
    let value: u32 = value.parse().map_err(|_| unknown())?;
    let unit = match unit.trim_end_matches('s') {
        "day" => RetentionUnit::Days,
        "week" => RetentionUnit::Weeks,
        "month" => RetentionUnit::Months,
        "year" => RetentionUnit::Years,
        _ => return Err(unknown()),
    };
    let retention = Retention { unit, value };
    if retention.is_sound() { Ok(retention) } else { Err(unknown()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_say_is_understood_and_said_back() {
        for (text, said) in [
            ("every 6 hours keep 7 days", "every 6 hours keep 7 days"),
            ("hourly keep 1 day", "every hour keep 1 days"),
            ("daily keep 4 weeks", "daily keep 4 weeks"),
            ("weekly on Sun keep 3 months", "weekly on sunday keep 3 months"),
            ("monthly on last keep 1 year", "monthly on last keep 1 years"),
            ("monthly on 15 keep 1 years", "monthly on 15 keep 1 years"),
            ("yearly in december keep 10 years", "yearly in december keep 10 years"),
            ("cron @daily keep 2 weeks", "cron @daily keep 2 weeks"),
            ("cron '0 18 * * MON-FRI' keep 2 weeks", "cron 0 18 * * MON-FRI keep 2 weeks"),
        ] {
            assert_eq!(text.parse::<SnapshotLine>().unwrap().to_string(), said);
        }
        let drill: DrillLine = "weekly on sat random".parse().unwrap();
        assert_eq!(drill.to_string(), "weekly on saturday random");
        for bad in [
            "daily",
            "daily keep 7",
            "often keep 7 days",
            "daily keep 7 parsecs",
            "daily keep 0 days",
            "weekly on s keep 1 day",
            "every 5 hours keep 7 days",
            "monthly on 40 keep 7 days",
            "cron 0 18 keep 7 days",
            "cron 0 0 30 2 * keep 7 days",
        ] {
            assert!(bad.parse::<SnapshotLine>().is_err(), "{bad}");
        }
    }
}
