//! What should be, compared with what is: due snapshots, expired ones, old files.

use std::time::Duration;

use tidemark_catalog::{CatalogError, Instance, NewSnapshot};
use tidemark_model::{InstanceState, OplogTime, SnapshotKind, SnapshotState};
use tidemark_vault::PruneReport;

use crate::worker::Shared;

/// A pack that no snapshot names is kept this long.
const PRUNE_GRACE: Duration = Duration::from_hours(24);

/// Enqueues what is due and removes what is over.
pub(crate) fn run_round(shared: &Shared) {
    let outcomes = [
        schedule(shared),
        remove_expired_snapshots(shared),
        remove_old_downloads(shared),
        trim_oplogs(shared),
        remove_expired_users(shared),
    ];
    for error in outcomes.into_iter().filter_map(Result::err) {
        tracing::error!(%error, "the scheduler could not finish its round");
    }
}

fn schedule(shared: &Shared) -> Result<(), CatalogError> {
    for instance in shared.config.catalog.list_all_instances()? {
        if instance.state == InstanceState::Idle && is_snapshot_due(shared, &instance)? {
            let now = shared.config.clock.now();
            let retention = shared.config.policy.snapshot_retention;
            let snapshot = NewSnapshot::new(instance.id, SnapshotKind::Scheduled, now, retention);
            shared.config.catalog.insert_snapshot(&snapshot)?;
            tracing::info!(snapshot = %snapshot.id, instance = %instance.id, "a snapshot is scheduled");
        }
    }
    Ok(())
}

/// Whether the last snapshot is too old, or older than a restore that replaced everything.
fn is_snapshot_due(shared: &Shared, instance: &Instance) -> Result<bool, CatalogError> {
    let catalog = &shared.config.catalog;
    let Some((newest, is_open)) = catalog.newest_snapshot(instance.id)? else {
        return Ok(true);
    };
    if is_open {
        return Ok(false);
    }
    let due = newest.saturating_add(shared.config.policy.snapshot_interval).unwrap_or(newest);
    let restored = catalog.newest_restore_of(instance.id)?;
    Ok(shared.config.clock.now() >= due || restored.is_some_and(|restored| restored > newest))
}

fn remove_expired_snapshots(shared: &Shared) -> Result<(), CatalogError> {
    let catalog = &shared.config.catalog;
    let expired = catalog.list_expired_snapshots(shared.config.clock.now())?;
    for snapshot in &expired {
        match catalog.delete_snapshot(snapshot.instance, snapshot.id) {
            Ok(()) => tracing::info!(snapshot = %snapshot.id, "an expired snapshot was deleted"),
            // It is being restored; its time comes when that is done.
            Err(CatalogError::InUse(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let vault = &shared.config.vault;
    let stored = vault.snapshots().unwrap_or_default();
    if stored.is_empty() {
        return Ok(());
    }
    let mut has_removed = false;
    for id in catalog.list_deleted_snapshots()? {
        let id = id.to_string();
        if stored.contains(&id) {
            match vault.remove_manifest(&id) {
                Ok(()) => has_removed = true,
                Err(error) => {
                    tracing::error!(%error, snapshot = id, "a manifest could not be removed");
                }
            }
        }
    }
    if has_removed {
        match vault.prune(PRUNE_GRACE) {
            Ok(PruneReport::Removed(packs)) => tracing::info!(packs, "unused packs were removed"),
            Ok(PruneReport::Busy) => {}
            Err(error) => tracing::warn!(%error, "the vault could not be pruned"),
        }
    }
    Ok(())
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
    let (catalog, vault) = (&shared.config.catalog, &shared.config.vault);
    let oldest =
        shared.config.clock.now().as_second() - shared.config.policy.oplog_retention.as_secs();
    let oldest = OplogTime::new(u32::try_from(oldest).unwrap_or(0), 0);
    for instance in catalog.list_all_instances()? {
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
        for segment in vault.segments(&name).unwrap_or_default() {
            if segment.last < keep
                && let Err(error) = vault.remove_segment(&name, segment)
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
        let Some(job) = name.split('-').next().and_then(|id| id.parse().ok()) else {
            continue;
        };
        let is_over = match shared.config.catalog.load_restore_job(job) {
            Ok(job) => match job.download.and_then(|download| download.expires_at) {
                Some(end) => end <= shared.config.clock.now(),
                None => job.state.is_final(),
            },
            Err(CatalogError::Missing(_)) => true,
            Err(error) => return Err(error),
        };
        if is_over && let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(%error, file = name, "the file of an ended download could not be removed");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::{SignedDuration, Timestamp};
    use tidemark_catalog::{Catalog, LeaseHolder, Order, Page, Snapshot};
    use tidemark_model::{BackupPolicy, Clock, InstanceId};
    use tidemark_mover::{Endpoint, Stop};
    use tidemark_vault::{Vault, VaultKey};

    use super::*;
    use crate::Captures;
    use crate::worker::{Deployments, WorkerConfig};

    /// No database runs: the scheduler needs none.
    struct Nowhere;

    impl Deployments for Nowhere {
        fn endpoint(&self, _: &Instance) -> Option<Endpoint> {
            None
        }
    }

    struct Fixture {
        _folder: tempfile::TempDir,
        shared: Shared,
        instance: InstanceId,
    }

    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::fixed(Timestamp::from_second(1_700_000_000).unwrap());
        let catalog = Arc::new(Catalog::in_memory().unwrap());
        let tenant = tidemark_testkit::tenant(&catalog, &clock, String::new(), (&[], &[]));
        let config = WorkerConfig {
            catalog,
            vault: Vault::open(&folder.path().join("vault"), VaultKey::from_bytes([1; 32]))
                .unwrap(),
            clock,
            deployments: Arc::new(Nowhere),
            policy: BackupPolicy::default(),
            downloads: folder.path().join("downloads"),
        };
        let holder = LeaseHolder { worker: "w".into(), duration: SignedDuration::from_secs(30) };
        let shared =
            Shared { captures: Captures::new(config.clone()), config, holder, stop: Stop::new() };
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
            let state =
                SnapshotState::Completed { finished_at: now, consistent_at: None, size_bytes: 1 };
            catalog.record_snapshot(&claim, &state, None).unwrap();
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
