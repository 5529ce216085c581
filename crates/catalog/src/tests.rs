//! The contract of the catalog, through its interface.

use jiff::{SignedDuration, Timestamp};
use tidemark_model::{
    ApiKeyId, Caller, Delivery, InstanceId, InstanceState, OplogTime, OrgId, PointInTime,
    ProjectId, RestoreEvent, RestoreJobId, RestoreState, RestoreStep, Role, Roles,
    ServiceAccountId, SnapshotId, SnapshotKind, SnapshotState,
};

use crate::{
    ApiKey, Catalog, CatalogError, Instance, InstanceFamily, InstanceSettings, LeaseHolder,
    NewRestoreJob, NewSecret, NewSnapshot, OplogRange, Org, Page, Project, ServiceAccount,
    TargetName,
};

const EVERYTHING: Page = Page { number: 1, size: 500 };

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn holder(worker: &str) -> LeaseHolder {
    LeaseHolder { worker: worker.into(), duration: SignedDuration::from_secs(30) }
}

struct Fixture {
    catalog: Catalog,
    org: OrgId,
    project: ProjectId,
    instance: InstanceId,
}

fn fixture() -> Fixture {
    let catalog = Catalog::in_memory().unwrap();
    let now = at(1_000);
    let org = Org { id: OrgId::new(now), name: "o".into(), created_at: now };
    let project = Project {
        id: ProjectId::new(now),
        org: org.id,
        name: "p".into(),
        created_at: now,
        tags: vec![],
    };
    let roles = Roles { org: vec![Role::OrgOwner], projects: vec![(project.id, Role::GroupOwner)] };
    let key = ApiKey {
        id: ApiKeyId::new(now),
        org: org.id,
        public_key: "abcdefgh".into(),
        ha1: "ha1".into(),
        masked_private_key: "****".into(),
        description: "d".into(),
        roles: roles.clone(),
    };
    let account = ServiceAccount {
        id: ServiceAccountId::new(now),
        org: org.id,
        name: "a".into(),
        description: "d".into(),
        roles,
    };
    let secret = NewSecret { hash: "h", created_at: now, expires_at: now };
    catalog.set_up(&org, &project, (&key, &account), &secret).unwrap();
    assert_eq!(catalog.find_api_key("abcdefgh").unwrap(), Some(key));
    assert_eq!(catalog.find_service_account(account.id).unwrap(), Some(account));
    let instance = insert_instance(&catalog, project.id, "one");
    Fixture { catalog, org: org.id, project: project.id, instance }
}

fn insert_instance(catalog: &Catalog, project: ProjectId, name: &str) -> InstanceId {
    let instance = Instance {
        id: InstanceId::new(at(1_000)),
        project,
        name: name.parse().unwrap(),
        family: InstanceFamily::Serverless,
        state: InstanceState::Idle,
        settings: InstanceSettings {
            backing_provider: "AWS".into(),
            region: "US_EAST_1".into(),
            termination_protection: false,
            continuous_backup: true,
            tags: vec![],
        },
        created_at: at(1_000),
        changed_at: at(1_000),
        port: Some(1),
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
        let state = SnapshotState::Completed {
            finished_at: now,
            consistent_at: Some(OplogTime::new(u32::try_from(second).unwrap(), 5)),
            size_bytes: 10,
        };
        self.catalog.record_snapshot(&claim, &state, Some("7.0.12")).unwrap();
        let found = self.catalog.find_snapshot(self.instance, snapshot.id).unwrap().unwrap();
        assert_eq!(found.state, state);
        snapshot.id
    }

    fn job(&self, delivery: Delivery) -> RestoreJobId {
        let job = NewRestoreJob {
            id: RestoreJobId::new(at(2_000)),
            instance: self.instance,
            delivery,
            snapshot_at: at(1_500),
            target: TargetName { project: self.project, name: "one".into() },
            created_at: at(2_000),
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
        Delivery::Download { snapshot },
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
    let mut jobs: Vec<_> = (0..7).map(|_| f.job(Delivery::Download { snapshot })).collect();
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
    let job = f.job(Delivery::Download { snapshot });
    let (old, _) = f.catalog.claim_restore_job(&holder("a"), at(2_000)).unwrap().unwrap();
    assert!(f.catalog.claim_restore_job(&holder("b"), at(2_029)).unwrap().is_none());
    f.catalog.renew_restore_job(&old, &holder("a"), at(2_020)).unwrap();
    assert!(f.catalog.claim_restore_job(&holder("b"), at(2_040)).unwrap().is_none());
    let (new, _) = f.catalog.claim_restore_job(&holder("b"), at(2_060)).unwrap().unwrap();
    let lost = |outcome: Result<(), CatalogError>| {
        assert!(matches!(outcome, Err(CatalogError::LeaseLost(_))));
    };
    lost(f.catalog.renew_restore_job(&old, &holder("a"), at(2_061)).map(drop));
    lost(f.catalog.record_restore_event(&old, RestoreEvent::Delivered(at(2_061)), None).map(drop));
    f.catalog.record_restore_event(&new, RestoreEvent::Delivered(at(2_062)), None).unwrap();
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
    f.catalog.record_restore_event(&claim, RestoreEvent::Delivered(at(2_002)), None).unwrap();
    assert!(f.catalog.claim_snapshot(&holder("b"), at(2_003)).unwrap().is_some());
    assert!(f.catalog.claim_restore_job(&holder("b"), at(2_003)).unwrap().is_none());
    assert!(f.catalog.is_restore_target(f.instance).unwrap());
    f.catalog.request_cancel(second, at(2_004)).unwrap();
    assert!(!f.catalog.is_restore_target(f.instance).unwrap());
}

#[test]
fn a_reclaimed_job_begins_anew_unless_it_was_in_its_swap() {
    let f = fixture();
    let snapshot = f.snapshot(1_500);
    f.job(Delivery::Automated { snapshot, target: f.instance });
    let (claim, job) = f.catalog.claim_restore_job(&holder("a"), at(2_000)).unwrap().unwrap();
    assert_eq!(job.state, RestoreState::Running { step: RestoreStep::Verify });
    f.catalog
        .record_restore_event(&claim, RestoreEvent::StepStarted(RestoreStep::Index), None)
        .unwrap();
    let (claim, job) = f.catalog.claim_restore_job(&holder("b"), at(2_100)).unwrap().unwrap();
    assert_eq!(job.state, RestoreState::Running { step: RestoreStep::Verify });
    f.catalog
        .record_restore_event(&claim, RestoreEvent::StepStarted(RestoreStep::Swap), None)
        .unwrap();
    let (_, job) = f.catalog.claim_restore_job(&holder("c"), at(2_200)).unwrap().unwrap();
    assert_eq!(job.state, RestoreState::Running { step: RestoreStep::Swap });
}

#[test]
fn a_snapshot_that_is_needed_is_not_deleted() {
    let f = fixture();
    let snapshot = f.snapshot(1_500);
    let job = f.job(Delivery::Download { snapshot });
    let refused = f.catalog.delete_snapshot(f.instance, snapshot);
    assert!(matches!(refused, Err(CatalogError::InUse(_))));
    f.catalog.request_cancel(job, at(2_000)).unwrap();
    f.catalog.delete_snapshot(f.instance, snapshot).unwrap();
    assert_eq!(f.catalog.list_snapshots(f.instance, EVERYTHING).unwrap().total, 0);
    assert_eq!(f.catalog.list_deleted_snapshots().unwrap(), [snapshot]);
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
    let range = |first, last| OplogRange { first: time(first), last: time(last) };
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
fn names_are_free_again_after_the_end() {
    let f = fixture();
    let change = |from, to| f.catalog.change_instance_state(f.instance, (from, to), at(1_100));
    assert!(matches!(
        change(InstanceState::Creating, InstanceState::Idle),
        Err(CatalogError::InUse(_))
    ));
    assert!(matches!(f.catalog.delete_project(f.project, at(1_100)), Err(CatalogError::InUse(_))));
    change(InstanceState::Idle, InstanceState::Deleting).unwrap();
    change(InstanceState::Deleting, InstanceState::Deleted).unwrap();
    assert_ne!(insert_instance(&f.catalog, f.project, "one"), f.instance);
    let caller =
        Caller { org: f.org, roles: Roles { org: vec![Role::OrgMember], projects: vec![] } };
    assert_eq!(f.catalog.list_projects(&caller, EVERYTHING).unwrap().total, 0);
}

#[test]
fn a_row_that_contradicts_itself_is_named() {
    let f = fixture();
    let snapshot = f.snapshot(1_500);
    f.catalog.lock().execute("UPDATE snapshots SET failure = 'x'", []).unwrap();
    let error = f.catalog.find_snapshot(f.instance, snapshot).unwrap_err();
    assert!(
        matches!(error, CatalogError::Corrupt { table: "snapshots", id, .. } if id == snapshot.to_string())
    );
}

#[test]
fn a_file_is_read_again_and_a_newer_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.sqlite");
    let secret =
        Catalog::open(&path).unwrap().setting_or_random(crate::Setting::SigningKey).unwrap();
    let catalog = Catalog::open(&path).unwrap();
    assert_eq!(catalog.setting_or_random(crate::Setting::SigningKey).unwrap(), secret);
    catalog.lock().pragma_update(None, "user_version", 99).unwrap();
    drop(catalog);
    assert!(matches!(Catalog::open(&path), Err(CatalogError::NewerVersion { found: 99, .. })));
}
