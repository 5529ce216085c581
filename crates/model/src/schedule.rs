//! Backup schedules: at which times snapshots are taken by policy, and how long each is kept.
//!
//! What the words mean is in the description of Atlas's backup schedules.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use serde::{Deserialize, Serialize};

use crate::frequency::{Frequency, LAST_DAY};
use crate::timing::{Direction, Reference, Timing};
use crate::{DrillCheck, PolicyId, PolicyItemId};

/// In what a retention is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetentionUnit {
    /// Days of 24 hours.
    Days,
    /// Seven days.
    Weeks,
    /// Months of the calendar.
    Months,
    /// Years of the calendar.
    Years,
}

impl RetentionUnit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Days, Self::Weeks, Self::Months, Self::Years];

    /// The word that Atlas uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Days => "days",
            Self::Weeks => "weeks",
            Self::Months => "months",
            Self::Years => "years",
        }
    }

    /// The one with this word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.as_str() == text)
    }
}

/// How long a snapshot is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// The unit.
    pub unit: RetentionUnit,
    /// How many of them, at least one.
    pub value: u32,
}

impl Retention {
    /// The longest that is kept, in years: beyond that a number is a mistake.
    pub const LONGEST_YEARS: u32 = 100;

    /// A retention of some days.
    pub const fn days(value: u32) -> Self {
        Self { unit: RetentionUnit::Days, value }
    }

    /// When it ends for a snapshot that was taken at `at`.
    pub fn after(self, at: Timestamp) -> Timestamp {
        let value = i64::from(self.value);
        let span = match self.unit {
            RetentionUnit::Days => Span::new().try_days(value),
            RetentionUnit::Weeks => Span::new().try_weeks(value),
            RetentionUnit::Months => Span::new().try_months(value),
            RetentionUnit::Years => Span::new().try_years(value),
        };
        let end = span.and_then(|span| at.to_zoned(TimeZone::UTC).checked_add(span));
        end.map_or(Timestamp::MAX, |end| end.timestamp())
    }

    /// Whether it is at least one of its unit and no mistake.
    pub fn is_sound(self) -> bool {
        let per_year = match self.unit {
            RetentionUnit::Days => 366,
            RetentionUnit::Weeks => 53,
            RetentionUnit::Months => 12,
            RetentionUnit::Years => 1,
        };
        (1..=per_year * Self::LONGEST_YEARS).contains(&self.value)
    }
}

/// One line of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyItem {
    /// Its id.
    pub id: PolicyItemId,
    /// How often.
    pub frequency: Frequency,
    /// When exactly, in the terms of the frequency: [`Frequency::allows`].
    pub interval: u32,
    /// A cron expression that says when instead; then the frequency is how often it asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// How long its snapshots are kept.
    pub retention: Retention,
    /// The moment up to which its snapshots have been asked for.
    pub served_until: Timestamp,
}

/// What a policy says of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyMatch {
    /// The rarest frequency for which it stands.
    pub frequency: Frequency,
    /// The items for which it stands.
    pub items: Vec<PolicyItemId>,
}

impl PolicyMatch {
    /// What both say.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.frequency = self.frequency.max(other.frequency);
        let added = other.items.into_iter().filter(|item| !self.items.contains(item));
        let added: Vec<_> = added.collect();
        self.items.extend(added);
        self
    }
}

/// When the snapshots of an instance are taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupSchedule {
    /// The id of the policy.
    pub policy: PolicyId,
    /// Its lines; none is no snapshot by policy.
    pub items: Vec<PolicyItem>,
    /// The zone in which its times are, as the IANA database names it.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// The hour of the day there from which slots are counted; 0 to 23.
    pub hour: i8,
    /// The minute of that hour.
    pub minute: i8,
    /// How many days back every moment can be restored.
    pub restore_window_days: u32,
    /// A setting of Atlas's exports, kept and shown.
    #[serde(default)]
    pub uses_names_in_export_prefix: bool,
    /// The drills that are done by themselves.
    #[serde(default)]
    pub drills: Vec<DrillItem>,
}

impl BackupSchedule {
    /// What Atlas gives a new cluster: every six hours for a week, every day for a week, every
    /// Saturday for four weeks, the last day of the month for a year, the first of December for a
    /// year, and a week of moments. The reference time is when it is made.
    pub fn new(now: Timestamp) -> Self {
        use Frequency::{Daily, Hourly, Monthly, Weekly, Yearly};
        use RetentionUnit::{Days, Months, Weeks, Years};
        let time = now.to_zoned(TimeZone::UTC).time();
        let items = [
            (Hourly, 6, Days, 7),
            (Daily, 1, Days, 7),
            (Weekly, 6, Weeks, 4),
            (Monthly, LAST_DAY, Months, 12),
            (Yearly, 12, Years, 1),
        ];
        let item = |(frequency, interval, unit, value)| PolicyItem {
            id: PolicyItemId::new(now),
            frequency,
            interval,
            cron: None,
            retention: Retention { unit, value },
            served_until: now,
        };
        Self {
            policy: PolicyId::new(now),
            items: items.map(item).into(),
            hour: time.hour(),
            minute: time.minute(),
            restore_window_days: 7,
            uses_names_in_export_prefix: false,
            time_zone: utc(),
            drills: Vec::new(),
        }
    }

    /// When the next snapshot by policy is due.
    pub fn next_slot(&self, now: Timestamp) -> Option<Timestamp> {
        self.items.iter().filter_map(|item| self.slot(item, now, Direction::After)).min()
    }

    /// The items for which a snapshot is due.
    pub fn due(&self, now: Timestamp) -> Option<PolicyMatch> {
        self.matching(|item| {
            self.slot(item, now, Direction::Upto).is_some_and(|slot| slot > item.served_until)
        })
    }

    /// The items that ask most often: what a snapshot is for that no slot asked for.
    pub fn most_frequent(&self) -> Option<PolicyMatch> {
        let most = self.items.iter().map(|item| item.frequency).min()?;
        self.matching(|item| item.frequency == most)
    }

    fn matching(&self, is_meant: impl Fn(&PolicyItem) -> bool) -> Option<PolicyMatch> {
        let meant = || self.items.iter().filter(|item| is_meant(item));
        let frequency = meant().map(|item| item.frequency).max()?;
        Some(PolicyMatch { frequency, items: meant().map(|item| item.id).collect() })
    }

    /// The schedule once the snapshots of some items were asked for at `now`. A clock that went back
    /// does not stop an item that was served in what is the future again.
    #[must_use]
    pub fn served(mut self, items: &[PolicyItemId], now: Timestamp) -> Self {
        for item in &mut self.items {
            if items.contains(&item.id) || item.served_until > now {
                item.served_until = now;
            }
        }
        self
    }

    /// The schedule once a snapshot that was asked for at `asked_at`, for some items, came to nothing: it is
    /// still due, unless the items were served or changed since.
    #[must_use]
    pub fn given_back(mut self, items: &[PolicyItemId], asked_at: Timestamp) -> Self {
        let slots: Vec<_> =
            self.items.iter().map(|item| self.slot(item, asked_at, Direction::Upto)).collect();
        for (item, slot) in self.items.iter_mut().zip(slots) {
            let is_unserved = item.served_until.as_second() == asked_at.as_second();
            if let Some(slot) = slot.filter(|_| is_unserved && items.contains(&item.id)) {
                item.served_until = slot - SignedDuration::from_secs(1);
            }
        }
        self
    }

    /// When a snapshot that stands for some items and was taken at `at` need not be kept any longer:
    /// the longest of their retentions counts. `None` when the schedule has none of them.
    pub fn expiry(&self, items: &[PolicyItemId], at: Timestamp) -> Option<Timestamp> {
        let meant = self.items.iter().filter(|item| items.contains(&item.id));
        meant.map(|item| item.retention.after(at)).max()
    }

    /// The last slot of an item at or before a moment, or the first one after it.
    fn slot(&self, item: &PolicyItem, at: Timestamp, direction: Direction) -> Option<Timestamp> {
        item.timing().slot(&self.reference(), at, direction)
    }

    fn reference(&self) -> Reference {
        // Names are checked where they are set; a zone that has gone from the database since is UTC.
        let zone = TimeZone::get(&self.time_zone).unwrap_or(TimeZone::UTC);
        Reference { hour: self.hour, minute: self.minute, zone }
    }

    /// The drills that are due.
    pub fn due_drills(&self, now: Timestamp) -> impl Iterator<Item = &DrillItem> {
        let reference = self.reference();
        self.drills.iter().filter(move |item| {
            let slot = item.timing().slot(&reference, now, Direction::Upto);
            slot.is_some_and(|slot| slot > item.served_until)
        })
    }

    /// When the next drill is due.
    pub fn next_drill(&self, now: Timestamp) -> Option<Timestamp> {
        let reference = self.reference();
        let next = |item: &DrillItem| item.timing().slot(&reference, now, Direction::After);
        self.drills.iter().filter_map(next).min()
    }

    /// The schedule once a drill was asked for at `now`. A clock that went back does not stop the others.
    #[must_use]
    pub fn drilled(mut self, asked: Option<PolicyItemId>, now: Timestamp) -> Self {
        for item in &mut self.drills {
            if asked == Some(item.id) || item.served_until > now {
                item.served_until = now;
            }
        }
        self
    }
}

impl PolicyItem {
    fn timing(&self) -> Timing<'_> {
        Timing::new((self.frequency, self.interval), self.cron.as_deref())
    }
}

/// When drills are done by themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrillItem {
    /// Its id.
    pub id: PolicyItemId,
    /// How often.
    pub frequency: Frequency,
    /// When exactly, in the terms of the frequency.
    pub interval: u32,
    /// A cron expression that says when instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Whether a moment at random is brought back, not the newest snapshot.
    pub is_random: bool,
    /// The user's own checks.
    #[serde(default)]
    pub checks: Vec<DrillCheck>,
    /// The moment up to which its drills have been asked for.
    pub served_until: Timestamp,
}

impl DrillItem {
    fn timing(&self) -> Timing<'_> {
        Timing::new((self.frequency, self.interval), self.cron.as_deref())
    }
}

/// The longest window of restorable moments, in days: ten years.
pub const LONGEST_WINDOW_DAYS: u32 = 3_650;
/// Lines of either kind that a schedule has at most.
pub const MOST_SCHEDULE_LINES: usize = 50;

/// The name of the zone in which a schedule counts unless it says another.
pub const UTC: &str = "UTC";

fn utc() -> String {
    UTC.to_owned()
}

/// The time of a day from its text, `18:30`: hour and minute.
pub fn parse_time_of_day(text: &str) -> Option<(i8, i8)> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str, most: i8| {
        text.parse::<i8>().ok().filter(|number| text.len() == 2 && (0..=most).contains(number))
    };
    Some((number(hour, 23)?, number(minute, 59)?))
}

/// Whether a time zone has this name.
pub fn is_time_zone(name: &str) -> bool {
    TimeZone::get(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn schedule(lines: &[(Frequency, u32)]) -> BackupSchedule {
        let made = at("2026-03-04T10:30:00Z");
        let item = |(frequency, interval): &(Frequency, u32)| PolicyItem {
            id: PolicyItemId::new(made),
            frequency: *frequency,
            interval: *interval,
            cron: None,
            retention: Retention::days(7),
            served_until: made,
        };
        let items = lines.iter().map(item).collect();
        BackupSchedule { items, ..BackupSchedule::new(made) }
    }

    #[test]
    fn slots_are_counted_from_the_reference_time() {
        // A Wednesday, at 10:30.
        let now = at("2026-03-04T10:30:00Z");
        for (line, next) in [
            ((Frequency::Hourly, 1), "2026-03-04T11:30:00Z"),
            ((Frequency::Hourly, 6), "2026-03-04T16:30:00Z"),
            ((Frequency::Daily, 1), "2026-03-05T10:30:00Z"),
            ((Frequency::Weekly, 1), "2026-03-09T10:30:00Z"),
            ((Frequency::Weekly, 3), "2026-03-11T10:30:00Z"),
            ((Frequency::Weekly, 7), "2026-03-08T10:30:00Z"),
            ((Frequency::Monthly, 4), "2026-04-04T10:30:00Z"),
            ((Frequency::Monthly, 28), "2026-03-28T10:30:00Z"),
            ((Frequency::Monthly, LAST_DAY), "2026-03-31T10:30:00Z"),
            ((Frequency::Yearly, 3), "2027-03-01T10:30:00Z"),
            ((Frequency::Yearly, 12), "2026-12-01T10:30:00Z"),
        ] {
            assert_eq!(schedule(&[line]).next_slot(now), Some(at(next)), "{line:?}");
        }
        let february = at("2028-02-01T00:00:00Z");
        let last_day = schedule(&[(Frequency::Monthly, LAST_DAY)]);
        assert_eq!(last_day.next_slot(february), Some(at("2028-02-29T10:30:00Z")));
    }

    #[test]
    fn one_snapshot_stands_for_all_items_that_are_due_and_each_is_due_once() {
        let schedule = schedule(&[(Frequency::Hourly, 6), (Frequency::Daily, 1)]);
        let [hourly, daily] = [schedule.items[0].id, schedule.items[1].id];
        assert_eq!(schedule.due(at("2026-03-04T16:29:59Z")), None);
        let due = schedule.due(at("2026-03-04T16:30:00Z")).unwrap();
        assert_eq!((due.frequency, due.items), (Frequency::Hourly, vec![hourly]));
        let due = schedule.due(at("2026-03-05T10:30:00Z")).unwrap();
        assert_eq!((due.frequency, &due.items), (Frequency::Daily, &vec![hourly, daily]));
        let served = schedule.served(&due.items, at("2026-03-05T10:30:01Z"));
        assert_eq!(served.due(at("2026-03-05T16:29:00Z")), None);
        assert_eq!(served.due(at("2026-03-05T16:31:00Z")).unwrap().items, vec![hourly]);
    }

    #[test]
    fn a_clock_that_went_back_does_not_stop_the_schedule() {
        let ahead = schedule(&[(Frequency::Hourly, 1)]);
        let hourly = ahead.items[0].id;
        let ahead = ahead.served(&[hourly], at("2030-01-01T00:00:00Z"));
        let now = at("2026-03-04T10:40:00Z");
        assert_eq!(ahead.due(now), None);
        let back = ahead.served(&[], now);
        assert!(back.due(at("2026-03-04T11:30:00Z")).is_some());
    }

    #[test]
    fn what_came_to_nothing_is_still_due_however_often_and_whatever_else_was_taken() {
        let schedule = schedule(&[(Frequency::Hourly, 6), (Frequency::Weekly, 5)]);
        let weekly = schedule.items[1].id;
        let asked = at("2026-03-06T10:30:07Z");
        let due = schedule.due(asked).unwrap();
        assert!(due.items.contains(&weekly));
        let served = schedule.clone().served(&due.items, asked);
        let again = served.clone().given_back(&due.items, asked);
        assert_eq!(again.due(asked), Some(due.clone()));
        let later = at("2026-03-07T09:00:00Z");
        assert!(again.due(later).unwrap().items.contains(&weekly));
        let again = again.served(&due.items, later).given_back(&due.items, later);
        assert!(again.due(later).unwrap().items.contains(&weekly));
        // One that was taken since is not due again, and an item that was not meant never was.
        let since = served.clone().served(&due.items, later).given_back(&due.items, asked);
        assert_eq!(since.due(later), None);
        assert_eq!(served.clone().given_back(&[], asked), served);
    }

    #[test]
    fn retentions_follow_the_calendar_and_the_longest_counts() {
        let taken = at("2026-01-31T10:30:00Z");
        for (unit, value, end) in [
            (RetentionUnit::Days, 2, "2026-02-02T10:30:00Z"),
            (RetentionUnit::Weeks, 2, "2026-02-14T10:30:00Z"),
            (RetentionUnit::Months, 1, "2026-02-28T10:30:00Z"),
            (RetentionUnit::Years, 1, "2027-01-31T10:30:00Z"),
        ] {
            assert_eq!(Retention { unit, value }.after(taken), at(end));
        }
        let whole = BackupSchedule::new(taken);
        let of = |count: usize| whole.items[..count].iter().map(|item| item.id).collect::<Vec<_>>();
        assert_eq!(whole.expiry(&of(2), taken), Some(at("2026-02-07T10:30:00Z")));
        assert_eq!(whole.expiry(&of(5), taken), Some(at("2027-01-31T10:30:00Z")));
        assert_eq!(whole.expiry(&[], taken), None);
        assert!(!Retention::days(0).is_sound() && !Retention::days(u32::MAX).is_sound());
    }

    #[test]
    fn a_schedule_survives_its_text() {
        let schedule = BackupSchedule::new(at("2026-03-04T10:30:00Z"));
        let text = serde_json::to_string(&schedule).unwrap();
        assert_eq!(serde_json::from_str::<BackupSchedule>(&text).unwrap(), schedule);
        assert!(text.contains(r#""frequency":"hourly","interval":6"#), "{text}");
    }
}
