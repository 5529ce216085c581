//! What should be, compared with what is: due snapshots, expired ones, old files.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tidemark_actions::drills::{self, CreateDrillError, DrillPoint, WantedDrill};
use tidemark_catalog::{Catalog, CatalogError, NewSnapshot, Order, Page, Schedule, Snapshot};
use tidemark_model::{
    BackupPolicy, InstanceId, OplogTime, PolicyMatch, RestoreJobId, SnapshotId, SnapshotKind,
    SnapshotState,
};

use tidemark_vault::{Vault, VaultError};

use crate::shared::Shared;

/// The wait after a snapshot that failed; the next ones wait twice as long each.
const FIRST_RETRY: SignedDuration = SignedDuration::from_secs(60);

/// What one node at a time does, by what is said if it does not succeed.
const DUTIES: &[&str] = &[
    "scheduling snapshots",
    "removing expired snapshots",
    "removing backups of deleted instances",
    "trimming oplogs",
    "removing expired users",
    "removing old files",
    "forgetting nodes",
    "rows",
];

/// Enqueues what is due and removes what is over.
pub(crate) fn run_round(shared: &Arc<Shared>) {
    remove_old_files(shared);
    if !shared.config.membership.has_duty("scheduling") {
        // What was wrong here is another node's to say now.
        for what in DUTIES {
            shared.troubles.clear(what);
        }
        return;
    }
    let outcomes = [
        ("scheduling snapshots", schedule(shared)),
        ("removing expired snapshots", remove_expired_snapshots(shared)),
        ("removing backups of deleted instances", remove_expired_instances(shared)),
        ("trimming oplogs", trim_oplogs(shared)),
        ("removing expired users", remove_expired_users(shared)),
        ("removing old files", remove_kept_files(shared)),
        ("forgetting nodes", forget_nodes(shared)),
    ];
    report(shared, outcomes);
    let aside = shared.config.catalog.list_quarantined().unwrap_or_default();
    if aside.is_empty() {
        return shared.troubles.clear("rows");
    }
    let aside: Vec<String> =
        aside.into_iter().map(|(table, id, reason)| format!("{id} of {table}: {reason}")).collect();
    let text = format!("rows of the catalog were set aside: {}", aside.join("; "));
    shared.troubles.warn("rows", text);
}

fn report(
    shared: &Shared,
    outcomes: impl IntoIterator<Item = (&'static str, Result<(), CatalogError>)>,
) {
    for (what, outcome) in outcomes {
        if let Err(error) = &outcome {
            tracing::error!(%error, what, "the scheduler could not finish its round");
        }
        shared.troubles.note(what, &outcome);
    }
}

/// Removes the files of this node that are over.
fn remove_old_files(shared: &Shared) {
    let outcomes = [
        ("removing old downloads", remove_old_downloads(shared)),
        ("removing old uploads", remove_old_uploads(shared)),
    ];
    report(shared, outcomes);
}

fn forget_nodes(shared: &Shared) -> Result<(), CatalogError> {
    if shared.config.membership.is_shared() && shared.due.is_tidying_due() {
        shared.config.membership.tidy()?;
    }
    Ok(())
}

fn schedule(shared: &Shared) -> Result<(), CatalogError> {
    let (now, policy) = (shared.config.clock.now(), shared.config.policy);
    let schedules = shared.config.catalog.list_schedules()?;
    for schedule in &schedules {
        let Some(due) = find_due(schedule, &policy, now) else { continue };
        let instance = schedule.instance;
        let snapshot =
            NewSnapshot::new(instance, SnapshotKind::Scheduled, now, policy.snapshot_retention);
        let inserted = shared.config.catalog.transact(|catalog| match &schedule.own {
            None => catalog.insert_snapshot(&snapshot).map(|()| true),
            Some(_) => insert_by_policy(catalog, (snapshot.clone(), due.clone()), now),
        });
        let is_inserted = match inserted {
            // The instance is gone since.
            Err(CatalogError::Missing(_)) => continue,
            outcome => outcome?,
        };
        if !is_inserted {
            continue;
        }
        tracing::info!(snapshot = %snapshot.id, instance = %schedule.instance, "a snapshot is scheduled");
    }
    schedule_drills(shared, &schedules)
}

/// Puts back what drills of an instance were served up to before the clock went back.
fn catch_up(catalog: &Catalog, instance: InstanceId, now: Timestamp) -> Result<(), CatalogError> {
    catalog.transact(|catalog| match catalog.find_backup_schedule(instance)? {
        Some(own) => catalog.set_backup_schedule(instance, &own.drilled(None, now)),
        None => Ok(()),
    })
}

/// Asks for the drills that are due.
fn schedule_drills(shared: &Shared, schedules: &[Schedule]) -> Result<(), CatalogError> {
    let (catalog, now) = (&shared.config.catalog, shared.config.clock.now());
    for schedule in schedules {
        let Some(own) = &schedule.own else { continue };
        // A clock that went back does not stop them.
        let is_ahead = own.drills.iter().any(|item| item.served_until > now);
        let Some(due) = own.due_drills(now).next() else {
            if is_ahead {
                catch_up(catalog, schedule.instance, now)?;
            }
            continue;
        };
        let wanted = WantedDrill {
            point: if due.is_random { DrillPoint::Random } else { DrillPoint::Newest },
            checks: due.checks.clone(),
            is_scheduled: true,
        };
        let instance = catalog.load_instance(schedule.instance)?;
        let asked = catalog.transact(|catalog| {
            let Some(own) = catalog.find_backup_schedule(instance.id)? else { return Ok(None) };
            let drill = drills::create(catalog, &instance, &wanted, now)?;
            catalog.set_backup_schedule(instance.id, &own.drilled(Some(due.id), now))?;
            Ok(Some(drill))
        });
        match asked {
            Ok(Some(drill)) => {
                tracing::info!(drill = %drill.wanted.id, instance = %instance.id, "a drill is scheduled");
            }
            // It is asked for again in the next round.
            Ok(None) | Err(CreateDrillError::NothingToRestore | CreateDrillError::Unfinished) => {}
            Err(CreateDrillError::Catalog(error)) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, instance = %instance.id, "a drill that is due cannot be done");
            }
        }
    }
    Ok(())
}

/// Records a snapshot of an instance that has a schedule of its own, and in that which of its items
/// were served; answers whether one is asked for: the schedule may have been changed since.
fn insert_by_policy(
    catalog: &Catalog,
    (snapshot, due): (NewSnapshot, Due),
    now: Timestamp,
) -> Result<bool, CatalogError> {
    let instance = snapshot.instance;
    let Some(own) = catalog.find_backup_schedule(instance)? else { return Ok(false) };
    let asked = match due {
        Due::Time => own.due(now),
        Due::Needed => own.most_frequent(),
        Due::Again(failed) => match (failed, own.due(now)) {
            (Some(failed), Some(due)) => Some(failed.and(due)),
            (failed, due) => failed.or(due).or_else(|| own.most_frequent()),
        },
    };
    let Some(policy) = asked else { return Ok(false) };
    let expires_at = own.expiry(&policy.items, now).unwrap_or(snapshot.expires_at);
    let own = own.served(&policy.items, now);
    catalog.insert_snapshot(&NewSnapshot { expires_at, policy: Some(policy), ..snapshot })?;
    catalog.set_backup_schedule(instance, &own).map(|()| true)
}

/// Why a snapshot is due.
#[derive(Clone)]
enum Due {
    /// It is time for the next one.
    Time,
    /// The last one failed a while ago; what its policy said of it.
    Again(Option<PolicyMatch>),
    /// There is none, or none from which the captured oplog leads on.
    Needed,
}

/// Whether the next snapshot is due: the last one is old, or failed a while ago, or shows a moment
/// from which the captured oplog does not lead on, or a restore replaced everything since.
fn find_due(schedule: &Schedule, policy: &BackupPolicy, now: Timestamp) -> Option<Due> {
    // Whoever emptied the schedule wants none.
    let is_wanted = schedule.own.as_ref().is_none_or(|own| !own.items.is_empty());
    if schedule.is_open || !is_wanted {
        return None;
    }
    let Some(newest) = schedule.newest else { return Some(Due::Needed) };
    // The clock went back: the next one is not due when the clock is there again, but now.
    if newest > now || schedule.failed_at.is_some_and(|failed_at| failed_at > now) {
        return Some(Due::Needed);
    }
    let after =
        |from: Timestamp, wait: SignedDuration| now >= from.saturating_add(wait).unwrap_or(from);
    if let Some(failed_at) = schedule.failed_at {
        let doubled = FIRST_RETRY.saturating_mul(1 << schedule.failures.saturating_sub(1).min(10));
        let is_due = after(failed_at, doubled.min(policy.snapshot_interval));
        return is_due.then(|| Due::Again(schedule.newest_policy.clone()));
    }
    let is_cut_off = schedule
        .span_begins
        .is_some_and(|begins| schedule.newest_moment.is_some_and(|moment| moment < begins));
    let is_replaced = schedule.restored_at.is_some_and(|restored| restored > newest);
    let is_time = match &schedule.own {
        None => after(newest, policy.snapshot_interval),
        Some(own) => own.due(now).is_some(),
    };
    if is_cut_off || is_replaced {
        return Some(Due::Needed);
    }
    is_time.then_some(Due::Time)
}

fn remove_expired_snapshots(shared: &Shared) -> Result<(), CatalogError> {
    let catalog = &shared.config.catalog;
    for snapshot in catalog.list_expired_snapshots(shared.config.clock.now())? {
        // A clock that jumps, or snapshots that fail, must not take the last one away.
        if !catalog.is_last_snapshot(&snapshot)? {
            delete_snapshot(catalog, &snapshot)?;
        }
    }
    purge_manifests(shared).map(drop)
}

/// Removes the manifests of deleted snapshots; answers of which instances some are left.
fn purge_manifests(shared: &Shared) -> Result<HashSet<InstanceId>, CatalogError> {
    let catalog = &shared.config.catalog;
    let mut left = HashSet::new();
    // One that does not answer is not asked again and again: the others wait, too.
    let mut away = HashSet::new();
    for (instance, id) in catalog.list_unpurged_snapshots()? {
        let name = catalog.vault_of(instance)?;
        if away.contains(&name) {
            left.insert(instance);
            continue;
        }
        let vault = shared.config.vaults.find(name.as_deref());
        match vault.and_then(|vault| vault.remove_manifest(&id.to_string())) {
            Ok(()) => {
                catalog.record_purged_snapshot(id)?;
                shared.due.want_pruning();
            }
            Err(error) => {
                tracing::error!(%error, snapshot = %id, "a manifest could not be removed");
                left.insert(instance);
                if error.is_transient() {
                    away.insert(name);
                }
            }
        }
    }
    Ok(left)
}

/// Deletes a snapshot whose time is over; answers whether it is gone.
fn delete_snapshot(catalog: &Catalog, snapshot: &Snapshot) -> Result<bool, CatalogError> {
    match catalog.delete_snapshot(snapshot.instance, snapshot.id) {
        Ok(()) => {
            tracing::info!(snapshot = %snapshot.id, "an expired snapshot was deleted");
            Ok(true)
        }
        // It is being restored, or was promised to be kept; its time comes when that is over.
        Err(CatalogError::InUse(_) | CatalogError::Kept { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Ends the backups of deleted instances whose time is over.
fn remove_expired_instances(shared: &Shared) -> Result<(), CatalogError> {
    let catalog = &shared.config.catalog;
    for instance in catalog.list_expired_instances(shared.config.clock.now())? {
        let vault = match shared.config.vault_of(instance) {
            Ok(vault) => vault,
            Err(error) => {
                tracing::warn!(%error, %instance, "the backups of a deleted instance stay");
                continue;
            }
        };
        let snapshots = catalog.list_snapshots(instance, Order::OldestFirst, Page::EVERYTHING)?;
        let mut is_empty = true;
        for snapshot in &snapshots.items {
            is_empty &= delete_snapshot(catalog, snapshot)?;
        }
        // The last that was captured of it is as old as its end.
        let ended_at = catalog.load_instance(instance)?.changed_at;
        let is_kept = ended_at.saturating_add(kept_for(vault)).unwrap_or(Timestamp::MAX)
            > shared.config.clock.now();
        if !is_empty || is_kept || purge_manifests(shared)?.contains(&instance) {
            continue;
        }
        let name = instance.to_string();
        let segments = vault.segments(&name);
        let removed = segments.and_then(|segments| {
            segments.into_iter().try_for_each(|segment| vault.remove_segment(&name, segment))
        });
        match removed {
            Ok(()) => {
                catalog.remove_oplog_ranges(instance)?;
                catalog.record_purged_instance(instance)?;
                tracing::info!(%instance, "the backups of a deleted instance were removed");
            }
            // Its last entries are younger than its snapshots.
            Err(VaultError::Kept { .. }) => {}
            Err(error) => {
                tracing::warn!(%error, %instance, "the oplog of a deleted instance could not be removed");
            }
        }
    }
    Ok(())
}

/// For how long a vault keeps what is written.
fn kept_for(vault: &Vault) -> SignedDuration {
    SignedDuration::try_from(vault.kept_for()).unwrap_or(SignedDuration::MAX)
}

/// Removes database users whose time is over.
fn remove_expired_users(shared: &Shared) -> Result<(), CatalogError> {
    let removed = shared.config.catalog.remove_expired_users(shared.config.clock.now())?;
    if removed > 0 {
        tracing::info!(removed, "expired database users were removed");
    }
    Ok(())
}

/// Removes captured entries that no moment within the retention needs.
///
/// The snapshot from which the oldest moment is reached needs its entries too, so everything from
/// that snapshot on stays; without such a snapshot everything stays.
fn trim_oplogs(shared: &Shared) -> Result<(), CatalogError> {
    if !shared.due.is_trimming_due() {
        return Ok(());
    }
    let catalog = &shared.config.catalog;
    for instance in catalog.list_all_instances()? {
        let Ok(vault) = shared.config.vaults.find(instance.vault.as_deref()) else { continue };
        let retention = match catalog.find_backup_schedule(instance.id)? {
            None => shared.config.policy.oplog_retention,
            Some(own) => SignedDuration::from_hours(24 * i64::from(own.restore_window_days)),
        };
        let retention = retention.max(kept_for(vault));
        let oldest = shared.config.clock.now().as_second().saturating_sub(retention.as_secs());
        let oldest = OplogTime::new(u32::try_from(oldest).unwrap_or(0), 0);
        let ranges = catalog.list_oplog_ranges(instance.id)?;
        if ranges.first().is_none_or(|range| range.first >= oldest) {
            continue;
        }
        let base = catalog.find_base_snapshot(instance.id, (OplogTime::default(), oldest))?;
        let Some(SnapshotState::Completed { consistent_at: Some(keep), .. }) =
            base.map(|base| base.state)
        else {
            continue;
        };
        catalog.trim_oplog_ranges(instance.id, keep)?;
        let name = instance.id.to_string();
        let segments = vault.segments(&name).unwrap_or_else(|error| {
            tracing::warn!(%error, instance = name, "oplog segments could not be listed");
            Vec::new()
        });
        for segment in segments {
            if segment.last < keep
                && let Err(error) = vault.remove_segment(&name, segment)
                && !matches!(error, VaultError::Kept { .. })
            {
                tracing::warn!(%error, %segment, "an old oplog segment could not be removed");
            }
        }
    }
    Ok(())
}

/// Removes the files of links that have ended, and what unfinished jobs left.
fn remove_old_downloads(shared: &Shared) -> Result<(), CatalogError> {
    let Ok(entries) = std::fs::read_dir(&shared.config.downloads) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let is_over = is_download_over(shared, &name)?;
        if is_over && let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(%error, file = name, "the file of an ended download could not be removed");
        }
    }
    Ok(())
}

/// Whether nobody can ask for the file of a download any more.
fn is_download_over(shared: &Shared, file: &str) -> Result<bool, CatalogError> {
    let Some(job) = file.split('-').next().and_then(|id| id.parse::<RestoreJobId>().ok()) else {
        return Ok(false);
    };
    Ok(match shared.config.catalog.load_restore_job(job) {
        Ok(job) => match job.download.and_then(|download| download.expires_at) {
            Some(end) => end <= shared.config.clock.now(),
            None => job.state.is_final(),
        },
        Err(CatalogError::Missing(_)) => shared.config.membership.is_forgotten(job.made_at()),
        Err(error) => return Err(error),
    })
}

/// Removes the files in the vault that nobody can ask for any more: downloads whose links have ended, and
/// dumps of which no snapshot is to be made.
fn remove_kept_files(shared: &Shared) -> Result<(), CatalogError> {
    if !shared.config.is_paid_by_request() || !shared.due.is_removing_files_due() {
        return Ok(());
    }
    for (_, vault) in shared.config.vaults.iter().filter(|(_, vault)| vault.is_paid_by_request()) {
        remove_files_of(shared, vault)?;
    }
    Ok(())
}

fn remove_files_of(shared: &Shared, vault: &Vault) -> Result<(), CatalogError> {
    let files = vault.files().unwrap_or_else(|error| {
        tracing::warn!(%error, "the files in the vault could not be listed");
        Vec::new()
    });
    for name in files {
        let is_over = match name.strip_suffix(".dump").map(str::parse::<SnapshotId>) {
            // An upload is not recorded before it is there as a whole: its link works for an hour.
            Some(Ok(id)) => {
                !shared.config.catalog.is_open_snapshot(id)? && is_old(shared, id.made_at())
            }
            Some(Err(_)) => false,
            None => is_download_over(shared, &name)?,
        };
        if is_over && let Err(error) = vault.remove_file(&name) {
            tracing::warn!(%error, file = name, "an old file could not be removed from the vault");
        }
    }
    Ok(())
}

fn is_old(shared: &Shared, made: Timestamp) -> bool {
    let end = made.saturating_add(SignedDuration::from_hours(24)).unwrap_or(made);
    end < shared.config.clock.now()
}

/// Removes uploaded dumps of which no snapshot is to be made any more, and uploads that nobody goes on
/// with.
fn remove_old_uploads(shared: &Shared) -> Result<(), CatalogError> {
    const ABANDONED: Duration = Duration::from_hours(24);
    let Ok(entries) = std::fs::read_dir(&shared.config.imports) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_old = |metadata: std::fs::Metadata| {
            metadata.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > ABANDONED))
        };
        // One that is recorded is removed by who made the snapshot, or was left behind by who did not.
        let is_over = match name.split_once('.') {
            Some((id, "dump")) => match id.parse() {
                Ok(id) => {
                    !shared.config.catalog.is_open_snapshot(id)?
                        && entry.metadata().is_ok_and(is_old)
                }
                Err(_) => false,
            },
            Some((_, "part")) => entry.metadata().is_ok_and(is_old),
            _ => false,
        };
        if is_over && let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(%error, file = name, "an old upload could not be removed");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidemark_catalog::{Backing, Instance, InstanceFamily, LeaseHolder};
    use tidemark_deployment::Endpoint;
    use tidemark_model::{
        BackupSchedule, Cause, Clock, Failure, Frequency, InstanceEvent, InstanceId, SnapshotEvent,
    };
    use tidemark_mover::Stop;
    use tidemark_vault::{Vault, VaultKey};

    use super::*;
    use crate::config::{Deployments, WorkerConfig};
    use crate::due::Due;
    use crate::snapshots;
    use crate::troubles::Troubles;
    use crate::{Captures, Membership};

    /// No database runs: the scheduler needs none.
    struct Nowhere;

    impl Deployments for Nowhere {
        fn endpoint(&self, _: &Instance) -> Option<Endpoint> {
            None
        }
    }

    struct Fixture {
        _folder: tempfile::TempDir,
        shared: Arc<Shared>,
        instance: InstanceId,
    }

    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::fixed(Timestamp::from_second(1_700_000_000).unwrap());
        let catalog = Arc::new(Catalog::in_memory().unwrap());
        let tenant = tidemark_testkit::tenant(&catalog, &clock, String::new(), (&[], &[]));
        let config = WorkerConfig {
            membership: Membership::alone(&catalog, &clock),
            catalog,
            vaults: Vault::open(&folder.path().join("vault"), VaultKey::from_bytes([1; 32]))
                .unwrap()
                .into(),
            clock,
            deployments: Arc::new(Nowhere),
            policy: BackupPolicy::default(),
            downloads: folder.path().join("downloads"),
            imports: folder.path().join("imports"),
            segment_interval: |_| Duration::ZERO,
            parallel_snapshots: 1,
            parallel_restores: 1,
            hook: None,
        };
        let holder = LeaseHolder { worker: "w".into(), duration: SignedDuration::from_secs(30) };
        let shared = Arc::new(Shared {
            captures: Captures::new(config.clone()),
            config,
            holder,
            troubles: Troubles::default(),
            figures: crate::figures::Figures::default(),
            due: Due::default(),
            stop: Stop::new(),
        });
        Fixture { _folder: folder, shared, instance: tenant.instance }
    }

    impl Fixture {
        fn snapshots(&self) -> Vec<Snapshot> {
            run_round(&self.shared);
            let page = Page { number: 1, size: 100 };
            self.shared
                .config
                .catalog
                .list_snapshots(self.instance, Order::NewestFirst, page)
                .unwrap()
                .items
        }

        /// Ends the snapshot that waits, well.
        fn complete(&self) {
            let (catalog, now) = (&self.shared.config.catalog, self.shared.config.clock.now());
            let (claim, _) = catalog.claim_snapshot(&self.shared.holder, now).unwrap().unwrap();
            let stored = SnapshotEvent::Stored { at: now, consistent_at: None, size_bytes: 1 };
            catalog.record_snapshot_event(&claim, stored, None).unwrap();
        }

        fn advance_hours(&self, hours: u32) {
            self.shared.config.clock.advance(hours * 3_600);
        }
    }

    #[test]
    fn a_snapshot_is_due_at_once_and_then_every_six_hours() {
        let f = fixture();
        assert_eq!(f.snapshots().len(), 1);
        assert_eq!(f.snapshots().len(), 1, "one that is open is enough");
        f.complete();
        f.advance_hours(5);
        assert_eq!(f.snapshots().len(), 1);
        f.advance_hours(1);
        assert_eq!(f.snapshots().len(), 2);
    }

    #[test]
    fn a_snapshot_that_failed_is_taken_again_soon_and_then_later_and_later() {
        let f = fixture();
        let fail = |f: &Fixture| {
            let (catalog, now) = (&f.shared.config.catalog, f.shared.config.clock.now());
            let (claim, snapshot) = catalog.claim_snapshot(&f.shared.holder, now).unwrap().unwrap();
            let given_up =
                SnapshotEvent::GivenUp { at: now, failure: Failure::new(Cause::Disk, "x") };
            snapshots::record(catalog, (&claim, &snapshot), given_up, None).unwrap();
        };
        assert_eq!(f.snapshots().len(), 1);
        for (wait, count) in [(60, 2), (120, 3), (240, 4)] {
            fail(&f);
            f.shared.config.clock.advance(wait - 1);
            assert_eq!(f.snapshots().len(), count - 1);
            f.shared.config.clock.advance(1);
            assert_eq!(f.snapshots().len(), count);
        }
        f.complete();
        f.advance_hours(5);
        assert_eq!(f.snapshots().len(), 4);
    }

    #[test]
    fn a_clock_that_jumps_neither_storms_nor_stalls_nor_takes_the_last_snapshot() {
        let f = fixture();
        let clock = &f.shared.config.clock;
        f.snapshots();
        f.complete();
        for hours in [1_i32, 24 * 30, 24 * 400] {
            // Forward: one is due at most, and there is always a whole one.
            let before = f.snapshots().len();
            clock.advance(u32::try_from(hours).unwrap() * 3_600);
            for _ in 0..5 {
                f.snapshots();
            }
            let found = f.snapshots();
            assert!(found.len() <= before + 1, "{hours} hours: {found:?}");
            let is_whole = |s: &Snapshot| matches!(s.state, SnapshotState::Completed { .. });
            assert!(found.iter().any(is_whole), "{hours} hours: {found:?}");
            if found.iter().any(|snapshot| !snapshot.state.is_final()) {
                f.complete();
            }
            // Back: the next one is due at once, and no more after it.
            let before = f.snapshots().len();
            clock.reset();
            for _ in 0..5 {
                f.snapshots();
            }
            let found = f.snapshots();
            assert!(found.len() <= before + 1, "{hours} hours back: {found:?}");
            if found.iter().any(|snapshot| !snapshot.state.is_final()) {
                f.complete();
            }
            let before = f.snapshots().len();
            f.advance_hours(6);
            assert_eq!(f.snapshots().len(), before + 1, "{hours} hours back: it stalls");
            f.complete();
        }
    }

    /// A fixture whose instance is a cluster, with what Atlas gives a new one.
    fn cluster() -> Fixture {
        let f = fixture();
        let catalog = &f.shared.config.catalog;
        let one = catalog.load_instance(f.instance).unwrap();
        let cluster = Instance {
            id: InstanceId::new(one.created_at),
            name: "cluster".parse().unwrap(),
            family: InstanceFamily::Cluster,
            backing: Backing::Attached,
            ..one
        };
        catalog.insert_instance(&cluster).unwrap();
        let now = f.shared.config.clock.now();
        catalog.record_instance_event(f.instance, InstanceEvent::DeleteAsked, now).unwrap();
        catalog.retire_instance(f.instance, now, SignedDuration::ZERO).unwrap();
        Fixture { instance: cluster.id, ..f }
    }

    #[test]
    fn a_cluster_has_snapshots_by_its_own_schedule() {
        let f = cluster();
        let (catalog, clock) = (&f.shared.config.catalog, &f.shared.config.clock);
        let words = |snapshots: Vec<Snapshot>| {
            let word = |snapshot: &Snapshot| snapshot.policy.as_ref().unwrap().frequency.as_str();
            snapshots.iter().map(word).collect::<Vec<_>>().join(" ")
        };
        let own = catalog.find_backup_schedule(f.instance).unwrap().unwrap();
        assert_eq!(words(f.snapshots()), "hourly", "there was none");
        f.complete();
        clock.advance(6 * 3_600 - 60);
        assert_eq!(words(f.snapshots()), "hourly");
        clock.advance(60);
        assert_eq!(words(f.snapshots()), "hourly hourly");
        // The next slots pass while it fails: the retry stands for them too.
        let failed = |f: &Fixture| {
            let now = clock.now();
            let (claim, snapshot) = catalog.claim_snapshot(&f.shared.holder, now).unwrap().unwrap();
            let given_up =
                SnapshotEvent::GivenUp { at: now, failure: Failure::new(Cause::Disk, "x") };
            snapshots::record(catalog, (&claim, &snapshot), given_up, None).unwrap();
        };
        failed(&f);
        clock.advance(18 * 3_600);
        let retried = f.snapshots().remove(0);
        let policy = retried.policy.clone().unwrap();
        assert_eq!(policy.items[..2], [own.items[0].id, own.items[1].id], "{policy:?}");
        assert!(policy.frequency > Frequency::Hourly);
        assert_eq!(Some(retried.expires_at), own.expiry(&policy.items, retried.created_at));
        // One that somebody asked for since does not stand for it.
        failed(&f);
        let now = clock.now();
        let kept = SignedDuration::from_hours(24 * 30);
        let asked = NewSnapshot::new(f.instance, SnapshotKind::OnDemand, now, kept);
        catalog.insert_snapshot(&asked).unwrap();
        f.complete();
        let again = f.snapshots().into_iter().find(|found| !found.state.is_final()).unwrap();
        assert_eq!(again.policy.map(|policy| policy.items), Some(policy.items));
        // Whoever empties it wants none, and that while it is looked at wins.
        f.complete();
        let emptied = BackupSchedule { items: Vec::new(), ..own };
        catalog.set_backup_schedule(f.instance, &emptied).unwrap();
        clock.advance(48 * 3_600);
        assert_eq!(f.snapshots().len(), 5);
    }

    #[test]
    fn after_a_gap_a_snapshot_is_due_at_once() {
        let f = fixture();
        f.snapshots();
        let (catalog, now) = (&f.shared.config.catalog, f.shared.config.clock.now());
        let (claim, _) = catalog.claim_snapshot(&f.shared.holder, now).unwrap().unwrap();
        let stored = SnapshotEvent::Stored {
            at: now,
            consistent_at: Some(OplogTime::new(100, 1)),
            size_bytes: 1,
        };
        catalog.record_snapshot_event(&claim, stored, None).unwrap();
        catalog.begin_oplog_range(f.instance, OplogTime::new(90, 1)).unwrap();
        assert_eq!(f.snapshots().len(), 1);
        catalog.begin_oplog_range(f.instance, OplogTime::new(200, 1)).unwrap();
        assert_eq!(f.snapshots().len(), 2);
    }

    #[test]
    fn backups_of_a_deleted_instance_end_when_their_time_is_over() {
        let f = fixture();
        f.snapshots();
        f.complete();
        let (catalog, clock) = (&f.shared.config.catalog, &f.shared.config.clock);
        catalog.record_instance_event(f.instance, InstanceEvent::DeleteAsked, clock.now()).unwrap();
        catalog
            .retire_instance(f.instance, clock.now(), f.shared.config.policy.retention_after_delete)
            .unwrap();
        f.advance_hours(7 * 24 - 1);
        assert_eq!(f.snapshots().len(), 1);
        f.advance_hours(1);
        assert_eq!(f.snapshots().len(), 0);
        assert!(catalog.list_expired_instances(clock.now()).unwrap().is_empty());
    }

    #[test]
    fn a_snapshot_is_removed_when_its_time_is_over() {
        let f = fixture();
        let first = f.snapshots().remove(0);
        f.complete();
        f.advance_hours(35 * 24 - 1);
        assert!(f.snapshots().iter().any(|snapshot| snapshot.id == first.id));
        f.complete();
        f.advance_hours(1);
        assert!(f.snapshots().iter().all(|snapshot| snapshot.id != first.id));
    }

    #[test]
    fn files_without_a_job_do_not_stay() {
        let f = fixture();
        let downloads = &f.shared.config.downloads;
        std::fs::create_dir_all(downloads).unwrap();
        std::fs::write(downloads.join("0123456789abcdef01234567-x.archive.gz"), "x").unwrap();
        f.snapshots();
        assert_eq!(std::fs::read_dir(downloads).unwrap().count(), 0);
    }
}
