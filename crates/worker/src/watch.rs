//! A worker as others see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemark_model::{InstanceId, OplogTime};
use tidemark_mover::{MoverError, Stop};

use crate::figures::Durations;
use crate::shared::Shared;
use crate::troubles::Trouble;

/// Tells how a worker is.
#[derive(Clone)]
pub struct WorkerWatch(Arc<Shared>);

impl WorkerWatch {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }

    /// What is wrong at the moment.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.0.troubles.list()
    }

    /// Has everything that happened to an instance up to now captured, by whichever node follows it; answers
    /// through where it is.
    pub(crate) fn capture_now(
        &self,
        instance: InstanceId,
        stop: &Stop,
    ) -> Result<OplogTime, MoverError> {
        self.0.captures.run_now(instance, stop)
    }

    /// How long attempts of jobs took since the start, by their kind.
    pub fn durations(&self) -> BTreeMap<&'static str, Durations> {
        self.0.figures.durations()
    }

    /// Jobs that another node took, or may have taken, since the start.
    pub fn leases_lost(&self) -> u64 {
        self.0.figures.leases_lost()
    }

    /// Gaps in captured oplogs since the start.
    pub fn gaps(&self) -> u64 {
        self.0.captures.gaps()
    }
}
