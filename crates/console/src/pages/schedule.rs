//! The schedule of an instance: when snapshots are taken and drills done by themselves.

use askama::Template;
use http::StatusCode;
use jiff::Timestamp;
use tidemark_actions::schedules::{self, ChangeScheduleError, WantedDrills, WantedSchedule};
use tidemark_catalog::{Instance, Project};
use tidemark_model::{
    BackupSchedule, DrillCheck, DrillLine, LONGEST_WINDOW_DAYS, LineError, MOST_SCHEDULE_LINES,
    Role, SnapshotLine, UTC, is_time_zone, parse_time_of_day,
};

use crate::answer::{Answer, page, see};
use crate::asked::Fields;
use crate::explained::Explained;
use crate::problem::Problem;
use crate::shown::Frame;
use crate::visit::{AGAIN, Visit, path_of};

/// Days of restorable moments unless something else is said.
const WINDOW: u32 = 7;

/// What is asked for, as the form has it.
#[derive(Debug, Clone)]
struct Wanted {
    snapshots: String,
    drills: String,
    time: String,
    zone: String,
    window: String,
}

impl Wanted {
    fn of(form: &Fields) -> Self {
        let text = |name: &str| form.get(name).unwrap_or_default().to_owned();
        Self {
            snapshots: text("snapshots"),
            drills: text("drills"),
            time: text("time"),
            zone: text("zone"),
            window: text("window"),
        }
    }

    /// What an instance has; of one without a schedule of its own what one may begin with.
    fn shown(own: Option<&BackupSchedule>) -> Self {
        let Some(own) = own else {
            return Self {
                snapshots: "every 6 hours keep 35 days".to_owned(),
                drills: "weekly on sunday".to_owned(),
                time: "00:00".to_owned(),
                zone: UTC.to_owned(),
                window: WINDOW.to_string(),
            };
        };
        let lines = |lines: Vec<String>| lines.join("\n");
        let snapshots = own.items.iter().map(|item| item.line().to_string());
        Self {
            snapshots: lines(snapshots.collect()),
            drills: lines(drills_of(own).map(|(line, _)| line.to_string()).collect()),
            time: format!("{:02}:{:02}", own.hour, own.minute),
            zone: own.time_zone.clone(),
            window: own.restore_window_days.to_string(),
        }
    }

    /// As the rules take it; or in words what is wrong.
    fn read(&self, f: &Frame, own: Option<&BackupSchedule>) -> Result<WantedSchedule, String> {
        let (hour, minute) =
            parse_time_of_day(&self.time).ok_or_else(|| f.t("schedule-no-time"))?;
        let zone = if self.zone.is_empty() { UTC } else { self.zone.as_str() };
        if !is_time_zone(zone) {
            return Err(f.with("schedule-no-zone", "zone", zone));
        }
        let window =
            self.window.parse().ok().filter(|days| (1..=LONGEST_WINDOW_DAYS).contains(days));
        let snapshots: Vec<SnapshotLine> = lines(f, &self.snapshots)?;
        let drills: Vec<DrillLine> = lines(f, &self.drills)?;
        let drills = with_checks(drills, own);
        Ok(WantedSchedule {
            time_zone: zone.to_owned(),
            hour,
            minute,
            restore_window_days: window.ok_or_else(|| f.t("schedule-no-window"))?,
            snapshots,
            drills,
        })
    }
}

/// Drills with the user's own checks, which come from the command line: a line that stays keeps its own, and one that was
/// changed those of its place.
fn with_checks(lines: Vec<DrillLine>, own: Option<&BackupSchedule>) -> Vec<WantedDrills> {
    let had: Vec<_> = own.into_iter().flat_map(drills_of).collect();
    let mut left: Vec<_> = had.iter().map(|(_, checks)| Some(*checks)).collect();
    let mut found: Vec<Option<&Vec<DrillCheck>>> = vec![None; lines.len()];
    let places = lines.iter().zip(&mut found).zip(had.iter().zip(&mut left));
    for ((line, found), ((known, _), left)) in places {
        *found = if known == line { left.take() } else { None };
    }
    for (line, found) in lines.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
        let mut same = had.iter().zip(&mut left).filter(|((known, _), _)| known == line);
        *found = same.find_map(|(_, left)| left.take());
    }
    if had.len() == lines.len() {
        for (found, left) in found.iter_mut().zip(&mut left).filter(|(found, _)| found.is_none()) {
            *found = left.take();
        }
    }
    let with = |(line, checks): (DrillLine, Option<&Vec<DrillCheck>>)| WantedDrills {
        line,
        checks: checks.cloned().unwrap_or_default(),
    };
    lines.into_iter().zip(found).map(with).collect()
}

/// The drills of a schedule, as people say them, and their checks.
fn drills_of(own: &BackupSchedule) -> impl Iterator<Item = (DrillLine, &Vec<DrillCheck>)> {
    own.drills.iter().map(|item| (item.line(), &item.checks))
}

fn lines<T: std::str::FromStr<Err = LineError>>(f: &Frame, text: &str) -> Result<Vec<T>, String> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.len() > MOST_SCHEDULE_LINES {
        return Err(f.t("schedule-too-many"));
    }
    let line = |line: &&str| line.parse().map_err(|error| refusal(f, line, &error));
    lines.iter().map(line).collect()
}

fn refusal(f: &Frame, line: &str, error: &LineError) -> String {
    let id = match error {
        LineError::NoTime(_) => "schedule-line-no-time",
        LineError::NotAllowed(_) => "schedule-line-not-allowed",
        LineError::NoCron(_) | LineError::Cron(_) => "schedule-line-no-cron",
        LineError::NoRetention(_) | LineError::BadRetention(_) => "schedule-line-no-retention",
    };
    f.with(id, "line", line)
}

#[derive(Template)]
#[template(path = "schedule.html")]
struct SchedulePage {
    f: Frame,
    path: String,
    name: String,
    is_own: bool,
    may_set: bool,
    wanted: Wanted,
    next_snapshot: Option<Timestamp>,
    next_drill: Option<Timestamp>,
    /// Checks of the user's own that drills ask.
    checks: u64,
    error: Option<String>,
}

/// The page.
pub(crate) fn show(visit: &Visit<'_>, of: (&Project, &Instance)) -> Result<Answer, Problem> {
    answer(visit, of, None)
}

fn answer(
    visit: &Visit<'_>,
    (project, instance): (&Project, &Instance),
    refused: Option<(Wanted, String)>,
) -> Result<Answer, Problem> {
    let own = visit.console.catalog.find_backup_schedule(instance.id)?;
    let status = if refused.is_some() { AGAIN } else { StatusCode::OK };
    let (wanted, error) = match refused {
        Some((wanted, error)) => (wanted, Some(error)),
        None => (Wanted::shown(own.as_ref()), None),
    };
    let shown = SchedulePage {
        f: visit.frame.clone(),
        path: path_of(project, instance),
        name: instance.name.to_string(),
        is_own: own.is_some(),
        may_set: visit.may(project, Role::GroupBackupManager),
        wanted,
        checks: own.iter().flat_map(|own| &own.drills).map(|item| item.checks.len() as u64).sum(),
        next_snapshot: own.as_ref().and_then(|own| own.next_slot(visit.frame.now)),
        next_drill: own.as_ref().and_then(|own| own.next_drill(visit.frame.now)),
        error,
    };
    Ok(page(status, &shown))
}

/// Gives the instance the schedule of the form, or takes its own away.
pub(crate) fn change(
    visit: &Visit<'_>,
    (project, instance): (&Project, &Instance),
    form: &Fields,
) -> Result<Answer, Problem> {
    visit.require(project, Role::GroupBackupManager)?;
    let now = visit.frame.now;
    let refused = if form.get("do") == Some("reset") {
        let reset = |catalog: &_| schedules::reset(catalog, instance, now).map(drop);
        visit.change("resetBackupSchedule", reset)
    } else {
        let asked = Wanted::of(form);
        let own = visit.console.catalog.find_backup_schedule(instance.id)?;
        let wanted = match asked.read(&visit.frame, own.as_ref()) {
            Ok(wanted) => wanted,
            Err(reason) => return answer(visit, (project, instance), Some((asked, reason))),
        };
        let set = |catalog: &_| schedules::set(catalog, instance, &wanted, now).map(drop);
        visit.change("setBackupSchedule", set)
    };
    match refused {
        Ok(()) => Ok(see(&format!("{}/schedule", path_of(project, instance)))),
        Err(ChangeScheduleError::Catalog(error)) => Err(error.into()),
        Err(error) => Err(Problem::Refused(Explained::other(&visit.frame, error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<DrillLine> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// How many checks the lines have that become of a schedule whose lines have one, two and no checks.
    fn counts(texts: &[&str]) -> Vec<usize> {
        let now = Timestamp::UNIX_EPOCH;
        let check: DrillCheck = serde_json::from_value(serde_json::json!({
            "name": "n", "namespace": "a.b", "count": 1,
        }))
        .unwrap();
        let had = lines(&["weekly on sunday", "weekly on sunday", "monthly on 1 random"]);
        let drills =
            had.into_iter().zip([1, 2, 0]).map(|(line, count)| tidemark_model::DrillItem {
                id: tidemark_model::PolicyItemId::new(now),
                frequency: line.timing.frequency,
                interval: line.timing.interval,
                cron: None,
                is_random: line.is_random,
                checks: vec![check.clone(); count],
                served_until: now,
            });
        let own = BackupSchedule { drills: drills.collect(), ..BackupSchedule::new(now) };
        with_checks(lines(texts), Some(&own)).iter().map(|drills| drills.checks.len()).collect()
    }

    #[test]
    fn checks_stay_with_their_lines() {
        assert_eq!(
            counts(&["weekly on sunday", "weekly on sunday", "monthly on 1 random"]),
            [1, 2, 0]
        );
        // One that was changed keeps those of its place, one that is new has none.
        assert_eq!(counts(&["daily", "weekly on sunday", "monthly on 1 random"]), [1, 2, 0]);
        assert_eq!(
            counts(&["monthly on 1 random", "weekly on sunday", "weekly on sunday"]),
            [0, 2, 1]
        );
        assert_eq!(counts(&["weekly on sunday", "daily"]), [1, 0]);
        assert_eq!(counts(&[]), [0; 0]);
    }
}
