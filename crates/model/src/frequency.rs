//! How often something is done by the calendar.

use serde::{Deserialize, Serialize};

/// The frequency interval that means the last day of a month.
pub const LAST_DAY: u32 = 40;
/// The frequency intervals of hourly items: those that divide a day.
const HOURS: [u32; 6] = [1, 2, 4, 6, 8, 12];

/// How often an item of a policy asks for a snapshot; the rarer is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Frequency {
    /// Every so many hours.
    Hourly,
    /// Every day.
    Daily,
    /// On one day of the week.
    Weekly,
    /// On one day of the month.
    Monthly,
    /// On the first day of one month.
    Yearly,
}

impl Frequency {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Hourly, Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly];

    /// The word that Atlas uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// The one with this word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|frequency| frequency.as_str() == text)
    }

    /// Whether an interval means something with it: hours; 1; a weekday, Monday being 1; a day of the
    /// month or [`LAST_DAY`]; a month.
    pub fn allows(self, interval: u32) -> bool {
        match self {
            Self::Hourly => HOURS.contains(&interval),
            Self::Daily => interval == 1,
            Self::Weekly => (1..=7).contains(&interval),
            Self::Monthly => (1..=28).contains(&interval) || interval == LAST_DAY,
            Self::Yearly => (1..=12).contains(&interval),
        }
    }
}
