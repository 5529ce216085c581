//! Snapshots and moments made readable, for whoever looks into them.
//!
//! A snapshot is in the vault. A moment is made of the snapshot before it and the captured oplog, as a
//! snapshot without a manifest: what it needs beside what is stored stays as long as it is open, and is
//! pruned later. No deployment is asked for anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemark_actions::restore_jobs::{self, CreateRestoreJobError};
use tidemark_catalog::{Catalog, CatalogError, Instance};
use tidemark_model::{
    BackupPoint, Captured, Cause, Clock, Failure, Material, OplogTime, PointInTime, RestorePlan,
    SnapshotId, format_instant, plan_restore,
};
use tidemark_mover::{MoverError, Progress, Replay, Stop, SynthesisRequest, synthesize};
use tidemark_vault::{Manifest, SnapshotWriter, Vault, Vaults};

use crate::captures::{ROUND_PATIENCE, ask_others};
use crate::shared::Shared;
use crate::tail;
use crate::watch::WorkerWatch;

/// How long the capture of a moment that is just over is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Why something is not readable.
#[derive(Debug, thiserror::Error)]
pub enum MomentError {
    /// There is no such complete snapshot, or the moment cannot be restored.
    #[error(transparent)]
    Unknown(#[from] CreateRestoreJobError),
    /// The vault does not give it.
    #[error(transparent)]
    Mover(#[from] MoverError),
    /// The oplog through the moment has not been captured yet.
    #[error("the oplog through this moment is not captured yet; try again in a moment")]
    NotYet,
}

impl MomentError {
    /// Its kind and what it says.
    pub fn to_failure(&self) -> Failure {
        let cause = match self {
            Self::Unknown(CreateRestoreJobError::Catalog(_)) => Cause::RecordsUnavailable,
            Self::Unknown(_) | Self::NotYet => Cause::OutOfReach,
            Self::Mover(error) => error.cause(),
        };
        Failure::new(cause, self)
    }
}

impl From<CatalogError> for MomentError {
    fn from(error: CatalogError) -> Self {
        Self::Unknown(error.into())
    }
}

/// Something that can be read.
pub struct Readable {
    /// The vault that holds it.
    pub vault: Arc<Vault>,
    /// What it holds.
    pub manifest: Manifest,
    /// Holds on to what only this moment needs.
    _writer: Option<SnapshotWriter>,
}

/// What a restore begins with.
pub(crate) struct Source {
    pub(crate) vault: Arc<Vault>,
    pub(crate) manifest: Manifest,
    pub(crate) replay: Option<Replay>,
    /// While it is read nothing is pruned.
    _writer: SnapshotWriter,
}

/// Makes snapshots and moments readable.
#[derive(Clone)]
pub struct Moments {
    /// The records.
    pub catalog: Arc<Catalog>,
    /// The vaults.
    pub vaults: Vaults,
    /// The time.
    pub clock: Clock,
    /// The worker of this node, if it has one.
    pub worker: Option<WorkerWatch>,
}

impl Moments {
    /// Those of a worker.
    pub(crate) fn of(shared: &Arc<Shared>) -> Self {
        Self {
            catalog: Arc::clone(&shared.config.catalog),
            vaults: shared.config.vaults.clone(),
            clock: shared.config.clock.clone(),
            worker: Some(WorkerWatch::new(shared)),
        }
    }

    /// Opens a snapshot or a moment of an instance.
    pub fn open(
        &self,
        instance: &Instance,
        wanted: BackupPoint,
        stop: &Stop,
    ) -> Result<Readable, MomentError> {
        let vault = self.vaults.find(instance.vault.as_deref()).map_err(MoverError::from)?;
        let vault = Arc::clone(vault);
        match wanted {
            BackupPoint::Snapshot(id) => {
                restore_jobs::find_complete(&self.catalog, instance, id)?;
                // While it is read nothing is pruned.
                let writer = vault.writer().map_err(MoverError::from)?;
                let manifest = vault.load_manifest(&id.to_string()).map_err(MoverError::from)?;
                Ok(Readable { vault, manifest, _writer: Some(writer) })
            }
            BackupPoint::Moment(moment, base) => self.make(vault, instance, (moment, base), stop),
        }
    }

    /// What a restore of a snapshot or a moment begins with, once everything of it is captured.
    pub(crate) fn source(
        &self,
        instance: &Instance,
        wanted: BackupPoint,
        stop: &Stop,
    ) -> Result<Source, MomentError> {
        let vault = self.vaults.find(instance.vault.as_deref()).map_err(MoverError::from)?;
        let vault = Arc::clone(vault);
        let writer = vault.writer().map_err(MoverError::from)?;
        let (snapshot, replay) = match wanted {
            BackupPoint::Snapshot(id) => {
                (restore_jobs::find_complete(&self.catalog, instance, id)?.id, None)
            }
            BackupPoint::Moment(moment, base) => {
                let plan = self.plan(instance, (moment, base), stop)?;
                tail::store_in(&self.catalog, &vault, instance.id)?;
                (plan.base, Some(Replay { instance: instance.id.to_string(), plan }))
            }
        };
        let manifest = vault.load_manifest(&snapshot.to_string()).map_err(MoverError::from)?;
        Ok(Source { vault, manifest, replay, _writer: writer })
    }

    fn make(
        &self,
        vault: Arc<Vault>,
        instance: &Instance,
        (moment, base): (PointInTime, Option<SnapshotId>),
        stop: &Stop,
    ) -> Result<Readable, MomentError> {
        let plan = self.plan(instance, (moment, base), stop)?;
        tail::store_in(&self.catalog, &vault, instance.id)?;
        let base = vault.load_manifest(&plan.base.to_string()).map_err(MoverError::from)?;
        let now = self.clock.now();
        let request = SynthesisRequest {
            owner: base.owner.clone(),
            base,
            replay: Replay { instance: instance.id.to_string(), plan },
            snapshot: SnapshotId::new(now).to_string(),
            taken_at: format_instant(now),
        };
        let made = synthesize(&vault, &request, stop, &Progress::default())?;
        let (manifest, writer) = made.keep_readable(stop)?;
        Ok(Readable { vault, manifest, _writer: Some(writer) })
    }

    /// How the moment is reached with what is captured.
    fn plan(
        &self,
        instance: &Instance,
        (moment, base): (PointInTime, Option<SnapshotId>),
        stop: &Stop,
    ) -> Result<RestorePlan, MomentError> {
        // What cannot be restored at all is refused at once.
        let base =
            restore_jobs::plan(&self.catalog, instance, (moment, base), self.clock.now())?.base;
        let bases = self.catalog.list_bases(instance.id)?;
        let plan = |captured: &[Captured]| {
            plan_restore(moment, Some(base), &Material { captured, bases: &bases })
        };
        if let Ok(plan) = plan(&self.catalog.list_captured(instance.id)?) {
            return Ok(plan);
        }
        let last = moment.last_position();
        let through = self.capture_through(instance, last, stop)?;
        let mut captured = self.catalog.list_captured(instance.id)?;
        if let Some(newest) = captured.last_mut() {
            // Without an entry in between nothing is missing.
            *newest = newest.through(through);
        }
        Ok(plan(&captured).map_err(MoverError::from)?)
    }

    /// Has everything captured up to a position, if that is not in the future.
    fn capture_through(
        &self,
        instance: &Instance,
        last: OplogTime,
        stop: &Stop,
    ) -> Result<OplogTime, MomentError> {
        let begun = Instant::now();
        loop {
            let now = self.clock.now().as_second();
            let through = if let Some(worker) = &self.worker {
                worker.capture_now(instance.id, stop)?
            } else {
                let deadline = Instant::now() + ROUND_PATIENCE;
                ask_others(&self.catalog, instance.id, deadline, stop)?
            };
            // What is captured after the second is over holds all of it.
            if through >= last || now > i64::from(last.seconds) {
                return Ok(through.max(last));
            }
            if begun.elapsed() > PATIENCE {
                return Err(MomentError::NotYet);
            }
            std::thread::sleep(POLL);
        }
    }
}
