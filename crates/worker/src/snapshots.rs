//! Taking the snapshots that are wanted.

use std::sync::Arc;

use jiff::SignedDuration;
use tidemark_catalog::{CatalogError, Claim, Done, Snapshot};
use tidemark_model::{SnapshotId, SnapshotState, format_instant};
use tidemark_mover::{MoverError, Progress, SnapshotRequest, Stop, WantedMode, take_snapshot};
use tidemark_vault::{Manifest, SnapshotOwner};

use crate::heartbeat::{Interruption, keep_lease};
use crate::jobs::{ATTEMPTS, catch_panic, record_until_done, wait_after};
use crate::shared::Shared;

/// Takes all snapshots that wait.
pub(crate) fn run_round(shared: &Arc<Shared>) {
    while !shared.stop.is_requested() {
        let now = shared.config.clock.now();
        match shared.config.catalog.claim_snapshot(&shared.holder, now) {
            Ok(Some((claim, snapshot))) => {
                shared.troubles.clear("snapshots");
                if let Err(error) = run(shared, &claim, &snapshot) {
                    tracing::error!(%error, snapshot = %claim.id, "the outcome of a snapshot was not recorded");
                }
            }
            Ok(None) => return shared.troubles.clear("snapshots"),
            Err(error) => {
                tracing::error!(%error, "no snapshot could be claimed");
                return shared
                    .troubles
                    .fail("snapshots", format!("no snapshot can be taken: {error}"));
            }
        }
    }
}

fn run(
    shared: &Shared,
    claim: &Claim<SnapshotId>,
    snapshot: &Snapshot,
) -> Result<(), CatalogError> {
    let catalog = &shared.config.catalog;
    let clock = &shared.config.clock;
    let progress = Progress::default();
    let renew = || {
        let done = Done { documents: progress.documents(), bytes: progress.bytes() };
        catalog.renew_snapshot(claim, (&shared.holder, clock.now()), done).map(|()| false)
    };
    let (outcome, interruption) = keep_lease(&shared.stop, renew, |stop| {
        catch_panic(|| take(shared, snapshot, (stop, &progress)))
    });
    if interruption == Interruption::LeaseLost {
        return remove_orphan(shared, snapshot);
    }
    let what = format!("snapshot {}", claim.id);
    let finished_at = clock.now();
    let fail = |reason: String| {
        tracing::error!(reason, snapshot = %claim.id, "a snapshot failed");
        let state = SnapshotState::Failed { finished_at, reason };
        record_until_done(shared, &what, || catalog.record_snapshot(claim, &state, None))
    };
    match outcome {
        Ok(Ok(manifest)) => {
            let state = SnapshotState::Completed {
                finished_at,
                consistent_at: manifest.mode.consistent_at(),
                size_bytes: manifest.size_bytes(),
            };
            let version = Some(manifest.server_version.as_str());
            record_until_done(shared, &what, || catalog.record_snapshot(claim, &state, version))?;
            tracing::info!(snapshot = %claim.id, bytes = manifest.size_bytes(), "a snapshot is complete");
            Ok(())
        }
        Ok(Err(_)) if shared.stop.is_requested() => catalog.release_snapshot(claim, finished_at),
        Ok(Err(error)) if error.is_transient() && claim.attempt < ATTEMPTS => {
            tracing::warn!(%error, snapshot = %claim.id, "a snapshot is tried again");
            let wait = SignedDuration::from_secs(wait_after(claim.attempt));
            let at = finished_at.saturating_add(wait).unwrap_or(finished_at);
            record_until_done(shared, &what, || catalog.release_snapshot(claim, at))
        }
        Ok(Err(error)) => fail(error.to_string()),
        Err(panic) => fail(format!("the server has a fault ({panic}); please report it")),
    }
}

/// Removes the manifest of a snapshot whose record is gone, and with it whoever else would.
fn remove_orphan(shared: &Shared, snapshot: &Snapshot) -> Result<(), CatalogError> {
    let found = shared.config.catalog.find_snapshot(snapshot.instance, snapshot.id)?;
    if found.is_none()
        && let Err(error) = shared.config.vault.remove_manifest(&snapshot.id.to_string())
    {
        tracing::warn!(%error, snapshot = %snapshot.id, "a manifest was left behind");
    }
    Ok(())
}

fn take(
    shared: &Shared,
    snapshot: &Snapshot,
    (stop, progress): (&Stop, &Progress),
) -> Result<Manifest, MoverError> {
    let config = &shared.config;
    let id = snapshot.id.to_string();
    // An earlier attempt stored it and ended before that was recorded.
    if config.vault.has_snapshot(&id)? {
        return Ok(config.vault.load_manifest(&id)?);
    }
    let endpoint = shared.captures.endpoint(snapshot.instance)?;
    let instance = shared.captures.load_instance(snapshot.instance)?;
    let request = SnapshotRequest {
        endpoint,
        snapshot: id,
        owner: SnapshotOwner {
            instance: snapshot.instance.to_string(),
            instance_name: instance.name.to_string(),
            kind: snapshot.kind.as_str().to_owned(),
            created_at: format_instant(snapshot.created_at),
            expires_at: format_instant(snapshot.expires_at),
        },
        taken_at: format_instant(config.clock.now()),
        mode: WantedMode::Strongest,
    };
    // A range that begins before the snapshot makes every later moment restorable from it.
    shared.captures.run_now(snapshot.instance, stop)?;
    take_snapshot(&config.vault, &request, stop, progress)
}
