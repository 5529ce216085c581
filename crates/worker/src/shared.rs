//! What the threads of a worker share.

use tidemark_catalog::LeaseHolder;
use tidemark_mover::Stop;

use crate::captures::Captures;
use crate::config::WorkerConfig;
use crate::due::Due;
use crate::figures::Figures;
use crate::troubles::Troubles;

/// What all threads of a worker share.
pub(crate) struct Shared {
    pub(crate) config: WorkerConfig,
    pub(crate) holder: LeaseHolder,
    pub(crate) captures: Captures,
    pub(crate) troubles: Troubles,
    pub(crate) figures: Figures,
    pub(crate) due: Due,
    pub(crate) stop: Stop,
}
