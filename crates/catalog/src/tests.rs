//! The contract of the catalog, through its interface.

mod drills;
mod nodes;

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use tidemark_model::{
    ApiKeyId, Caller, Cause, DatabaseUserId, Delivery, Failure, InstanceEvent, InstanceId,
    InstanceState, OplogSpan, OplogTime, OrgId, PointInTime, Principal, ProjectId, ReplaceStep,
    RestoreEvent, RestoreJobId, RestoreState, RestoreStep, Role, Roles, SecretId, ServiceAccountId,
    SnapshotEvent, SnapshotId, SnapshotKind,
};

use crate::{
    AccessUse, ApiKey, AuditEntry, AuditScope, Backing, Catalog, CatalogError, DatabaseUser, Done,
    Instance, InstanceFamily, InstanceSettings, InstanceTrouble, InstanceView, LeaseHolder,
    NetworkEntry, NetworkSource, NewOrg, NewRestoreJob, NewSecret, NewSnapshot, Order, Org, Page,
    PasswordRecord, Project, Proof, ServiceAccount, TailPiece, TailSize, TargetName,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn holder(worker: &str) -> LeaseHolder {
    LeaseHolder { worker: worker.into(), duration: SignedDuration::from_secs(30) }
}

/// An empty catalog: in memory, or a database of its own on the PostgreSQL server that
/// `TIDEMARK_TEST_POSTGRES` names (`scripts/with-postgres`).
fn fresh_catalog() -> Catalog {
    let Ok(server) = std::env::var("TIDEMARK_TEST_POSTGRES") else {
        return Catalog::in_memory().unwrap();
    };
    let name = format!("t{}", OrgId::new(at(1_000)));
    let mut client =
        postgres::Client::connect(&format!("{server}/postgres"), postgres::NoTls).unwrap();
    client.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
    Catalog::connect(&format!("{server}/{name}")).unwrap()
}

struct Fixture {
    catalog: Catalog,
    org: OrgId,
    project: ProjectId,
    instance: InstanceId,
    key: ApiKeyId,
    account: ServiceAccountId,
}

fn fixture() -> Fixture {
    let catalog = fresh_catalog();
    let now = at(1_000);
    let settings = serde_json::Map::new();
    let org = Org { id: OrgId::new(now), name: "o".into(), created_at: now, settings };
    let project = Project::new(org.id, "p", now);
    let roles = Roles { org: vec![Role::OrgOwner], projects: vec![(project.id, Role::GroupOwner)] };
    let key = ApiKey {
        id: ApiKeyId::new(now),
        org: org.id,
        public_key: "abcdefgh".into(),
        ha1: "ha1".into(),
        masked_private_key: "****".into(),
        description: "d".into(),
        roles: roles.clone(),
        created_at: now,
    };
    let account = ServiceAccount {
        id: ServiceAccountId::new(now),
        org: org.id,
        name: "a".into(),
        description: "d".into(),
        roles,
        created_at: now,
    };
    let new = NewOrg {
        org: &org,
        projects: std::slice::from_ref(&project),
        keys: std::slice::from_ref(&key),
        accounts: &[(account.clone(), secret("h", 1_000, 9_000))],
    };
    catalog.insert_org(&new).unwrap();
    assert_eq!(catalog.find_org(org.id).unwrap().as_ref(), Some(&org));
    assert_eq!(catalog.find_api_key("abcdefgh").unwrap().as_ref(), Some(&key));
    assert_eq!(catalog.find_service_account(account.id).unwrap().as_ref(), Some(&account));
    let instance = insert_instance(&catalog, project.id, "one", InstanceFamily::Serverless);
    Fixture {
        catalog,
        org: org.id,
        project: project.id,
        instance,
        key: key.id,
        account: account.id,
    }
}

fn secret(hash: &str, made: i64, ends: i64) -> NewSecret {
    NewSecret {
        id: SecretId::new(at(made)),
        hash: hash.into(),
        masked: "mdb_sa_sk_...".into(),
        created_at: at(made),
        expires_at: at(ends),
    }
}

fn insert_instance(
    catalog: &Catalog,
    project: ProjectId,
    name: &str,
    family: InstanceFamily,
) -> InstanceId {
    let instance = Instance {
        id: InstanceId::new(at(1_000)),
        project,
        name: name.parse().unwrap(),
        family,
        state: InstanceState::Idle,
        settings: InstanceSettings {
            backing_provider: "AWS".into(),
            region: "US_EAST_1".into(),
            termination_protection: false,
            continuous_backup: true,
            tags: vec![],
            auto_indexing: true,
        },
        created_at: at(1_000),
        changed_at: at(1_000),
        backing: Backing::Embedded,
        port: Some(1),
        trouble: None,
        node: None,
        vault: None,
    };
    catalog.insert_instance(&instance).unwrap();
    assert_eq!(catalog.find_instance(project, name).unwrap(), Some(instance.clone()));
    instance.id
}

impl Fixture {
    fn snapshot(&self, second: i64) -> SnapshotId {
        let now = at(second);
        let snapshot = NewSnapshot::new(
            self.instance,
            SnapshotKind::OnDemand,
            now,
            SignedDuration::from_secs(100),
        );
        self.catalog.insert_snapshot(&snapshot).unwrap();
        let (claim, claimed) = self.catalog.claim_snapshot(&holder("w"), now).unwrap().unwrap();
        assert_eq!(claimed.id, snapshot.id);
        let stored = SnapshotEvent::Stored {
            at: now,
            consistent_at: Some(OplogTime::new(u32::try_from(second).unwrap(), 5)),
            size_bytes: 10,
        };
        let state = self.catalog.record_snapshot_event(&claim, stored, Some(&proof())).unwrap();
        let found = self.catalog.find_snapshot(self.instance, snapshot.id).unwrap().unwrap();
        assert_eq!(found.state, state);
        snapshot.id
    }

    fn job(&self, delivery: Delivery) -> RestoreJobId {
        let job = NewRestoreJob {
            id: RestoreJobId::new(at(2_000)),
            instance: self.instance,
            delivery,
            selection: tidemark_model::Selection::everything(),
            documents: None,
            replaces_in_place: false,
            snapshot_at: at(1_500),
            target: TargetName { project: self.project, name: "one".into() },
            created_at: at(2_000),
            download_lifetime: SignedDuration::from_secs(60),
            format: tidemark_model::ExportFormat::default(),
        };
        self.catalog.insert_restore_job(&job).unwrap();
        let found = self.catalog.find_restore_job(self.instance, job.id).unwrap().unwrap();
        assert_eq!((found.delivery, found.state), (delivery, RestoreState::Queued));
        job.id
    }
}

#[test]
fn every_delivery_survives_its_row() {
    let f = fixture();
    let (snapshot, target) = (f.snapshot(1_500), f.instance);
    for delivery in [
        Delivery::Automated { snapshot, target },
        Delivery::Download { snapshot, moment: None },
        Delivery::PointInTime { moment: PointInTime::Second(7), base: snapshot, target },
        Delivery::PointInTime {
            moment: PointInTime::Entry(OplogTime::new(7, 8)),
            base: snapshot,
            target,
        },
    ] {
        f.job(delivery);
    }
}

#[test]
fn pages_of_restore_jobs_are_dense_and_newest_first() {
    let f = fixture();
    let snapshot = f.snapshot(1_500);
    let mut jobs: Vec<_> =
        (0..7).map(|_| f.job(Delivery::Download { snapshot, moment: None })).collect();
    jobs.reverse();
    let mut paged = Vec::new();
    for number in 1..=4 {
        let page = f.catalog.list_restore_jobs(f.instance, Page { number, size: 3 }).unwrap();
        assert_eq!(page.total, 7);
        paged.extend(page.items.into_iter().map(|job| job.id));
    }
    assert_eq!(paged, jobs);
}

#[test]
fn a_stale_claim_is_refused() {
    let f = fixture();
    let snapshot = f.snapshot(1_500);
    let job = f.job(Delivery::Download { snapshot, moment: None });
    let (old, _) = f.catalog.claim_restore_job(&holder("a"), at(2_000)).unwrap().unwrap();
    assert!(f.catalog.claim_restore_job(&holder("b"), at(2_029)).unwrap().is_none());
    f.catalog.renew_restore_job(&old, (&holder("a"), at(2_020)), &Done::default()).unwrap();
    assert!(f.catalog.claim_restore_job(&holder("b"), at(2_040)).unwrap().is_none());
    let (new, _) = f.catalog.claim_restore_job(&holder("b"), at(2_060)).unwrap().unwrap();
    let lost = |outcome: Result<(), CatalogError>| {
        assert!(matches!(outcome, Err(CatalogError::LeaseLost(_))));
    };
    lost(f.catalog.renew_restore_job(&old, (&holder("a"), at(2_061)), &Done::default()).map(drop));
    lost(f.catalog.record_restore_event(&old, RestoreEvent::Delivered(at(2_061))).map(drop));
    f.catalog.record_restore_event(&new, RestoreEvent::Delivered(at(2_062))).unwrap();
    // Nor does it matter that there is nothing more to do: whoever lost the job has to know that.
    let begun = RestoreEvent::StepStarted { step: RestoreStep::SWAP, at: at(2_063) };
    lost(f.catalog.record_restore_event(&old, begun).map(drop));
    lost(f.catalog.release_restore_job(&old, at(2_063)));
    let state = f.catalog.load_restore_job(job).unwrap().state;
    assert_eq!(state, RestoreState::Completed { finished_at: at(2_062) });
}

#[test]
fn a_target_has_one_restore_and_no_snapshot_at_a_time() {
    let f = fixture();
    let snapshot = f.snapshot(1_500);
    let delivery = Delivery::Automated { snapshot, target: f.instance };
    let (first, second) = (f.job(delivery), f.job(delivery));
    let (claim, job) = f.catalog.claim_restore_job(&holder("a"), at(2_000)).unwrap().unwrap();
    assert_eq!(job.id, first);
    assert!(f.catalog.claim_restore_job(&holder("b"), at(2_000)).unwrap().is_none());
    let wanted =
        NewSnapshot::new(f.instance, SnapshotKind::Scheduled, at(2_000), SignedDuration::ZERO);
    f.catalog.insert_snapshot(&wanted).unwrap();
    assert!(f.catalog.claim_snapshot(&holder("b"), at(2_001)).unwrap().is_none());
    f.catalog.record_restore_event(&claim, RestoreEvent::Delivered(at(2_002))).unwrap();
    assert!(f.catalog.claim_snapshot(&holder("b"), at(2_003)).unwrap().is_some());
    assert!(f.catalog.claim_restore_job(&holder("b"), at(2_003)).unwrap().is_none());
    assert!(f.catalog.is_restore_target(f.instance).unwrap());
    f.catalog.request_cancel(second, at(2_004)).unwrap();
    assert!(!f.catalog.is_restore_target(f.instance).unwrap());
}

#[test]
fn of_two_claims_that_exclude_each_other_one_succeeds() {
    // In one file nobody else writes meanwhile; in PostgreSQL each claim has a connection of its own.
    let rounds = if std::env::var_os("TIDEMARK_TEST_POSTGRES").is_some() { 10_000 } else { 1_000 };
    let f = fixture();
    let snapshot = f.snapshot(1_500);
    f.job(Delivery::Automated { snapshot, target: f.instance });
    let wanted =
        NewSnapshot::new(f.instance, SnapshotKind::OnDemand, at(2_000), SignedDuration::ZERO);
    f.catalog.insert_snapshot(&wanted).unwrap();
    let (barrier, won) = (std::sync::Barrier::new(2), std::sync::atomic::AtomicUsize::new(0));
    // Both try at the same time; of each round exactly one has won when both have tried.
    let contend = |claim: &dyn Fn() -> Option<Box<dyn FnOnce()>>| {
        let mut mine = 0;
        for round in 1..=rounds {
            barrier.wait();
            let give_back = claim();
            won.fetch_add(usize::from(give_back.is_some()), std::sync::atomic::Ordering::SeqCst);
            barrier.wait();
            assert_eq!(won.load(std::sync::atomic::Ordering::SeqCst), round);
            mine += usize::from(give_back.is_some());
            barrier.wait();
            if let Some(give_back) = give_back {
                give_back();
            }
        }
        mine
    };
    let catalog = &f.catalog;
    let (restores, snapshots) = std::thread::scope(|scope| {
        let restoring = scope.spawn(|| {
            contend(&|| {
                let (claim, _) = catalog.claim_restore_job(&holder("a"), at(2_001)).unwrap()?;
                Some(Box::new(move || {
                    catalog.release_restore_job(&claim, at(2_000)).unwrap();
                    let sql = "UPDATE restore_jobs SET state = 'queued', step = NULL WHERE state = 'running'";
                    catalog.lock().execute(sql, ()).unwrap();
                }))
            })
        });
        let snapshots = contend(&|| {
            let (claim, _) = catalog.claim_snapshot(&holder("b"), at(2_001)).unwrap()?;
            Some(Box::new(move || {
                catalog.release_snapshot(&claim, at(2_000)).unwrap();
                let sql = "UPDATE snapshots SET state = 'queued' WHERE state = 'inProgress'";
                catalog.lock().execute(sql, ()).unwrap();
            }))
        });
        (restoring.join().unwrap(), snapshots)
    });
    println!("{restores} restores and {snapshots} snapshots won");
    assert!(restores > 0 && snapshots > 0);
}

#[test]
fn a_reclaimed_job_begins_anew_unless_it_was_in_its_swap() {
    let f = fixture();
    let snapshot = f.snapshot(1_500);
    f.job(Delivery::Automated { snapshot, target: f.instance });
    let (claim, job) = f.catalog.claim_restore_job(&holder("a"), at(2_000)).unwrap().unwrap();
    assert_eq!(job.state, RestoreState::Running { step: ReplaceStep::Verify.into() });
    let index = RestoreEvent::StepStarted { step: ReplaceStep::Index.into(), at: at(2_000) };
    f.catalog.record_restore_event(&claim, index).unwrap();
    let (claim, job) = f.catalog.claim_restore_job(&holder("b"), at(2_100)).unwrap().unwrap();
    assert_eq!(job.state, RestoreState::Running { step: ReplaceStep::Verify.into() });
    let swap = RestoreEvent::StepStarted { step: RestoreStep::SWAP, at: at(2_100) };
    f.catalog.record_restore_event(&claim, swap).unwrap();
    let (_, job) = f.catalog.claim_restore_job(&holder("c"), at(2_200)).unwrap().unwrap();
    assert_eq!(job.state, RestoreState::Running { step: RestoreStep::SWAP });
}

#[test]
fn a_snapshot_that_is_needed_is_not_deleted() {
    let f = fixture();
    let snapshot = f.snapshot(1_500);
    let job = f.job(Delivery::Download { snapshot, moment: None });
    let refused = f.catalog.delete_snapshot(f.instance, snapshot);
    assert!(matches!(refused, Err(CatalogError::InUse(_))));
    f.catalog.request_cancel(job, at(2_000)).unwrap();
    f.catalog.delete_snapshot(f.instance, snapshot).unwrap();
    assert_eq!(
        f.catalog.list_snapshots(f.instance, Order::OldestFirst, Page::EVERYTHING).unwrap().total,
        0
    );
    assert_eq!(f.catalog.list_unpurged_snapshots().unwrap(), [(f.instance, snapshot)]);
}

#[test]
fn the_base_of_a_moment_is_the_newest_snapshot_before_it_in_the_range() {
    let f = fixture();
    let (old, new) = (f.snapshot(1_500), f.snapshot(1_600));
    let base = |since, through| {
        let found =
            f.catalog.find_base_snapshot(f.instance, (OplogTime::new(since, 0), through)).unwrap();
        found.map(|snapshot| snapshot.id)
    };
    assert_eq!(base(0, OplogTime::new(1_700, 0)), Some(new));
    assert_eq!(base(0, OplogTime::new(1_600, 5)), Some(new));
    assert_eq!(base(0, OplogTime::new(1_600, 4)), Some(old));
    assert_eq!(base(1_550, OplogTime::new(1_599, 0)), None);
}

#[test]
fn oplog_ranges_grow_break_and_are_trimmed() {
    let f = fixture();
    let time = |second| OplogTime::new(second, 0);
    let range = |first, last| OplogSpan { first: time(first), last: time(last) };
    f.catalog.extend_oplog_range(f.instance, range(10, 20)).unwrap();
    f.catalog.extend_oplog_range(f.instance, range(20, 30)).unwrap();
    f.catalog.begin_oplog_range(f.instance, time(50)).unwrap();
    f.catalog.extend_oplog_range(f.instance, range(50, 60)).unwrap();
    assert_eq!(f.catalog.list_oplog_ranges(f.instance).unwrap(), [range(10, 30), range(50, 60)]);
    f.catalog.trim_oplog_ranges(f.instance, time(25)).unwrap();
    assert_eq!(f.catalog.list_oplog_ranges(f.instance).unwrap(), [range(25, 30), range(50, 60)]);
    f.catalog.trim_oplog_ranges(f.instance, time(55)).unwrap();
    assert_eq!(f.catalog.newest_oplog_range(f.instance).unwrap(), Some(range(55, 60)));
}

#[test]
fn who_claims_looks_at_open_jobs_only() {
    let catalog = Catalog::in_memory().unwrap();
    for statement in [crate::restore_jobs::claimable_job(), crate::snapshots::claimable_snapshot()]
    {
        let connection = catalog.lock();
        let mut plan = connection
            .prepare_cached(&format!("EXPLAIN QUERY PLAN {}", statement.replace("?1", "0")))
            .unwrap();
        let steps: Vec<String> =
            plan.query_map((), |row| row.get("detail")).unwrap().map(Result::unwrap).collect();
        // Of an instance everything that ever was is in an index by its number.
        let is_open = |step: &str| {
            ["open_", "_by_target", "_by_state", " i ", "deployments", "parts_of", "CONSTANT"]
                .iter()
                .any(|part| step.contains(part))
        };
        let tables =
            steps.iter().filter(|step| step.starts_with("SCAN") || step.starts_with("SEARCH"));
        for step in tables {
            assert!(is_open(step), "{step} in {steps:?}");
        }
    }
}

fn piece(first: u32, last: u32, byte: u8) -> TailPiece {
    let span = OplogSpan { first: OplogTime::new(first, 0), last: OplogTime::new(last, 0) };
    TailPiece { span, sealed: vec![0, byte, 255] }
}

#[test]
fn a_tail_keeps_its_bytes_until_they_are_stored_elsewhere() {
    let f = fixture();
    let list = || f.catalog.list_oplog_tail(f.instance).unwrap();
    for kept in [piece(20, 30, 2), piece(10, 20, 1), piece(30, 35, 3)] {
        f.catalog.put_oplog_tail(f.instance, &kept).unwrap();
    }
    assert_eq!(list(), [piece(10, 20, 1), piece(20, 30, 2), piece(30, 35, 3)]);
    let size = f.catalog.measure_oplog_tail(f.instance).unwrap();
    assert_eq!(size, TailSize { pieces: 3, bytes: 9 });
    // A shorter one that comes late replaces nothing.
    f.catalog.put_oplog_tail(f.instance, &piece(30, 32, 9)).unwrap();
    assert_eq!(list()[2], piece(30, 35, 3));
    // One that was replaced after it was read for storing stays.
    f.catalog.put_oplog_tail(f.instance, &piece(30, 40, 4)).unwrap();
    let stored: Vec<_> = [(10, 20), (20, 30), (30, 35)].map(|(a, b)| piece(a, b, 0).span).into();
    f.catalog.remove_oplog_tail(f.instance, &stored).unwrap();
    assert_eq!(list(), [piece(30, 40, 4)]);
    f.catalog.remove_oplog_ranges(f.instance).unwrap();
    assert_eq!(list(), []);
}

#[test]
fn a_range_that_has_ended_is_not_extended_over_its_end() {
    let f = fixture();
    let time = |second| OplogTime::new(second, 5);
    let range = |first, last| OplogSpan { first: time(first), last: time(last) };
    f.catalog.extend_oplog_range(f.instance, range(10, 20)).unwrap();
    f.catalog.end_oplog_range(f.instance, time(30)).unwrap();
    f.catalog.extend_oplog_range(f.instance, range(20, 25)).unwrap();
    f.catalog.extend_oplog_range(f.instance, range(25, 40)).unwrap();
    let captured = f.catalog.list_captured(f.instance).unwrap();
    let entries: Vec<_> = captured.iter().map(|captured| captured.entries).collect();
    assert_eq!(entries, [range(10, 25), range(25, 40)]);
    assert_eq!(captured[0].through, OplogTime::new(30, 4));
    assert_eq!(captured[1].through, time(40));
}

#[test]
fn the_first_restore_that_nobody_has_noticed_ends_a_range() {
    let f = fixture();
    let snapshot = f.snapshot(1_500);
    let span = OplogSpan { first: OplogTime::new(1_400, 1), last: OplogTime::new(1_600, 1) };
    f.catalog.extend_oplog_range(f.instance, span).unwrap();
    let swap = |second, end| {
        f.job(Delivery::Automated { snapshot, target: f.instance });
        let now = at(second);
        let (claim, _) = f.catalog.claim_restore_job(&holder("w"), now).unwrap().unwrap();
        let swap = RestoreEvent::StepStarted { step: RestoreStep::SWAP, at: now };
        f.catalog.record_restore_event(&claim, swap).unwrap();
        let found = f.catalog.find_unnoticed_swap(f.instance).unwrap();
        f.catalog.record_restore_event(&claim, end).unwrap();
        found
    };
    let failed = RestoreEvent::GivenUp { at: at(2_001), failure: Failure::new(Cause::Disk, "x") };
    assert_eq!(swap(2_000, failed.clone()), Some(at(2_000)));
    assert_eq!(f.catalog.find_unnoticed_swap(f.instance).unwrap(), None, "it changed nothing");
    assert_eq!(swap(2_010, RestoreEvent::Delivered(at(2_011))), Some(at(2_010)));
    assert_eq!(swap(2_020, RestoreEvent::Delivered(at(2_021))), Some(at(2_010)));
    assert_eq!(swap(2_030, failed), Some(at(2_010)));
    assert_eq!(f.catalog.find_unnoticed_swap(f.instance).unwrap(), Some(at(2_010)));
    f.catalog.begin_oplog_range(f.instance, OplogTime::new(2_015, 1)).unwrap();
    assert_eq!(f.catalog.find_unnoticed_swap(f.instance).unwrap(), None);
}

#[test]
fn a_row_that_was_set_aside_holds_up_nobody() {
    let f = fixture();
    let snapshot = f.snapshot(1_500);
    let broken = f.job(Delivery::Automated { snapshot, target: f.instance });
    f.catalog.claim_restore_job(&holder("a"), at(2_000)).unwrap().unwrap();
    let sql = "UPDATE restore_jobs SET step = 'odd' WHERE id = ?1";
    f.catalog.lock().execute(sql, [broken.to_string()]).unwrap();
    let whole = f.job(Delivery::Automated { snapshot, target: f.instance });
    let (_, job) = f.catalog.claim_restore_job(&holder("b"), at(2_100)).unwrap().unwrap();
    assert_eq!(job.id, whole);
    f.catalog.request_cancel(whole, at(2_101)).unwrap();
    assert!(f.catalog.claim_restore_job(&holder("b"), at(2_200)).unwrap().is_none());
    assert!(!f.catalog.is_restore_target(f.instance).unwrap());
    let wanted = |second| {
        let (kind, life) = (SnapshotKind::Scheduled, SignedDuration::from_hours(1));
        let new = NewSnapshot::new(f.instance, kind, at(second), life);
        f.catalog.insert_snapshot(&new).unwrap();
        new.id
    };
    let odd = wanted(2_300);
    f.catalog.claim_snapshot(&holder("a"), at(2_300)).unwrap().unwrap();
    let sql = "UPDATE snapshots SET kind = 'odd' WHERE id = ?1";
    f.catalog.lock().execute(sql, [odd.to_string()]).unwrap();
    let next = wanted(2_301);
    let (claim, _) = f.catalog.claim_snapshot(&holder("b"), at(2_400)).unwrap().unwrap();
    assert_eq!(claim.id, next);
}

#[test]
fn a_job_that_is_cancelled_ends_also_while_its_target_is_repaired() {
    let f = fixture();
    let snapshot = f.snapshot(1_500);
    let job = f.job(Delivery::Automated { snapshot, target: f.instance });
    f.catalog.claim_restore_job(&holder("a"), at(2_000)).unwrap().unwrap();
    let trouble = InstanceTrouble::NotStarted("x".into());
    f.catalog.set_instance_trouble(f.instance, &trouble, at(2_001)).unwrap();
    assert!(f.catalog.claim_restore_job(&holder("b"), at(2_100)).unwrap().is_none());
    assert!(f.catalog.is_restore_target(f.instance).unwrap());
    f.catalog.request_cancel(job, at(2_101)).unwrap();
    assert!(f.catalog.claim_restore_job(&holder("b"), at(2_102)).unwrap().is_none());
    let state = f.catalog.load_restore_job(job).unwrap().state;
    assert_eq!(state, RestoreState::Cancelled { finished_at: at(2_102) });
}

#[test]
fn nothing_comes_after_what_was_captured_of_a_database_that_is_lost() {
    let f = fixture();
    let time = |second| OplogTime::new(second, 1);
    let span = |first, last| OplogSpan { first: time(first), last: time(last) };
    f.catalog.extend_oplog_range(f.instance, span(10, 20)).unwrap();
    f.catalog.set_instance_trouble(f.instance, &InstanceTrouble::DataLost, at(2_000)).unwrap();
    f.catalog.begin_instance_anew(f.instance, at(2_001)).unwrap();
    f.catalog.extend_oplog_range(f.instance, span(20, 30)).unwrap();
    assert_eq!(f.catalog.list_oplog_ranges(f.instance).unwrap(), [span(10, 20), span(20, 30)]);
    assert_eq!(f.catalog.list_captured(f.instance).unwrap()[0].through, time(20));
}

#[test]
fn names_are_free_again_after_the_end() {
    let f = fixture();
    let record = |event| f.catalog.record_instance_event(f.instance, event, at(1_100));
    assert!(matches!(record(InstanceEvent::Served), Err(CatalogError::Transition(_))));
    assert!(matches!(f.catalog.delete_project(f.project, at(1_100)), Err(CatalogError::InUse(_))));
    record(InstanceEvent::DeleteAsked).unwrap();
    f.catalog.retire_instance(f.instance, at(1_100), SignedDuration::from_hours(1)).unwrap();
    assert!(matches!(
        f.catalog.retire_instance(f.instance, at(1_100), SignedDuration::from_hours(1)),
        Err(CatalogError::Transition(_))
    ));
    let again = insert_instance(&f.catalog, f.project, "one", InstanceFamily::Serverless);
    assert_ne!(again, f.instance);
}

#[test]
fn instances_are_numbered_densely_in_both_views() {
    let f = fixture();
    let insert = |name: &str, family| insert_instance(&f.catalog, f.project, name, family);
    let two = insert("two", InstanceFamily::Flex);
    let three = insert("three", InstanceFamily::Serverless);
    let four = insert("four", InstanceFamily::Flex);
    let names = |view, size, number| {
        let page = f.catalog.list_instances(f.project, view, Page { number, size }).unwrap();
        let names: Vec<_> = page.items.iter().map(|instance| instance.name.to_string()).collect();
        (page.total, names.join(" "))
    };
    assert_eq!(names(InstanceView::Flex, 3, 1), (4, "one two three".into()));
    assert_eq!(names(InstanceView::Flex, 3, 2), (4, "four".into()));
    assert_eq!(names(InstanceView::Serverless, 10, 1), (2, "one three".into()));
    for gone in [two, f.instance] {
        f.catalog.record_instance_event(gone, InstanceEvent::DeleteAsked, at(1_100)).unwrap();
        f.catalog.retire_instance(gone, at(1_100), SignedDuration::from_hours(1)).unwrap();
    }
    assert_eq!(names(InstanceView::Flex, 1, 2), (2, "four".into()));
    assert_eq!(names(InstanceView::Serverless, 1, 1), (1, "three".into()));
    assert_eq!(names(InstanceView::Flex, 10, 2), (2, String::new()));
    assert_eq!(f.catalog.find_project(f.project).unwrap().unwrap().instance_count, 2);
    for id in [three, four] {
        assert_eq!(f.catalog.load_instance(id).unwrap().state, InstanceState::Idle);
    }
}

#[test]
fn snapshots_stay_dense_whichever_is_deleted() {
    let f = fixture();
    let snapshots: Vec<_> = (1..=4).map(|n| f.snapshot(1_500 + n)).collect();
    f.catalog.delete_snapshot(f.instance, snapshots[1]).unwrap();
    let list = |order, number| {
        let page = f.catalog.list_snapshots(f.instance, order, Page { number, size: 2 }).unwrap();
        assert_eq!(page.total, 3);
        page.items.into_iter().map(|snapshot| snapshot.id).collect::<Vec<_>>()
    };
    assert_eq!(list(Order::OldestFirst, 1), [snapshots[0], snapshots[2]]);
    assert_eq!(list(Order::OldestFirst, 2), [snapshots[3]]);
    assert_eq!(list(Order::NewestFirst, 1), [snapshots[3], snapshots[2]]);
    assert_eq!(list(Order::NewestFirst, 2), [snapshots[0]]);
}

#[test]
fn a_project_takes_the_roles_in_it_along() {
    let f = fixture();
    let org_roles = vec![Role::OrgGroupCreator];
    let mut key = f.catalog.find_org_api_key(f.org, f.key).unwrap().unwrap();
    key.roles = Roles { org: org_roles.clone(), projects: vec![] };
    f.catalog.update_api_key(&key).unwrap();
    let caller =
        Caller { principal: Principal::ApiKey(f.key), org: f.org, roles: key.roles.clone() };
    let project = Project::new(f.org, "mine", at(1_000));
    f.catalog.insert_project(&project, &caller).unwrap();
    let read = || f.catalog.find_org_api_key(f.org, f.key).unwrap().unwrap().roles;
    assert_eq!(read().projects, [(project.id, Role::GroupOwner)]);
    let in_project = f.catalog.list_api_keys(f.org, Some(project.id), Page::EVERYTHING).unwrap();
    assert_eq!(in_project.total, 1);
    f.catalog.delete_project(project.id, at(1_100)).unwrap();
    assert_eq!(read(), Roles { org: org_roles, projects: vec![] });
    assert_eq!(
        f.catalog.list_api_keys(f.org, Some(project.id), Page::EVERYTHING).unwrap().total,
        0
    );
}

#[test]
fn secrets_of_an_account_are_several_expire_and_are_rotated() {
    let f = fixture();
    let uses = |hash: &str, second| {
        f.catalog.use_account_secret(f.account, hash, at(second)).unwrap().is_some()
    };
    let second = secret("h2", 2_000, 3_000);
    f.catalog.insert_account_secret(f.account, &second, 2).unwrap();
    let third = secret("h3", 2_001, 9_000);
    let refused = f.catalog.insert_account_secret(f.account, &third, 2);
    assert!(matches!(refused, Err(CatalogError::InUse(_))));
    assert!(uses("h", 2_500) && uses("h2", 2_500));
    assert!(!uses("h2", 3_000), "it has ended");
    let late = secret("h4", 3_001, 9_000);
    f.catalog.insert_account_secret(f.account, &late, 2).unwrap();
    f.catalog.delete_account_secret(f.account, late.id).unwrap();
    assert!(!uses("h4", 3_002));
    let listed = f.catalog.list_account_secrets(f.account).unwrap();
    assert_eq!(listed.iter().map(|s| s.last_used_at).collect::<Vec<_>>(), [Some(at(2_500)); 2]);
    f.catalog.revoke_token("t", at(9_000), at(3_000)).unwrap();
    let find = |token: &str, secret, second| {
        f.catalog.find_token_account(token, (f.account, secret), at(second)).unwrap()
    };
    assert!(find("t", second.id, 2_900).is_none(), "it is revoked");
    assert_eq!(find("u", second.id, 2_900).map(|(_, ends_at)| ends_at), Some(at(3_000)));
    assert!(find("u", second.id, 3_000).is_none(), "its secret has ended");
    f.catalog.delete_account_secret(f.account, second.id).unwrap();
    assert!(find("u", second.id, 2_900).is_none(), "its secret is gone");
}

#[test]
fn access_lists_count_their_uses() {
    let f = fixture();
    let principal = Principal::ApiKey(f.key);
    let block: IpNet = "10.0.0.0/8".parse().unwrap();
    f.catalog.insert_access_entries(principal, &[block], at(1_000)).unwrap();
    f.catalog.insert_access_entries(principal, &[block], at(1_001)).unwrap();
    let address = "10.1.2.3".parse().unwrap();
    let used = AccessUse { requests: 3, last_at: at(1_500), address };
    f.catalog.record_access(principal, block, &used).unwrap();
    let listed = f.catalog.list_access_entries(principal, Page::EVERYTHING).unwrap();
    assert_eq!(listed.total, 1);
    assert_eq!(listed.items[0].request_count, 3);
    assert_eq!(listed.items[0].last_use, Some((at(1_500), "10.1.2.3".into())));
    f.catalog.delete_access_entry(principal, block).unwrap();
    let refused = f.catalog.delete_access_entry(principal, block);
    assert!(matches!(refused, Err(CatalogError::Missing(_))));
}

#[test]
fn a_list_of_a_project_closes_its_instances_to_others() {
    let f = fixture();
    let admits = |address: &str, second| {
        f.catalog.admits(f.project, address.parse().unwrap(), at(second)).unwrap()
    };
    assert!(admits("192.0.2.1", 1_000));
    let entry = NetworkEntry {
        source: NetworkSource::Block("198.51.100.0/24".parse().unwrap()),
        comment: Some("office".into()),
        delete_after: Some(at(2_000)),
    };
    f.catalog.put_network_entries(f.project, std::slice::from_ref(&entry), at(1_000)).unwrap();
    assert!(!admits("192.0.2.1", 1_999) && admits("198.51.100.7", 1_999));
    assert!(!admits("198.51.100.7", 2_000), "its time is over");
    assert!(!admits("192.0.2.1", 2_000), "a list that ended by its time opens nothing");
    let lasting = NetworkEntry { delete_after: None, ..entry };
    f.catalog.put_network_entries(f.project, std::slice::from_ref(&lasting), at(2_000)).unwrap();
    f.catalog.delete_network_entry(f.project, &lasting.source, at(2_001)).unwrap();
    assert!(admits("192.0.2.1", 2_001), "who removes the last entry opens the instances");
}

#[test]
fn a_database_user_ends_with_its_time() {
    let f = fixture();
    let user = DatabaseUser {
        id: DatabaseUserId::new(at(1_000)),
        project: f.project,
        username: "u".into(),
        database: "admin".into(),
        password: PasswordRecord {
            salt: String::new(),
            iterations: 1,
            stored_key: String::new(),
            server_key: String::new(),
        },
        roles: vec![],
        scopes: vec![],
        description: None,
        labels: vec![],
        delete_after: Some(at(2_000)),
    };
    f.catalog.insert_database_user(&user, at(1_000)).unwrap();
    let find =
        |second| f.catalog.find_database_user(f.project, ("admin", "u"), at(second)).unwrap();
    assert_eq!((find(1_999), find(2_000)), (Some(user), None));
    assert_eq!(f.catalog.remove_expired_users(at(1_999)).unwrap(), 0);
    assert_eq!(f.catalog.remove_expired_users(at(2_000)).unwrap(), 1);
}

#[test]
fn the_link_of_a_download_ages_from_its_delivery() {
    let f = fixture();
    let snapshot = f.snapshot(1_500);
    let job = f.job(Delivery::Download { snapshot, moment: None });
    let load = || f.catalog.load_restore_job(job).unwrap();
    let before = load().download.unwrap();
    assert_eq!(before.expires_at, None);
    let (claim, _) = f.catalog.claim_restore_job(&holder("a"), at(2_000)).unwrap().unwrap();
    f.catalog.record_restore_event(&claim, RestoreEvent::Delivered(at(2_500))).unwrap();
    let after = load();
    let download = after.download.unwrap();
    assert_eq!(download.expires_at, Some(at(2_560)));
    assert_eq!((&download.file, after.snapshot_finished_at), (&before.file, Some(at(1_500))));
    let found = f.catalog.find_download(&download.file).unwrap();
    assert_eq!(found.map(|job| job.id), Some(job));
}

#[test]
fn an_organization_ends_with_its_credentials() {
    let f = fixture();
    assert!(matches!(f.catalog.delete_org(f.org, at(1_100)), Err(CatalogError::InUse(_))));
    f.catalog.record_instance_event(f.instance, InstanceEvent::DeleteAsked, at(1_100)).unwrap();
    f.catalog.retire_instance(f.instance, at(1_100), SignedDuration::from_hours(1)).unwrap();
    f.catalog.delete_project(f.project, at(1_100)).unwrap();
    f.catalog.delete_org(f.org, at(1_100)).unwrap();
    assert!(f.catalog.find_org(f.org).unwrap().is_none());
    assert!(f.catalog.find_api_key("abcdefgh").unwrap().is_none());
    assert!(f.catalog.find_service_account(f.account).unwrap().is_none());
}

#[test]
fn a_generation_lasts_until_something_changes() {
    let f = fixture();
    let before = f.catalog.generation();
    f.catalog.find_org(f.org).unwrap();
    assert_eq!(f.catalog.generation(), before);
    f.catalog.revoke_token("t", at(9_000), at(3_000)).unwrap();
    assert_ne!(f.catalog.generation(), before);
}

#[test]
fn a_file_of_the_first_schema_is_brought_to_the_present() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.sqlite");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(include_str!("schema/0001.sql")).unwrap();
    old.execute_batch(include_str!("tests/0001.sql")).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    let catalog = Catalog::open(&path).unwrap();
    let project =
        catalog.find_project("65a0000000000000000000b1".parse().unwrap()).unwrap().unwrap();
    assert_eq!(project.instance_count, 2);
    let view = |view| catalog.list_instances(project.id, view, Page::EVERYTHING).unwrap().items;
    assert_eq!(view(InstanceView::Flex).len(), 2);
    let instance = &view(InstanceView::Serverless)[0];
    assert_eq!(instance.name.as_str(), "kept");
    let snapshots =
        catalog.list_snapshots(instance.id, Order::NewestFirst, Page::EVERYTHING).unwrap();
    let ids: Vec<_> = snapshots.items.iter().map(|snapshot| snapshot.id.to_string()).collect();
    assert_eq!(ids, ["65a0000000000000000000d3", "65a0000000000000000000d1"]);
    let jobs = catalog.list_restore_jobs(instance.id, Page::EVERYTHING).unwrap();
    let download = jobs.items[0].download.as_ref().unwrap();
    assert_eq!(download.file, "65a0000000000000000000e1-65a0000000000000000000d1.archive.gz");
    assert_eq!(catalog.find_api_key("oldkeyab").unwrap().unwrap().roles.org, [Role::OrgOwner]);
}

#[test]
fn a_row_that_contradicts_itself_is_named() {
    let f = fixture();
    let snapshot = f.snapshot(1_500);
    f.catalog.lock().execute("UPDATE snapshots SET failure = 'x'", ()).unwrap();
    let error = f.catalog.find_snapshot(f.instance, snapshot).unwrap_err();
    assert!(
        matches!(error, CatalogError::Corrupt { table: "snapshots", id, .. } if id == snapshot.to_string())
    );
}

#[test]
fn a_file_is_read_again_and_a_newer_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.sqlite");
    let secrets = Catalog::open(&path).unwrap().signing_keys().unwrap();
    let catalog = Catalog::open(&path).unwrap();
    assert_eq!(catalog.signing_keys().unwrap(), secrets);
    drop(catalog);
    let file = rusqlite::Connection::open(&path).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Catalog::open(&path), Err(CatalogError::NewerVersion { found: 99, .. })));
}

#[test]
fn questions_about_one_job_look_at_few_jobs() {
    // PostgreSQL reads small tables as a whole, whatever the indexes.
    let catalog = Catalog::in_memory().unwrap();
    let connection = catalog.lock();
    for question in [
        "SELECT 1 FROM restore_jobs WHERE target_id = 'x' AND state IN ('queued', 'running')",
        "SELECT max(finished_at) FROM restore_jobs WHERE target_id = 'x' AND state = 'completed'",
        "SELECT 1 FROM restore_jobs WHERE snapshot_id = 'x' AND state IN ('queued', 'running')",
        "SELECT * FROM restore_jobs WHERE instance_id = 'x' AND number BETWEEN 1 AND 5 ORDER BY number DESC",
        "SELECT * FROM snapshots WHERE instance_id = 'x' AND number BETWEEN 1 AND 5 ORDER BY number",
        "SELECT * FROM instances WHERE project_id = 'x' AND number BETWEEN 1 AND 5 ORDER BY number",
    ] {
        let plan: Vec<String> = connection
            .prepare_cached(&format!("EXPLAIN QUERY PLAN {question}"))
            .unwrap()
            .query_map((), |row| row.get("detail"))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(plan.iter().all(|step| step.starts_with("SEARCH")), "{question}: {plan:?}");
    }
}

#[test]
fn a_row_that_cannot_be_decoded_is_set_aside_and_others_are_claimed() {
    let f = fixture();
    let snapshot = f.snapshot(1_500);
    let (broken, whole) = (
        f.job(Delivery::Download { snapshot, moment: None }),
        f.job(Delivery::Download { snapshot, moment: None }),
    );
    f.catalog
        .lock()
        .execute(
            "UPDATE restore_jobs SET pit_oplog_seconds = 5 WHERE id = ?1",
            [broken.to_string()],
        )
        .unwrap();
    let (_, job) = f.catalog.claim_restore_job(&holder("a"), at(2_000)).unwrap().unwrap();
    assert_eq!(job.id, whole);
    let wanted =
        NewSnapshot::new(f.instance, SnapshotKind::Scheduled, at(2_000), SignedDuration::ZERO);
    f.catalog.insert_snapshot(&wanted).unwrap();
    f.catalog
        .lock()
        .execute("UPDATE snapshots SET kind = 'odd' WHERE id = ?1", [wanted.id.to_string()])
        .unwrap();
    assert!(f.catalog.claim_snapshot(&holder("a"), at(2_001)).unwrap().is_none());
    let aside = f.catalog.list_quarantined().unwrap();
    let ids: Vec<_> = aside.iter().map(|(table, id, _)| (table.as_str(), id.clone())).collect();
    assert_eq!(ids, [("snapshots", wanted.id.to_string()), ("restore_jobs", broken.to_string())]);
    assert!(aside[0].2.contains("odd"), "{aside:?}");
}

#[test]
fn a_job_of_which_the_process_dies_again_and_again_fails() {
    let f = fixture();
    let snapshot = f.snapshot(1_500);
    let job = f.job(Delivery::Automated { snapshot, target: f.instance });
    for n in 0..3 {
        let (claim, _) =
            f.catalog.claim_restore_job(&holder("a"), at(2_000 + 100 * n)).unwrap().unwrap();
        let step = RestoreEvent::StepStarted { step: ReplaceStep::Replay.into(), at: at(2_000) };
        f.catalog.record_restore_event(&claim, step).unwrap();
    }
    assert!(f.catalog.claim_restore_job(&holder("a"), at(2_300)).unwrap().is_none());
    let RestoreState::Failed { failure, .. } = f.catalog.load_restore_job(job).unwrap().state
    else {
        panic!("it goes on")
    };
    assert!(failure.reason.contains("3 times in the step replay"), "{failure}");
    assert_eq!(failure.cause, Cause::Crashed);
}

#[test]
fn a_job_that_is_given_back_is_not_one_that_died() {
    let f = fixture();
    let snapshot = f.snapshot(1_500);
    f.job(Delivery::Download { snapshot, moment: None });
    for n in 0..10 {
        let now = at(2_000 + n);
        let (claim, _) = f.catalog.claim_restore_job(&holder("a"), now).unwrap().unwrap();
        f.catalog.release_restore_job(&claim, now).unwrap();
    }
}

#[test]
fn a_cancellation_is_obeyed_before_a_job_is_claimed_again() {
    let f = fixture();
    let snapshot = f.snapshot(1_500);
    let job = f.job(Delivery::Automated { snapshot, target: f.instance });
    f.catalog.claim_restore_job(&holder("a"), at(2_000)).unwrap().unwrap();
    f.catalog.request_cancel(job, at(2_010)).unwrap();
    assert!(f.catalog.claim_restore_job(&holder("b"), at(2_100)).unwrap().is_none());
    let state = f.catalog.load_restore_job(job).unwrap().state;
    assert_eq!(state, RestoreState::Cancelled { finished_at: at(2_100) });
}

#[test]
fn a_transaction_is_done_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&folder.path().join("catalog.sqlite")).unwrap();
    let entry = |action: &str| AuditEntry {
        at: at(1),
        actor: "a".into(),
        address: None,
        action: action.into(),
        subject: "s".into(),
        scope: AuditScope::default(),
    };
    let generation = catalog.generation();
    let failed: Result<(), CatalogError> = catalog.transact(|catalog| {
        catalog.record_audit(&entry("first"))?;
        // Nested ones are parts of the outer one.
        catalog.transact(|catalog| catalog.record_audit(&entry("second")))?;
        assert_eq!(catalog.list_audit(10)?.len(), 2);
        Err(CatalogError::InUse("x".into()))
    });
    assert!(failed.is_err());
    assert_eq!(catalog.list_audit(10).unwrap(), []);
    catalog.transact(|catalog| catalog.record_audit(&entry("third"))).unwrap();
    assert_ne!(catalog.generation(), generation);
    assert_eq!(catalog.list_audit(10).unwrap().len(), 1);
    // A panic leaves nothing behind, and the catalog goes on.
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        catalog.transact(|catalog| -> Result<(), CatalogError> {
            catalog.record_audit(&entry("fourth"))?;
            panic!("in the middle")
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(catalog.list_audit(10).unwrap().len(), 1);
    catalog.record_audit(&entry("fifth")).unwrap();
}

#[test]
fn readers_do_not_wait_for_a_transaction_and_do_not_see_it() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&folder.path().join("catalog.sqlite")).unwrap();
    let entry = AuditEntry {
        at: at(1),
        actor: "a".into(),
        address: None,
        action: "x".into(),
        subject: "s".into(),
        scope: AuditScope::default(),
    };
    catalog
        .transact(|inside| {
            inside.record_audit(&entry)?;
            std::thread::scope(|scope| {
                let count = scope.spawn(|| catalog.list_audit(10).unwrap().len()).join().unwrap();
                assert_eq!(count, 0);
            });
            Ok::<_, CatalogError>(())
        })
        .unwrap();
    assert_eq!(catalog.list_audit(10).unwrap().len(), 1);
}

fn proof() -> Proof {
    Proof {
        server_version: "7.0.12".into(),
        mode: "snapshot".into(),
        mode_reason: None,
        comparison: None,
    }
}

#[test]
fn restores_into_a_deployment_and_into_its_parts_come_one_after_another() {
    let f = fixture();
    let snapshot = f.snapshot(1_100);
    let part = Instance {
        id: InstanceId::new(at(1_000)),
        name: "part".parse().unwrap(),
        backing: Backing::Attached,
        ..f.catalog.load_instance(f.instance).unwrap()
    };
    f.catalog.insert_placed(&part, (f.instance, "tm_part_")).unwrap();
    let into = |target: InstanceId| Delivery::Automated { snapshot, target };
    let first = f.job(into(part.id));
    let second = f.job(into(f.instance));
    let third = f.job(into(part.id));
    let claim = || f.catalog.claim_restore_job(&holder("w"), at(2_000)).unwrap();
    let (claimed, _) = claim().unwrap();
    assert_eq!(claimed.id, first);
    assert!(claim().is_none(), "{second} and {third} write to what {first} writes to");
    assert!(f.catalog.is_restore_target(f.instance).unwrap());
    assert!(f.catalog.is_restore_target(part.id).unwrap());
}

#[test]
fn no_prefix_of_a_deployment_is_the_beginning_of_another_one() {
    let f = fixture();
    let place = |name: &str, prefix: &str, host: InstanceId| {
        let instance = Instance {
            id: InstanceId::new(at(1_000)),
            name: name.parse().unwrap(),
            backing: Backing::Attached,
            ..f.catalog.load_instance(f.instance).unwrap()
        };
        f.catalog.insert_placed(&instance, (host, prefix)).map(|()| instance.id)
    };
    let first = place("a", "tm_one_", f.instance).unwrap();
    for taken in ["tm_one_", "TM_One_", "tm_", "tm_one_two_"] {
        assert!(matches!(place("b", taken, f.instance), Err(CatalogError::InUse(_))), "{taken}");
    }
    place("c", "tmXone_", f.instance).unwrap();
    // On another deployment it is another one.
    place("d", "tm_one_", first).unwrap();
    let part = f.catalog.find_deployment(first).unwrap().unwrap().placement.unwrap();
    assert_eq!((part.host, part.prefix.as_str(), part.is_claimed), (f.instance, "tm_one_", false));
    assert!(f.catalog.is_host(f.instance).unwrap());
}

#[test]
fn records_are_moved_to_another_database_and_back() {
    let f = fixture();
    let count = 1_200_u32;
    for n in 0..count {
        let entry = AuditEntry {
            at: at(3_000 + i64::from(n)),
            actor: "a\u{e9}'\"\\ ?1".into(),
            address: (n % 2 == 0).then(|| "1.2.3.4".into()),
            action: format!("action {n}"),
            subject: "s".into(),
            scope: AuditScope::default(),
        };
        f.catalog.record_audit(&entry).unwrap();
    }
    let snapshot = f.snapshot(1_500);
    let job = f.job(Delivery::Automated { snapshot, target: f.instance });
    let blocks: Vec<IpNet> = ["9.0.0.0/8", "1.0.0.0/8", "5.0.0.0/8"]
        .iter()
        .map(|block| block.parse().unwrap())
        .collect();
    let principal = Principal::ApiKey(f.key);
    f.catalog.insert_access_entries(principal, &blocks, at(1_000)).unwrap();
    let secret = f.catalog.signing_keys().unwrap();
    f.catalog.put_oplog_tail(f.instance, &piece(1, 2, 0x80)).unwrap();
    let seen = |catalog: &Catalog| {
        let page = Page::EVERYTHING;
        (
            catalog.list_audit(5_000).unwrap(),
            catalog.find_snapshot(f.instance, snapshot).unwrap(),
            catalog.load_restore_job(job).unwrap(),
            catalog.list_access_entries(principal, page).unwrap(),
            catalog.signing_keys().unwrap(),
            catalog.find_api_key("abcdefgh").unwrap(),
            catalog.list_oplog_tail(f.instance).unwrap(),
        )
    };
    let before = seen(&f.catalog);
    // What became of the snapshot is one more.
    assert_eq!((before.0.len(), &before.4), (1_201, &secret));
    let other = fresh_catalog();
    let moved = f.catalog.move_to(&other).unwrap();
    let of = |table: &str| moved.iter().find(|moved| moved.table == table).unwrap().records;
    assert_eq!((of("audit"), of("snapshots"), of("access_entries")), (u64::from(count) + 1, 1, 3));
    assert_eq!(seen(&other), before);
    let file = Catalog::in_memory().unwrap();
    assert_eq!(other.move_to(&file).unwrap(), moved);
    assert_eq!(seen(&file), before);
    // Numbers that the database gives go on, and nothing is moved over records that are there.
    other.record_audit(&before.0[0]).unwrap();
    other.insert_access_entries(principal, &["7.0.0.0/8".parse().unwrap()], at(1_000)).unwrap();
    assert_eq!(other.list_audit(5_000).unwrap().len(), 1_202);
    let listed = other.list_access_entries(principal, Page::EVERYTHING).unwrap().items;
    assert_eq!(listed.last().unwrap().block.to_string(), "7.0.0.0/8");
    assert!(matches!(f.catalog.move_to(&other), Err(CatalogError::InUse(_))));
}

#[test]
fn a_transaction_of_which_a_statement_failed_is_not_taken_for_done() {
    let f = fixture();
    let twice = "INSERT INTO settings (name, value) VALUES ('a', 'b')";
    let outcome = f.catalog.transact(|catalog| {
        let connection = catalog.lock();
        connection.execute("INSERT INTO settings (name, value) VALUES ('c', 'd')", ())?;
        connection.execute(twice, ())?;
        // Whoever overlooks an error must not be told that all is well where nothing is.
        let _ = connection.execute(twice, ());
        Ok::<_, CatalogError>(())
    });
    let count = "SELECT count(*) FROM settings WHERE name IN ('a', 'c')";
    let kept: i64 = f.catalog.lock().query_row(count, (), |row| row.get(0)).unwrap();
    assert_eq!(kept, if outcome.is_ok() { 2 } else { 0 });
    // A part that failed is taken back alone.
    let second = f.catalog.transact(|catalog| {
        catalog.lock().execute("INSERT INTO settings (name, value) VALUES ('e', 'f')", ())?;
        let part = catalog.transact(|catalog| {
            catalog.lock().execute("INSERT INTO settings (name, value) VALUES ('g', 'h')", ())?;
            catalog.lock().execute("INSERT INTO settings (name, value) VALUES ('g', 'h')", ())?;
            Ok::<_, CatalogError>(())
        });
        assert!(part.is_err());
        Ok::<_, CatalogError>(())
    });
    second.unwrap();
    let names = "SELECT count(*) FROM settings WHERE name IN ('e', 'g')";
    let kept: i64 = f.catalog.lock().query_row(names, (), |row| row.get(0)).unwrap();
    assert_eq!(kept, 1);
}

#[test]
fn a_signing_key_is_rotated_and_the_one_before_it_holds() {
    let f = fixture();
    let first = f.catalog.signing_keys().unwrap();
    f.catalog.rotate_signing_key().unwrap();
    let second = f.catalog.signing_keys().unwrap();
    assert!(second.newest != first.newest && second.before == Some(first.newest));
    f.catalog.rotate_signing_key().unwrap();
    let third = f.catalog.signing_keys().unwrap();
    assert!(third.newest != second.newest && third.before == Some(second.newest));
}
