//! Taking the snapshots that are wanted.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemark_catalog::{Catalog, CatalogError, Claim, Instance, Proof, SILENT_ENDS, Snapshot};
use tidemark_deployment::Endpoint;
use tidemark_model::{
    Comparison, Failure, SnapshotEvent, SnapshotId, SnapshotState, TRACE_TARGET, format_instant,
};
use tidemark_mover::{
    DRAFT_INTERVAL, ImportRequest, MoverError, PART_BYTES, Progress, ReadSnapshot, SnapshotRequest,
    Stop, WantedMode, import_dump, read_snapshot,
};
use tidemark_vault::{Manifest, SnapshotOwner};

use crate::config::WorkerConfig;
use crate::heartbeat::{Interruption, work_under_lease};
use crate::jobs::{ATTEMPTS, catch_panic, done_of, next_try, record_until_done};
use crate::shared::Shared;
use crate::steps::{StepError, enter_step};
use crate::synthetic::{self, Choice, Wanted};

/// Takes all snapshots that wait.
pub(crate) fn run_round(shared: &Arc<Shared>) {
    while !shared.stop.is_requested() {
        let now = shared.config.clock.now();
        match shared.config.catalog.claim_snapshot(&shared.holder, now) {
            Ok(Some((claim, snapshot))) => {
                shared.troubles.clear("snapshots");
                let span = tracing::info_span!(
                    target: TRACE_TARGET, "snapshot", "tidemark.snapshot" = %claim.id,
                    "tidemark.attempt" = claim.attempt, "tidemark.instance" = %snapshot.instance,
                );
                if let Err(error) = span.in_scope(|| run(shared, &claim, &snapshot)) {
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
        let done = done_of(&progress);
        catalog.renew_snapshot(claim, (&shared.holder, clock.now()), &done).map(|()| false)
    };
    let (outcome, interruption) = work_under_lease((shared, "snapshot"), renew, |stop| {
        if snapshot.silent_ends >= SILENT_ENDS {
            return Ok(Err(StepError::DiedTooOften(snapshot.silent_ends)));
        }
        catch_panic(|| take(shared, snapshot, (stop, &progress)))
    });
    if interruption == Interruption::LeaseLost {
        return remove_orphan(shared, snapshot);
    }
    // How much it was at the end; whether the lease still holds, the record of the end finds out.
    drop(matches!(outcome, Ok(Ok(_))).then(renew));
    let what = format!("snapshot {}", claim.id);
    let finished_at = clock.now();
    let record_event = |event: SnapshotEvent, proof: Option<&Proof>| {
        record_until_done(shared, &what, || {
            record(catalog, (claim, snapshot), event.clone(), proof)
        })?;
        // What was uploaded has served, or never will.
        if snapshot.is_imported {
            remove_dump(&shared.config, snapshot);
        }
        Ok(())
    };
    let fail = |failure: Failure| {
        let (reason, cause) = (&failure.reason, failure.cause.as_str());
        tracing::error!(reason, cause, snapshot = %claim.id, "a snapshot failed");
        record_event(SnapshotEvent::GivenUp { at: finished_at, failure }, None)
    };
    let give_back = |at| record_until_done(shared, &what, || catalog.release_snapshot(claim, at));
    let release = |error: &dyn std::fmt::Display| {
        tracing::warn!(%error, snapshot = %claim.id, "a snapshot is tried again");
        give_back(next_try(finished_at, claim.attempt))
    };
    let outcome = match adopt_stored(shared, snapshot, outcome) {
        // Whether it is complete is not known: it is asked again, however often.
        Err(error) => return release(&error),
        Ok(outcome) => outcome,
    };
    match outcome {
        Ok(Ok(Taken { manifest, comparison })) => {
            let stored = SnapshotEvent::Stored {
                at: finished_at,
                // The moment of an imported one is of another oplog.
                consistent_at: manifest.mode.consistent_at().filter(|_| !snapshot.is_imported),
                size_bytes: manifest.size_bytes(),
            };
            record_event(stored, Some(&proof_of(&manifest, comparison)))?;
            tracing::info!(snapshot = %claim.id, bytes = manifest.size_bytes(), "a snapshot is complete");
            Ok(())
        }
        Ok(Err(StepError::Vanished)) => Ok(()),
        Ok(Err(_)) if shared.stop.is_requested() => give_back(finished_at),
        Ok(Err(error)) if error.is_transient() && claim.attempt < ATTEMPTS => release(&error),
        Ok(Err(error)) => fail(error.to_failure()),
        Err(panic) => fail(Failure::of_panic(&panic)),
    }
}

fn proof_of(manifest: &Manifest, comparison: Option<Comparison>) -> Proof {
    Proof {
        server_version: manifest.server_version.clone(),
        mode: manifest.mode.as_str().to_owned(),
        mode_reason: manifest.mode_reason.clone(),
        comparison,
    }
}

/// Records what became of a snapshot; one that failed leaves what its policy asked for to be asked again.
pub(crate) fn record(
    catalog: &Catalog,
    (claim, snapshot): (&Claim<SnapshotId>, &Snapshot),
    event: SnapshotEvent,
    proof: Option<&Proof>,
) -> Result<(), CatalogError> {
    catalog.transact(|catalog| {
        let state = catalog.record_snapshot_event(claim, event.clone(), proof)?;
        let (SnapshotState::Failed { .. }, Some(policy)) = (state, &snapshot.policy) else {
            return Ok(());
        };
        let Some(own) = catalog.find_backup_schedule(snapshot.instance)? else { return Ok(()) };
        let own = own.given_back(&policy.items, snapshot.created_at);
        catalog.set_backup_schedule(snapshot.instance, &own)
    })
}

/// What was stored, and how it compares with what would have been made.
struct Taken {
    manifest: Manifest,
    comparison: Option<Comparison>,
}

impl From<Manifest> for Taken {
    fn from(manifest: Manifest) -> Self {
        Self { manifest, comparison: None }
    }
}

/// What an attempt came to: what was stored, why nothing was, or the text of a panic.
type Outcome = Result<Result<Taken, StepError>, String>;

/// What became of a snapshot: whatever went wrong, it is complete if the vault has it.
fn adopt_stored(
    shared: &Shared,
    snapshot: &Snapshot,
    outcome: Outcome,
) -> Result<Outcome, MoverError> {
    if matches!(outcome, Ok(Ok(_) | Err(StepError::Vanished))) {
        return Ok(outcome);
    }
    let vault = shared.config.vault_of(snapshot.instance)?;
    let stored = vault.find_stored(&snapshot.id.to_string())?;
    Ok(stored.map_or(outcome, |manifest| Ok(Ok(manifest.into()))))
}

/// Removes the manifest of a snapshot whose record is gone or says that it failed, and with it whoever
/// else would.
fn remove_orphan(shared: &Shared, snapshot: &Snapshot) -> Result<(), CatalogError> {
    let found = shared.config.catalog.find_snapshot(snapshot.instance, snapshot.id)?;
    let has_failed = |found: &Snapshot| matches!(found.state, SnapshotState::Failed { .. });
    let is_over = match &found {
        Some(found) => has_failed(found),
        None => shared.config.membership.is_forgotten(snapshot.id.made_at()),
    };
    let remove = || -> Result<(), MoverError> {
        let vault = shared.config.vault_of(snapshot.instance)?;
        Ok(vault.remove_manifest(&snapshot.id.to_string())?)
    };
    if is_over && let Err(error) = remove() {
        tracing::warn!(%error, snapshot = %snapshot.id, "a manifest was left behind");
    }
    Ok(())
}

fn take(
    shared: &Shared,
    snapshot: &Snapshot,
    (stop, progress): (&Stop, &Progress),
) -> Result<Taken, StepError> {
    let config = &shared.config;
    let id = snapshot.id.to_string();
    let enter = |step| enter_step(config, &id, step);
    // An earlier attempt stored it and ended before that was recorded.
    let vault = config.vault_of(snapshot.instance)?;
    if let Some(manifest) = vault.find_stored(&id).map_err(MoverError::from)? {
        return Ok(manifest.into());
    }
    if snapshot.is_imported {
        return import(shared, snapshot, (stop, progress)).map(Taken::from);
    }
    let endpoint = shared.captures.endpoint(snapshot.instance)?;
    let instance = shared.captures.load_instance(snapshot.instance)?;
    let owner = owner_of(snapshot, &instance);
    let wanted = Wanted { instance: &instance, snapshot, owner: &owner };
    // A range that begins before the snapshot makes every later moment restorable from it.
    enter("capture")?;
    if config.deployments.has_oplog(&instance) {
        shared.captures.run_now(snapshot.instance, stop)?;
    }
    enter("read")?;
    let (read, compares) = match synthetic::choose(shared, wanted)? {
        Choice::Make(request) => {
            match synthetic::make(shared, (wanted, &request), (stop, progress))? {
                Ok(made) => (made, false),
                Err(why) => (read(shared, (endpoint, wanted), Some(why), (stop, progress))?, false),
            }
        }
        Choice::Read { why, compare } => {
            (read(shared, (endpoint, wanted), why, (stop, progress))?, compare)
        }
    };
    let comparison =
        if compares { synthetic::compare(shared, wanted, read.manifest(), stop)? } else { None };
    enter("store")?;
    let manifest = read.store(stop)?;
    enter("record")?;
    Ok(Taken { manifest, comparison })
}

/// Makes a snapshot of an uploaded dump.
fn import(
    shared: &Shared,
    snapshot: &Snapshot,
    watch: (&Stop, &Progress),
) -> Result<Manifest, StepError> {
    let config = &shared.config;
    let id = snapshot.id.to_string();
    let enter = |step| enter_step(config, &id, step);
    let instance = shared.captures.load_instance(snapshot.instance)?;
    let request = ImportRequest {
        snapshot: id.clone(),
        owner: owner_of(snapshot, &instance),
        taken_at: format_instant(config.clock.now()),
    };
    enter("read")?;
    let vault = config.vault_of(snapshot.instance)?;
    let read = import_dump(vault, open_dump(config, snapshot)?, &request, watch)?;
    enter("store")?;
    let manifest = read.store(watch.0)?;
    enter("record")?;
    Ok(manifest)
}

/// What the vault is to know of whose snapshot it is.
fn owner_of(snapshot: &Snapshot, instance: &Instance) -> SnapshotOwner {
    let kind = if snapshot.is_imported { SnapshotOwner::IMPORTED } else { snapshot.kind.as_str() };
    SnapshotOwner {
        instance: snapshot.instance.to_string(),
        instance_name: instance.name.to_string(),
        kind: kind.to_owned(),
        created_at: format_instant(snapshot.created_at),
        expires_at: format_instant(snapshot.expires_at),
    }
}

/// What was uploaded: in the vault where any node may have taken it in, or else in a folder.
fn open_dump(config: &WorkerConfig, snapshot: &Snapshot) -> Result<Box<dyn Read>, MoverError> {
    let missing = |reason: &dyn std::fmt::Display| MoverError::Import {
        what: format!("what was uploaded cannot be read ({reason}); upload it again"),
    };
    let vault = config.vault_of(snapshot.instance)?;
    if vault.is_paid_by_request() {
        let found = vault.find_file(&dump_name(snapshot.id))?;
        return Ok(Box::new(found.ok_or_else(|| missing(&"it is not there"))?.reader()));
    }
    let file =
        File::open(dump_path(&config.imports, snapshot.id)).map_err(|error| missing(&error))?;
    Ok(Box::new(BufReader::new(file)))
}

/// Removes what was uploaded; what stays is removed later.
fn remove_dump(config: &WorkerConfig, snapshot: &Snapshot) {
    let remove = || -> Result<(), MoverError> {
        let vault = config.vault_of(snapshot.instance)?;
        if vault.is_paid_by_request() {
            vault.remove_file(&dump_name(snapshot.id))?;
        } else {
            let _ = std::fs::remove_file(dump_path(&config.imports, snapshot.id));
        }
        Ok(())
    };
    if let Err(error) = remove() {
        tracing::warn!(%error, snapshot = %snapshot.id, "what was uploaded was left behind; it is removed later");
    }
}

/// The name of a dump that is to become a snapshot.
pub fn dump_name(snapshot: SnapshotId) -> String {
    format!("{snapshot}.dump")
}

/// The file of a dump that is to become a snapshot, in the folder of imports.
pub fn dump_path(imports: &Path, snapshot: SnapshotId) -> PathBuf {
    imports.join(dump_name(snapshot))
}

/// Reads a deployment; `why` where the snapshot could have been made otherwise.
fn read(
    shared: &Shared,
    (endpoint, wanted): (Endpoint, Wanted<'_>),
    why: Option<String>,
    (stop, progress): (&Stop, &Progress),
) -> Result<ReadSnapshot, StepError> {
    let request = SnapshotRequest {
        endpoint,
        snapshot: wanted.snapshot.id.to_string(),
        owner: wanted.owner.clone(),
        taken_at: format_instant(shared.config.clock.now()),
        mode: WantedMode::Strongest,
        why,
        draft_interval: DRAFT_INTERVAL,
        part_bytes: PART_BYTES,
    };
    let vault = shared.config.vault_of(wanted.instance.id)?;
    Ok(read_snapshot(vault, &request, stop, progress)?)
}
