//! Backup schedules of instances: set, changed, emptied, taken away.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tidemark_catalog::{Catalog, CatalogError, Instance, InstanceFamily, Order, Page};
use tidemark_model::{
    BackupSchedule, DrillCheck, DrillItem, DrillLine, Frequency, LineTiming, PolicyId, PolicyItem,
    PolicyItemId, Retention, SnapshotLine, SnapshotState, UTC,
};

/// What shall be different; what is not given stays.
#[derive(Debug, Clone, Default)]
pub struct ScheduleChange {
    /// The hour of the day, UTC, from which slots are counted; 0 to 23.
    pub hour: Option<i8>,
    /// The minute of that hour; 0 to 59.
    pub minute: Option<i8>,
    /// How many days back every moment shall be restorable; at least one.
    pub restore_window_days: Option<u32>,
    /// The lines of the policy, all of them.
    pub policy: Option<PolicyChange>,
    /// A setting of Atlas's exports, kept and shown.
    pub uses_names_in_export_prefix: Option<bool>,
    /// Whether snapshots that exist are kept as the lines say now.
    pub updates_snapshots: bool,
    /// Whether snapshots go for which no line is left.
    pub deletes_snapshots: bool,
}

/// A policy as it shall be.
#[derive(Debug, Clone)]
pub struct PolicyChange {
    /// Which policy, if that is said.
    pub id: Option<PolicyId>,
    /// Its lines.
    pub items: Vec<ItemChange>,
}

/// A line as it shall be.
#[derive(Debug, Clone, Copy)]
pub struct ItemChange {
    /// Which line it was, if it was one.
    pub id: Option<PolicyItemId>,
    /// How often.
    pub frequency: Frequency,
    /// When exactly.
    pub interval: u32,
    /// How long its snapshots are kept.
    pub retention: Retention,
}

/// Why a schedule stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ChangeScheduleError {
    /// The instance has none of its own.
    #[error("the instance has no schedule of its own")]
    NoSchedule,
    /// The policy has another id.
    #[error("there is no policy {0}")]
    UnknownPolicy(PolicyId),
    /// No line has this id.
    #[error("there is no policy item {0}")]
    UnknownItem(PolicyItemId),
    /// A line is given twice.
    #[error("policy item {0} is given twice")]
    ItemTwice(PolicyItemId),
    /// A line cannot become one of another frequency.
    #[error("policy item {0} has another frequency")]
    FrequencyChanged(PolicyItemId),
    /// A rarer snapshot must not be kept shorter than a more frequent one.
    #[error("{} snapshots would be kept shorter than {} ones", .rarer.as_str(), .oftener.as_str())]
    KeptShorter {
        /// The rarer frequency.
        rarer: Frequency,
        /// The other one.
        oftener: Frequency,
    },
    /// The records could not be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Changes the schedule of an instance; answers what it is then.
pub fn change(
    catalog: &Catalog,
    instance: &Instance,
    change: &ScheduleChange,
    now: Timestamp,
) -> Result<BackupSchedule, ChangeScheduleError> {
    let old = load(catalog, instance)?;
    let mut new = old.clone();
    if let Some(policy) = &change.policy {
        if let Some(id) = policy.id.filter(|id| *id != old.policy) {
            return Err(ChangeScheduleError::UnknownPolicy(id));
        }
        new.items = changed_items(&old.items, &policy.items, now)?;
    }
    if change.hour.is_some() || change.minute.is_some() {
        // Whoever says a time here says it in UTC.
        let shown = utc_time(&old, now);
        (new.hour, new.minute) = (change.hour.unwrap_or(shown.0), change.minute.unwrap_or(shown.1));
        if (new.hour, new.minute) == shown {
            (new.hour, new.minute) = (old.hour, old.minute);
        } else {
            UTC.clone_into(&mut new.time_zone);
        }
    }
    new.restore_window_days = change.restore_window_days.unwrap_or(old.restore_window_days);
    new.uses_names_in_export_prefix =
        change.uses_names_in_export_prefix.unwrap_or(old.uses_names_in_export_prefix);
    if (new.hour, new.minute, &new.time_zone) != (old.hour, old.minute, &old.time_zone) {
        // Slots that only the other reference time has put into the past are not made up for.
        new.items.iter_mut().for_each(|item| item.served_until = now);
    }
    catalog.set_backup_schedule(instance.id, &new)?;
    if change.updates_snapshots || change.deletes_snapshots {
        apply_to_snapshots(catalog, instance, &new, change)?;
    }
    Ok(new)
}

/// The hour and minute, UTC, from which slots of a schedule are counted today.
pub fn utc_time(schedule: &BackupSchedule, now: Timestamp) -> (i8, i8) {
    let zone = TimeZone::get(&schedule.time_zone).unwrap_or(TimeZone::UTC);
    let here = now.to_zoned(zone);
    let time = here.with().hour(schedule.hour).minute(schedule.minute).build();
    time.map_or((schedule.hour, schedule.minute), |time| {
        let time = time.with_time_zone(TimeZone::UTC);
        (time.hour(), time.minute())
    })
}

/// A schedule as it shall be, whatever it was.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedSchedule {
    /// The zone in which its times are.
    pub time_zone: String,
    /// The hour of the day there from which slots are counted; 0 to 23.
    pub hour: i8,
    /// The minute of that hour; 0 to 59.
    pub minute: i8,
    /// How many days back every moment shall be restorable; at least one.
    pub restore_window_days: u32,
    /// When snapshots are taken, and how long they are kept.
    pub snapshots: Vec<SnapshotLine>,
    /// When drills are done.
    pub drills: Vec<WantedDrills>,
}

/// Drills that shall be done.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedDrills {
    /// When, and with what.
    pub line: DrillLine,
    /// The user's own checks.
    pub checks: Vec<DrillCheck>,
}

/// Gives an instance a schedule of its own, or says it anew. What it has to do already goes on as it is; slots
/// before now are not made up for.
pub fn set(
    catalog: &Catalog,
    instance: &Instance,
    wanted: &WantedSchedule,
    now: Timestamp,
) -> Result<BackupSchedule, ChangeScheduleError> {
    let old = catalog.find_backup_schedule(instance.id)?;
    let base =
        old.unwrap_or_else(|| BackupSchedule { items: Vec::new(), ..BackupSchedule::new(now) });
    let is_same_clock = (&base.time_zone, base.hour, base.minute)
        == (&wanted.time_zone, wanted.hour, wanted.minute);
    let items = wanted.snapshots.iter().cloned().map(|SnapshotLine { timing, retention }| {
        let LineTiming { frequency, interval, cron } = timing;
        let was = base
            .items
            .iter()
            .find(|was| (was.frequency, was.interval, &was.cron) == (frequency, interval, &cron));
        PolicyItem {
            id: was.map_or_else(|| PolicyItemId::new(now), |was| was.id),
            served_until: was.filter(|_| is_same_clock).map_or(now, |was| was.served_until),
            frequency,
            interval,
            cron,
            retention,
        }
    });
    let drills = wanted.drills.iter().cloned().map(|drills| DrillItem {
        id: PolicyItemId::new(now),
        frequency: drills.line.timing.frequency,
        interval: drills.line.timing.interval,
        cron: drills.line.timing.cron,
        is_random: drills.line.is_random,
        checks: drills.checks,
        served_until: now,
    });
    let new = BackupSchedule {
        items: items.collect(),
        drills: drills.collect(),
        time_zone: wanted.time_zone.clone(),
        hour: wanted.hour,
        minute: wanted.minute,
        restore_window_days: wanted.restore_window_days,
        ..base
    };
    catalog.put_backup_schedule(instance.id, &new)?;
    Ok(new)
}

/// Takes the schedule of its own from an instance: it is as it was made then.
pub fn reset(
    catalog: &Catalog,
    instance: &Instance,
    now: Timestamp,
) -> Result<Option<BackupSchedule>, ChangeScheduleError> {
    if instance.family == InstanceFamily::Cluster {
        let new = BackupSchedule::new(now);
        catalog.put_backup_schedule(instance.id, &new)?;
        return Ok(Some(new));
    }
    catalog.remove_backup_schedule(instance.id)?;
    Ok(None)
}

/// Empties the policy of an instance: no snapshot is taken by it any more. Snapshots that exist stay
/// as long as they would have.
pub fn clear(
    catalog: &Catalog,
    instance: &Instance,
) -> Result<BackupSchedule, ChangeScheduleError> {
    let old = load(catalog, instance)?;
    let new = BackupSchedule { items: Vec::new(), ..old };
    catalog.set_backup_schedule(instance.id, &new)?;
    Ok(new)
}

/// The schedule of an instance.
pub fn load(catalog: &Catalog, instance: &Instance) -> Result<BackupSchedule, ChangeScheduleError> {
    catalog.find_backup_schedule(instance.id)?.ok_or(ChangeScheduleError::NoSchedule)
}

/// The lines as they shall be: one that says which it was stays that one, as does one that says the
/// same as one that was.
fn changed_items(
    old: &[PolicyItem],
    wanted: &[ItemChange],
    now: Timestamp,
) -> Result<Vec<PolicyItem>, ChangeScheduleError> {
    let named: Vec<PolicyItemId> = wanted.iter().filter_map(|item| item.id).collect();
    let mut unnamed: Vec<&PolicyItem> = old.iter().filter(|o| !named.contains(&o.id)).collect();
    let mut items = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let was = match wanted.id {
            Some(id) if named.iter().filter(|named| **named == id).count() > 1 => {
                return Err(ChangeScheduleError::ItemTwice(id));
            }
            Some(id) => {
                let was = old.iter().find(|old| old.id == id);
                let was = was.ok_or(ChangeScheduleError::UnknownItem(id))?;
                if was.frequency != wanted.frequency {
                    return Err(ChangeScheduleError::FrequencyChanged(id));
                }
                Some(was)
            }
            None => unnamed
                .iter()
                .position(|old| {
                    (old.frequency, old.interval) == (wanted.frequency, wanted.interval)
                })
                .map(|place| unnamed.swap_remove(place)),
        };
        let stays = was.is_some_and(|was| was.interval == wanted.interval);
        items.push(PolicyItem {
            id: was.map_or_else(|| PolicyItemId::new(now), |was| was.id),
            frequency: wanted.frequency,
            interval: wanted.interval,
            cron: was.filter(|_| stays).and_then(|was| was.cron.clone()),
            retention: wanted.retention,
            served_until: was.filter(|_| stays).map_or(now, |was| was.served_until),
        });
    }
    check_retentions(&items, now)?;
    Ok(items)
}

fn check_retentions(items: &[PolicyItem], now: Timestamp) -> Result<(), ChangeScheduleError> {
    for rarer in items {
        let is_longer = |oftener: &&PolicyItem| {
            oftener.frequency < rarer.frequency
                && oftener.retention.after(now) > rarer.retention.after(now)
        };
        if let Some(oftener) = items.iter().find(is_longer) {
            let (rarer, oftener) = (rarer.frequency, oftener.frequency);
            return Err(ChangeScheduleError::KeptShorter { rarer, oftener });
        }
    }
    Ok(())
}

/// Keeps the snapshots that the policy asked for as long as it says now, or removes those of which it
/// says nothing any more.
fn apply_to_snapshots(
    catalog: &Catalog,
    instance: &Instance,
    schedule: &BackupSchedule,
    change: &ScheduleChange,
) -> Result<(), CatalogError> {
    let snapshots = catalog.list_snapshots(instance.id, Order::OldestFirst, Page::EVERYTHING)?;
    for snapshot in snapshots.items {
        let Some(policy) = &snapshot.policy else { continue };
        match schedule.expiry(&policy.items, snapshot.created_at) {
            Some(end) if change.updates_snapshots && end != snapshot.expires_at => {
                catalog.set_snapshot_expiry(snapshot.id, end)?;
            }
            None if change.deletes_snapshots => {
                let is_complete = matches!(snapshot.state, SnapshotState::Completed { .. });
                if !is_complete || catalog.is_last_snapshot(&snapshot)? {
                    continue;
                }
                match catalog.delete_snapshot(instance.id, snapshot.id) {
                    // It is being restored, or was promised to be kept: its own end takes it.
                    Err(CatalogError::InUse(_) | CatalogError::Kept { .. }) => {}
                    outcome => outcome?,
                }
            }
            _ => {}
        }
    }
    Ok(())
}
