//! Snapshots that are made in the vault, of the one before and the captured oplog: when, of what, and
//! how they are compared with what a deployment says.

use jiff::Timestamp;
use tidemark_actions::restore_jobs::{self, CreateRestoreJobError};
use tidemark_catalog::{Backing, Instance, Snapshot};
use tidemark_model::{Comparison, OplogTime, PointInTime, SnapshotId};
use tidemark_mover::{
    MoverError, Progress, ReadSnapshot, Replay, Stop, SynthesisRequest, differences, synthesize,
};
use tidemark_vault::{Manifest, SnapshotOwner};

use crate::shared::Shared;
use crate::steps::StepError;
use crate::tail;

/// What becomes of a snapshot without the deployment being read.
pub(crate) enum Choice {
    /// It is made of this.
    Make(Box<SynthesisRequest>),
    /// The deployment is read. `why` says why although it need not be, `compare` whether what is found
    /// is compared with what would have been made.
    Read { why: Option<String>, compare: bool },
}

/// A snapshot that is to be made or read.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) instance: &'a Instance,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) owner: &'a SnapshotOwner,
}

/// Whether a snapshot is made or read.
pub(crate) fn choose(shared: &Shared, wanted: Wanted<'_>) -> Result<Choice, StepError> {
    let (config, instance) = (&shared.config, wanted.instance);
    let interval = config.policy.full_read_interval;
    // Beside its engine Tidemark reads as fast as it makes.
    let is_possible = instance.backing == Backing::Attached
        && interval.is_positive()
        && config.deployments.has_oplog(instance);
    if !is_possible {
        return Ok(Choice::Read { why: None, compare: false });
    }
    let Some(read_at) = config.catalog.newest_full_read(instance.id)? else {
        return Ok(Choice::Read { why: None, compare: false });
    };
    let now = config.clock.now();
    let is_due = read_at.saturating_add(interval).unwrap_or(Timestamp::MAX) <= now;
    if is_due || read_at > now {
        let why = "it is time to compare with the deployment".to_owned();
        return Ok(Choice::Read { why: Some(why), compare: true });
    }
    let Some(captured) = config.catalog.newest_oplog_range(instance.id)? else {
        return Ok(Choice::Read { why: None, compare: false });
    };
    Ok(match request(shared, wanted, captured.last) {
        Ok(request) => Choice::Make(Box::new(request)),
        Err(StepError::Mover(error)) => {
            Choice::Read { why: Some(error.to_string()), compare: false }
        }
        Err(error) => return Err(error),
    })
}

/// What the snapshot of a moment is made of.
fn request(
    shared: &Shared,
    wanted: Wanted<'_>,
    at: OplogTime,
) -> Result<SynthesisRequest, StepError> {
    let (config, now) = (&shared.config, shared.config.clock.now());
    let moment = (PointInTime::Entry(at), None);
    let plan = match restore_jobs::plan(&config.catalog, wanted.instance, moment, now) {
        Ok(plan) => plan,
        Err(CreateRestoreJobError::Catalog(error)) => return Err(error.into()),
        Err(error) => return Err(MoverError::Synthesis { what: error.to_string() }.into()),
    };
    tail::store(config, wanted.instance.id)?;
    let vault = config.vault_of(wanted.instance.id)?;
    let base = vault.load_manifest(&plan.base.to_string()).map_err(MoverError::from)?;
    Ok(SynthesisRequest {
        base,
        replay: Replay { instance: wanted.instance.id.to_string(), plan },
        snapshot: wanted.snapshot.id.to_string(),
        owner: wanted.owner.clone(),
        taken_at: tidemark_model::format_instant(now),
    })
}

/// Makes a snapshot; or why it cannot be made, whatever it is: then the deployment is read.
pub(crate) fn make(
    shared: &Shared,
    (wanted, request): (Wanted<'_>, &SynthesisRequest),
    (stop, progress): (&Stop, &Progress),
) -> Result<Result<ReadSnapshot, String>, StepError> {
    let vault = shared.config.vault_of(wanted.instance.id)?;
    match synthesize(vault, request, stop, progress) {
        Ok(made) => Ok(Ok(made)),
        Err(MoverError::Stopped) => Err(MoverError::Stopped.into()),
        Err(error) => {
            tracing::warn!(%error, snapshot = request.snapshot, "a snapshot is read instead of made");
            Ok(Err(error.to_string()))
        }
    }
}

/// Compares what was read with what would have been made of the snapshot before; nothing if that cannot
/// be, whatever it is: what was read is whole.
pub(crate) fn compare(
    shared: &Shared,
    wanted: Wanted<'_>,
    read: &Manifest,
    stop: &Stop,
) -> Result<Option<Comparison>, StepError> {
    match try_to_compare(shared, wanted, read, stop) {
        Err(StepError::Mover(MoverError::Stopped)) => Err(MoverError::Stopped.into()),
        Err(error) => {
            tracing::warn!(%error, snapshot = read.snapshot, "a snapshot could not be compared");
            Ok(None)
        }
        outcome => outcome,
    }
}

fn try_to_compare(
    shared: &Shared,
    wanted: Wanted<'_>,
    read: &Manifest,
    stop: &Stop,
) -> Result<Option<Comparison>, StepError> {
    // Only a read of one moment by itself is the measure of another.
    let Some(at) = read.mode.consistent_at().filter(|_| read.oplog.is_empty()) else {
        return Ok(None);
    };
    shared.captures.run_now(wanted.instance.id, stop)?;
    let request = match request(shared, wanted, at) {
        Ok(request) => request,
        Err(StepError::Mover(error)) => {
            tracing::info!(%error, "there is nothing to compare a snapshot with");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let with = request.base.snapshot.clone();
    let found = match make(shared, (wanted, &request), (stop, &Progress::default()))? {
        // Dropping it leaves what it wrote to be pruned.
        Ok(made) => differences(made.manifest(), read),
        Err(why) => vec![format!("nothing could be made of it: {why}")],
    };
    let about = format!("comparison of instance {}", wanted.instance.id);
    if found.is_empty() {
        shared.troubles.clear(&about);
        tracing::info!(
            snapshot = read.snapshot,
            with,
            "a read snapshot is what would have been made"
        );
    } else {
        let name = &wanted.instance.name;
        let text = format!(
            "what was read of {name} differs from what was made in the vault: {}",
            found.join("; ")
        );
        tracing::error!(snapshot = read.snapshot, with, text);
        shared.troubles.warn(about, text);
    }
    let with: Option<SnapshotId> = with.parse().ok();
    Ok(with.map(|with| Comparison { with, differences: found }))
}
