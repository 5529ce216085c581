//! Taking the snapshots that are wanted.

use tidemark_catalog::{CatalogError, Claim, Snapshot};
use tidemark_model::{SnapshotId, SnapshotState, format_instant};
use tidemark_mover::{MoverError, Progress, SnapshotRequest, WantedMode, take_snapshot};
use tidemark_vault::Manifest;

use crate::heartbeat::{Interruption, keep_lease};
use crate::worker::Shared;

/// A snapshot that fails for a passing reason is tried again this often.
const ATTEMPTS: i64 = 3;

/// Takes all snapshots that wait.
pub(crate) fn run_round(shared: &Shared) {
    while !shared.stop.is_requested() {
        let now = shared.config.clock.now();
        match shared.config.catalog.claim_snapshot(&shared.holder, now) {
            Ok(Some((claim, snapshot))) => {
                if let Err(error) = run(shared, &claim, &snapshot) {
                    tracing::error!(%error, snapshot = %claim.id, "the outcome of a snapshot was not recorded");
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "no snapshot could be claimed");
                return;
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
    let renew = || catalog.renew_snapshot(claim, &shared.holder, clock.now()).map(|()| false);
    let (outcome, interruption) =
        keep_lease(&shared.stop, renew, |stop| take(shared, snapshot, stop));
    if interruption == Interruption::LeaseLost {
        return remove_orphan(shared, snapshot);
    }
    if shared.stop.is_requested() {
        return Ok(());
    }
    let finished_at = clock.now();
    match outcome {
        Ok(manifest) => {
            let state = SnapshotState::Completed {
                finished_at,
                consistent_at: manifest.mode.consistent_at(),
                size_bytes: manifest.size_bytes(),
            };
            tracing::info!(snapshot = %claim.id, bytes = manifest.size_bytes(), "a snapshot is complete");
            catalog.record_snapshot(claim, &state, Some(&manifest.server_version))
        }
        // The lease runs out and the snapshot is claimed again.
        Err(error) if error.is_transient() && claim.attempt < ATTEMPTS => {
            tracing::warn!(%error, snapshot = %claim.id, "a snapshot is tried again");
            Ok(())
        }
        Err(error) => {
            tracing::error!(%error, snapshot = %claim.id, "a snapshot failed");
            let state = SnapshotState::Failed { finished_at, reason: error.to_string() };
            catalog.record_snapshot(claim, &state, None)
        }
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
    stop: &tidemark_mover::Stop,
) -> Result<Manifest, MoverError> {
    let config = &shared.config;
    let endpoint = shared.captures.endpoint(snapshot.instance)?;
    let request = SnapshotRequest {
        endpoint,
        snapshot: snapshot.id.to_string(),
        instance: snapshot.instance.to_string(),
        taken_at: format_instant(config.clock.now()),
        mode: WantedMode::Strongest,
    };
    // A range that begins before the snapshot makes every later moment restorable from it.
    shared.captures.run_now(snapshot.instance, false)?;
    take_snapshot(&config.vault, &request, stop, &Progress::default())
}
