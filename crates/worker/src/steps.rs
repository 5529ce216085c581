//! The steps of jobs: what may become of one.

use tidemark_catalog::CatalogError;
use tidemark_deployment::LinkError;
use tidemark_model::{Cause, Failure, TRACE_TARGET};
use tidemark_mover::MoverError;

use crate::config::{Fate, WorkerConfig};

/// Why a step did not end well.
pub(crate) enum StepError {
    Mover(MoverError),
    Catalog(CatalogError),
    /// Processes that did the job ended without a word, so often.
    DiedTooOften(i64),
    /// A test plays that the process has ended.
    Vanished,
}

impl StepError {
    /// Whether the same work may succeed later without anybody's help.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Mover(error) => error.is_transient(),
            Self::Catalog(error) => matches!(error, CatalogError::Database(_)),
            Self::DiedTooOften(_) | Self::Vanished => false,
        }
    }

    /// Why the job fails, for its record.
    pub(crate) fn to_failure(&self) -> Failure {
        let cause = match self {
            Self::Mover(error) => error.cause(),
            Self::Catalog(CatalogError::Database(_)) => Cause::RecordsUnavailable,
            Self::Catalog(_) => Cause::Unknown,
            Self::DiedTooOften(_) | Self::Vanished => Cause::Crashed,
        };
        Failure::new(cause, self)
    }
}

impl std::fmt::Display for StepError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mover(error) => error.fmt(f),
            Self::Catalog(error) => error.fmt(f),
            Self::DiedTooOften(times) => {
                write!(f, "the process ended {times} times while it took this snapshot")
            }
            Self::Vanished => f.write_str("the process has ended"),
        }
    }
}

impl From<MoverError> for StepError {
    fn from(error: MoverError) -> Self {
        Self::Mover(error)
    }
}

impl From<CatalogError> for StepError {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(error)
    }
}

/// Begins a step of a job: a test may end the process here, or say what becomes of the step.
pub(crate) fn enter_step(config: &WorkerConfig, job: &str, step: &str) -> Result<(), StepError> {
    crash_at(step);
    tracing::info!(target: TRACE_TARGET, step, "a step begins");
    match config.fate(job, step) {
        Fate::Done => Ok(()),
        Fate::Fails { is_transient: true } => Err(MoverError::Link(LinkError::Connection {
            address: "a test".to_owned(),
            doing: step.to_owned(),
            source: std::io::Error::other("a fault of a test"),
        })
        .into()),
        Fate::Fails { is_transient: false } => {
            Err(MoverError::Unsupported { what: format!("the step {step}") }.into())
        }
        Fate::Vanishes => Err(StepError::Vanished),
        #[expect(clippy::panic, reason = "that is what the test asks for")]
        Fate::Panics => panic!("a fault of a test at {step}"),
    }
}

/// Ends the process as SIGKILL would, where a test asks for it by `TIDEMARK_CRASH_AT=<step>`.
///
/// A test of recovery must be sure that the step was reached; a kill from outside cannot be.
/// Builds for release do not have this.
fn crash_at(point: &str) {
    let is_wanted = || std::env::var("TIDEMARK_CRASH_AT").is_ok_and(|wanted| wanted == point);
    if cfg!(debug_assertions) && is_wanted() {
        std::process::abort();
    }
}
