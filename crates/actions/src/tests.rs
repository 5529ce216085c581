//! The rules, on a catalog in memory.

use jiff::{SignedDuration, Timestamp};
use tidemark_catalog::{
    Backing, Catalog, CatalogError, Instance, InstanceFamily, LeaseHolder, NewSnapshot,
};
use tidemark_model::{
    Cause, Clock, Failure, Frequency, InstanceEvent, InstanceId, InstanceState, OplogSpan,
    OplogTime, PlanError, PointInTime, PolicyItem, PolicyMatch, ProjectId, RestoreEvent,
    RestoreStep, Retention, SnapshotEvent, SnapshotId, SnapshotKind,
};
use tidemark_testkit::{idle_instance, tenant};

use crate::instances::{self, Backups, ChangeInstanceError, CreateInstanceError, NewInstance};
use crate::restore_jobs::{self, Ask, CreateRestoreJobError, Destination};
use crate::schedules::{self, ChangeScheduleError, ItemChange, PolicyChange, ScheduleChange};
use crate::snapshots::{self, DeleteSnapshotError, Imported, TakeSnapshotError};
use crate::{Change, change};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

struct World {
    catalog: Catalog,
    project: ProjectId,
    instance: Instance,
    now: Timestamp,
}

fn world() -> World {
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let catalog = Catalog::in_memory().unwrap();
    let tenant = tenant(&catalog, &Clock::fixed(now), String::new(), (&[], &[]));
    let instance = catalog.load_instance(tenant.instance).unwrap();
    World { catalog, project: tenant.project, instance, now }
}

impl World {
    fn position(&self, second: i64) -> OplogTime {
        OplogTime::new(u32::try_from(self.now.as_second() + second).unwrap(), 1)
    }

    /// A complete snapshot that shows a moment.
    fn snapshot(&self, second: i64) -> SnapshotId {
        let taken = snapshots::take(&self.catalog, &self.instance, HOUR, self.now).unwrap();
        let holder = LeaseHolder { worker: "w".into(), duration: HOUR };
        let (claim, _) = self.catalog.claim_snapshot(&holder, self.now).unwrap().unwrap();
        let stored = SnapshotEvent::Stored {
            at: self.now,
            consistent_at: Some(self.position(second)),
            size_bytes: 1,
        };
        self.catalog.record_snapshot_event(&claim, stored, None).unwrap();
        taken.id
    }

    fn here(&self) -> Destination {
        Destination { project: self.project, name: self.instance.name.clone() }
    }

    fn ask(&self, ask: &Ask) -> Result<(), CreateRestoreJobError> {
        restore_jobs::create(&self.catalog, &self.instance, &ask.clone().into(), (self.now, HOUR))
            .map(drop)
    }
}

#[test]
fn a_restore_needs_a_complete_snapshot_and_a_target_that_is_up() {
    let w = world();
    let whole = w.snapshot(0);
    let open = snapshots::take(&w.catalog, &w.instance, HOUR, w.now).unwrap().id;
    w.ask(&Ask::Download { snapshot: whole }).unwrap();
    let incomplete = w.ask(&Ask::Download { snapshot: open });
    assert!(matches!(incomplete, Err(CreateRestoreJobError::SnapshotIncomplete)));
    let unknown = SnapshotId::new(w.now);
    let missing = w.ask(&Ask::Automated { snapshot: unknown, to: w.here() });
    assert!(matches!(missing, Err(CreateRestoreJobError::SnapshotNotFound(id)) if id == unknown));
    let nowhere = Destination { project: w.project, name: "nowhere".parse().unwrap() };
    let missing = w.ask(&Ask::Automated { snapshot: whole, to: nowhere });
    assert!(matches!(missing, Err(CreateRestoreJobError::TargetNotFound(_))));
    w.catalog.record_instance_event(w.instance.id, InstanceEvent::DeleteAsked, w.now).unwrap();
    let going = w.ask(&Ask::Automated { snapshot: whole, to: w.here() });
    assert!(matches!(going, Err(CreateRestoreJobError::TargetUnavailable(_))));
}

#[test]
fn a_snapshot_that_is_deleted_before_the_job_is_written_is_not_found() {
    let w = world();
    let snapshot = w.snapshot(0);
    snapshots::delete(&w.catalog, &w.instance, snapshot).unwrap();
    let gone = w.ask(&Ask::Download { snapshot });
    assert!(matches!(gone, Err(CreateRestoreJobError::SnapshotNotFound(_))));
    assert!(!w.catalog.is_restore_target(w.instance.id).unwrap());
}

#[test]
fn a_moment_outside_is_refused_with_the_nearest_ones() {
    let w = world();
    w.snapshot(-100);
    let span = OplogSpan { first: w.position(-200), last: w.position(-50) };
    w.catalog.extend_oplog_range(w.instance.id, span).unwrap();
    let at = |second| Ask::PointInTime {
        moment: PointInTime::Entry(w.position(second)),
        base: None,
        to: w.here(),
    };
    w.ask(&at(-100)).unwrap();
    // It runs, so what it did up to now will be captured.
    w.ask(&at(-1)).unwrap();
    let early = w.ask(&at(-150)).unwrap_err();
    let nearest = PlanError::Outside {
        wanted: w.position(-150),
        before: None,
        after: Some(w.position(-100)),
    };
    assert!(matches!(early, CreateRestoreJobError::Plan(error) if error == nearest), "{early}");
    assert!(w.ask(&at(60)).is_err());
    let listed = restore_jobs::list_restorable(&w.catalog, &w.instance, w.now).unwrap();
    let end = OplogTime::end_of_second(w.position(0).seconds);
    assert_eq!(listed, [OplogSpan { first: w.position(-100), last: end }]);
}

/// The capture notices a restore later than it happens: until then no moment after what was captured
/// is promised.
#[test]
fn no_moment_is_accepted_between_a_restore_and_the_capture_that_finds_it() {
    let w = world();
    let snapshot = w.snapshot(-100);
    let span = OplogSpan { first: w.position(-200), last: w.position(-50) };
    w.catalog.extend_oplog_range(w.instance.id, span).unwrap();
    let holder = LeaseHolder { worker: "w".into(), duration: HOUR };
    let through = || {
        let listed = restore_jobs::list_restorable(&w.catalog, &w.instance, w.now).unwrap();
        listed.last().unwrap().last
    };
    let present = OplogTime::end_of_second(w.position(0).seconds);
    let swap_at = Timestamp::from_second(i64::from(w.position(-15).seconds)).unwrap();
    let before_swap = OplogTime::end_of_second(w.position(-16).seconds);
    let begin_swap = || {
        w.ask(&Ask::Automated { snapshot, to: w.here() }).unwrap();
        let (claim, _) = w.catalog.claim_restore_job(&holder, w.now).unwrap().unwrap();
        let swap = RestoreEvent::StepStarted { step: RestoreStep::SWAP, at: swap_at };
        w.catalog.record_restore_event(&claim, swap).unwrap();
        claim
    };
    let failed = begin_swap();
    assert_eq!(through(), before_swap);
    let given_up = RestoreEvent::GivenUp { at: w.now, failure: Failure::new(Cause::Disk, "x") };
    w.catalog.record_restore_event(&failed, given_up).unwrap();
    assert_eq!(through(), present, "it was not replaced");
    let claim = begin_swap();
    w.catalog.record_restore_event(&claim, RestoreEvent::Delivered(w.now)).unwrap();
    assert_eq!(through(), before_swap);
    let ask = |second| {
        let moment = PointInTime::Entry(w.position(second));
        w.ask(&Ask::PointInTime { moment, base: None, to: w.here() })
    };
    for second in [-15, -10] {
        assert!(matches!(ask(second), Err(CreateRestoreJobError::Plan(PlanError::Outside { .. }))));
    }
    ask(-16).unwrap();
    // The capture finds it: now it is known to the entry.
    let rest = OplogSpan { first: w.position(-50), last: w.position(-20) };
    w.catalog.extend_oplog_range(w.instance.id, rest).unwrap();
    let swapped = OplogTime::new(w.position(-15).seconds, 7);
    w.catalog.end_oplog_range(w.instance.id, swapped).unwrap();
    w.catalog.begin_oplog_range(w.instance.id, w.position(-14)).unwrap();
    assert_eq!(through(), OplogTime::new(swapped.seconds, 6));
    ask(-15).unwrap();
    assert!(ask(-10).is_err(), "no snapshot leads there yet");
    w.snapshot(-12);
    ask(-10).unwrap();
    assert_eq!(through(), present);
}

#[test]
fn an_instance_that_is_up_again_is_not_idle_while_a_restore_waits() {
    let w = world();
    let snapshot = w.snapshot(0);
    let trouble = tidemark_catalog::InstanceTrouble::NotStarted("x".into());
    let state = || w.catalog.load_instance(w.instance.id).unwrap().state;
    w.catalog.set_instance_trouble(w.instance.id, &trouble, w.now).unwrap();
    instances::repair(&w.catalog, w.instance.id, w.now).unwrap();
    assert_eq!(state(), InstanceState::Idle);
    assert!(instances::repair(&w.catalog, w.instance.id, w.now).is_err(), "it is up");
    w.ask(&Ask::Automated { snapshot, to: w.here() }).unwrap();
    w.catalog.set_instance_trouble(w.instance.id, &trouble, w.now).unwrap();
    instances::repair(&w.catalog, w.instance.id, w.now).unwrap();
    assert_eq!(state(), InstanceState::Updating);
    assert_eq!(w.catalog.load_instance(w.instance.id).unwrap().trouble, None);
}

#[test]
fn names_ports_and_states_are_obeyed() {
    let w = world();
    let new = |name: &str, ports| NewInstance {
        project: w.project,
        name: name.parse().unwrap(),
        family: w.instance.family,
        settings: w.instance.settings.clone(),
        ports,
        placement: Vec::new(),
        vault: None,
    };
    let taken = instances::create(&w.catalog, new("one", 9), w.now);
    assert!(matches!(taken, Err(CreateInstanceError::NameTaken(_))));
    let full = instances::create(&w.catalog, new("two", 1), w.now);
    assert!(matches!(full, Err(CreateInstanceError::NoPortLeft)));
    instances::create(&w.catalog, new("two", 2), w.now).unwrap();
    let mut settings = w.instance.settings.clone();
    settings.termination_protection = true;
    instances::update(&w.catalog, &w.instance, settings.clone(), w.now).unwrap();
    let again = instances::update(&w.catalog, &w.instance, w.instance.settings.clone(), w.now);
    assert!(matches!(again, Err(ChangeInstanceError::State(InstanceState::Updating))));
    let kept = instances::delete(&w.catalog, &w.instance, Backups::Retain, w.now);
    assert!(matches!(kept, Err(ChangeInstanceError::Protected)));
}

#[test]
fn an_instance_that_is_being_restored_is_neither_changed_nor_removed() {
    let w = world();
    let snapshot = w.snapshot(0);
    w.ask(&Ask::Automated { snapshot, to: w.here() }).unwrap();
    let kept = instances::delete(&w.catalog, &w.instance, Backups::GiveUp, w.now);
    assert!(matches!(kept, Err(ChangeInstanceError::RestoreInProgress)));
    let in_use = snapshots::delete(&w.catalog, &w.instance, snapshot);
    assert!(matches!(in_use, Err(DeleteSnapshotError::InUse)));
}

#[test]
fn one_snapshot_on_demand_is_taken_at_a_time() {
    let w = world();
    snapshots::take(&w.catalog, &w.instance, HOUR, w.now).unwrap();
    let second = snapshots::take(&w.catalog, &w.instance, HOUR, w.now);
    assert!(matches!(second, Err(TakeSnapshotError::Unfinished)));
    // Whatever comes in between.
    let imported = Imported {
        instance: w.instance.id,
        snapshot: SnapshotId::new(w.now),
        expires_at: w.now + HOUR,
    };
    snapshots::import(&w.catalog, &imported, w.now).unwrap();
    let third = snapshots::take(&w.catalog, &w.instance, HOUR, w.now);
    assert!(matches!(third, Err(TakeSnapshotError::Unfinished)));
    let gone = idle_instance(w.project, "gone", w.now);
    let gone = Instance { state: InstanceState::Deleted, ..gone };
    let unavailable = snapshots::take(&w.catalog, &gone, HOUR, w.now);
    assert!(matches!(unavailable, Err(TakeSnapshotError::Unavailable(_))));
}

#[test]
fn an_import_neither_blocks_its_instance_nor_counts_as_its_last_snapshot() {
    let w = world();
    let id = SnapshotId::new(w.now);
    let imported = Imported { instance: w.instance.id, snapshot: id, expires_at: w.now + HOUR };
    snapshots::import(&w.catalog, &imported, w.now).unwrap();
    let plans = || {
        let schedules = w.catalog.list_schedules().unwrap();
        schedules.into_iter().find(|schedule| schedule.instance == w.instance.id).unwrap()
    };
    let waiting = plans();
    assert_eq!((waiting.newest, waiting.is_open, waiting.failures), (None, false, 0));
    // While it is being made, a snapshot of the instance is taken.
    let holder = LeaseHolder { worker: "w".into(), duration: HOUR };
    let (_, claimed) = w.catalog.claim_snapshot(&holder, w.now).unwrap().unwrap();
    assert_eq!(claimed.id, id);
    let taken = snapshots::take(&w.catalog, &w.instance, HOUR, w.now).unwrap();
    let (_, claimed) = w.catalog.claim_snapshot(&holder, w.now).unwrap().unwrap();
    assert_eq!(claimed.id, taken.id);
    assert!(plans().is_open);
}

#[test]
fn a_change_is_recorded_with_who_made_it_or_not_made() {
    let w = world();
    let by = Change {
        at: w.now,
        actor: "key",
        address: Some("127.0.0.1"),
        action: "takeSnapshot",
        subject: "/one",
    };
    change(&w.catalog, by, |catalog| snapshots::take(catalog, &w.instance, HOUR, w.now).map(drop))
        .unwrap();
    let failed = change(&w.catalog, by, |catalog| {
        catalog.give_backups_up(w.instance.id)?;
        Err::<(), _>(CatalogError::InUse("x".into()))
    });
    assert!(failed.is_err());
    let audit = w.catalog.list_audit(10).unwrap();
    assert_eq!(audit.len(), 1);
    assert_eq!((audit[0].actor.as_str(), audit[0].action.as_str()), ("key", "takeSnapshot"));
}

/// A cluster, which has a schedule of its own.
fn cluster(w: &World) -> Instance {
    let cluster = Instance {
        id: InstanceId::new(w.now),
        name: "cluster".parse().unwrap(),
        family: InstanceFamily::Cluster,
        backing: Backing::Attached,
        port: None,
        ..w.instance.clone()
    };
    w.catalog.insert_instance(&cluster).unwrap();
    cluster
}

fn line(item: &PolicyItem) -> ItemChange {
    let PolicyItem { id, frequency, interval, retention, .. } = item.clone();
    ItemChange { id: Some(id), frequency, interval, retention }
}

fn policy(items: Vec<ItemChange>) -> ScheduleChange {
    let policy = Some(PolicyChange { id: None, items });
    ScheduleChange { policy, ..ScheduleChange::default() }
}

#[test]
fn a_line_that_stays_is_not_asked_for_again_and_a_changed_one_begins_now() {
    let w = world();
    let cluster = cluster(&w);
    let old = schedules::load(&w.catalog, &cluster).unwrap();
    let later = w.now.saturating_add(HOUR).unwrap();
    let (hourly, daily) = (line(&old.items[0]), line(&old.items[1]));
    // One without an id that says what one said is that one, with another interval it is a new one.
    let unnamed = ItemChange { id: None, ..daily };
    let other = ItemChange { interval: 12, ..hourly };
    let new =
        schedules::change(&w.catalog, &cluster, &policy(vec![other, unnamed]), later).unwrap();
    let ids: Vec<_> = new.items.iter().map(|item| item.id).collect();
    assert_eq!(ids, [old.items[0].id, old.items[1].id]);
    let served: Vec<_> = new.items.iter().map(|item| item.served_until).collect();
    assert_eq!(served, [later, w.now]);
    // Another reference time does not make up for slots that it puts into the past.
    let moved = ScheduleChange { hour: Some(new.hour ^ 1), ..ScheduleChange::default() };
    let moved = schedules::change(&w.catalog, &cluster, &moved, later).unwrap();
    assert!(moved.items.iter().all(|item| item.served_until == later));
    let none = schedules::change(&w.catalog, &w.instance, &ScheduleChange::default(), later);
    assert!(matches!(none, Err(ChangeScheduleError::NoSchedule)));
}

#[test]
fn snapshots_follow_a_changed_policy_only_if_that_is_asked_for() {
    let w = world();
    let cluster = cluster(&w);
    let old = schedules::load(&w.catalog, &cluster).unwrap();
    let snapshot = |items: &[usize]| {
        let items: Vec<_> = items.iter().map(|place| old.items[*place].id).collect();
        let expires_at = old.expiry(&items, w.now).unwrap();
        let snapshot = NewSnapshot {
            expires_at,
            policy: Some(PolicyMatch { frequency: Frequency::Hourly, items }),
            ..NewSnapshot::new(cluster.id, SnapshotKind::Scheduled, w.now, HOUR)
        };
        w.catalog.insert_snapshot(&snapshot).unwrap();
        let holder = LeaseHolder { worker: "w".into(), duration: HOUR };
        let (claim, _) = w.catalog.claim_snapshot(&holder, w.now).unwrap().unwrap();
        let stored = SnapshotEvent::Stored { at: w.now, consistent_at: None, size_bytes: 1 };
        w.catalog.record_snapshot_event(&claim, stored, None).unwrap();
        snapshot.id
    };
    let (hourly, both, last) = (snapshot(&[0]), snapshot(&[0, 1]), snapshot(&[0]));
    let end = |id| w.catalog.find_snapshot(cluster.id, id).unwrap().map(|found| found.expires_at);
    let ends = [hourly, both, last].map(end);
    let shorter = ItemChange { retention: Retention::days(2), ..line(&old.items[0]) };
    let change = policy(vec![shorter, line(&old.items[1])]);
    schedules::change(&w.catalog, &cluster, &change, w.now).unwrap();
    assert_eq!([hourly, both, last].map(end), ends);
    let change = ScheduleChange { updates_snapshots: true, ..change };
    schedules::change(&w.catalog, &cluster, &change, w.now).unwrap();
    let two_days = Some(Retention::days(2).after(w.now));
    assert_eq!([hourly, both, last].map(end), [two_days, ends[1], two_days]);
    // Without its line a snapshot goes if that is asked for, but never the newest one.
    let change = ScheduleChange { deletes_snapshots: true, ..policy(vec![line(&old.items[1])]) };
    schedules::change(&w.catalog, &cluster, &change, w.now).unwrap();
    assert_eq!([hourly, both, last].map(end), [None, ends[1], two_days]);
}

#[test]
fn a_rarer_snapshot_is_not_kept_shorter() {
    let w = world();
    let cluster = cluster(&w);
    let old = schedules::load(&w.catalog, &cluster).unwrap();
    let shorter = ItemChange { retention: Retention::days(6), ..line(&old.items[1]) };
    let refused =
        schedules::change(&w.catalog, &cluster, &policy(vec![line(&old.items[0]), shorter]), w.now);
    let text = refused.unwrap_err().to_string();
    assert_eq!(text, "daily snapshots would be kept shorter than hourly ones");
    assert_eq!(schedules::load(&w.catalog, &cluster).unwrap(), old);
    let emptied = schedules::clear(&w.catalog, &cluster).unwrap();
    assert!(emptied.items.is_empty() && emptied.policy == old.policy);
}
