//! Following the oplogs of all instances.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidemark_catalog::{Catalog, OplogRange};
use tidemark_model::{InstanceId, InstanceState, OplogTime};
use tidemark_mover::{Capture, CaptureOutcome, Connection, Endpoint, MoverError, Stop};

use crate::worker::{Shared, WorkerConfig};

/// How often each oplog is read.
const INTERVAL: Duration = Duration::from_secs(2);

type Slot = Arc<Mutex<Option<Capture>>>;

/// The captures of all instances; each runs for one caller at a time.
pub struct Captures {
    config: WorkerConfig,
    slots: Mutex<HashMap<InstanceId, (Slot, Option<Instant>)>>,
}

impl Captures {
    pub(crate) fn new(config: WorkerConfig) -> Self {
        Self { config, slots: Mutex::default() }
    }

    /// How to reach an instance.
    pub(crate) fn endpoint(&self, instance: InstanceId) -> Result<Endpoint, MoverError> {
        let not_running = |reason: &str| MoverError::Connection {
            address: format!("instance {instance}"),
            doing: "looking for its database".to_owned(),
            source: std::io::Error::other(reason.to_owned()),
        };
        let found = self
            .config
            .catalog
            .load_instance(instance)
            .map_err(|error| not_running(&error.to_string()))?;
        self.config.deployments.endpoint(&found).ok_or_else(|| not_running("it does not run"))
    }

    /// Reads what is new in one oplog; with `flush`, stores it whatever it is.
    pub(crate) fn run_now(
        &self,
        instance: InstanceId,
        flush: bool,
    ) -> Result<OplogTime, MoverError> {
        let endpoint = self.endpoint(instance)?;
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let (slot, last_run) = slots.entry(instance).or_default();
            *last_run = Some(Instant::now());
            Arc::clone(slot)
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let vault = &self.config.vault;
        let mut capture = match slot.take() {
            Some(capture) => capture,
            None => Capture::resume(vault, &instance.to_string())?,
        };
        let mut connection = Connection::open(&endpoint)?;
        loop {
            let outcome = capture.run_round(&mut connection, vault, flush, &Stop::new())?;
            record(&self.config.catalog, instance, outcome)
                .map_err(|error| MoverError::OplogGap { what: format!("the catalog ({error})") })?;
            if !capture.is_over() {
                break;
            }
        }
        let through = capture.stored_through().unwrap_or_default();
        *slot = Some(capture);
        Ok(through)
    }

    fn is_due(&self, instance: InstanceId) -> bool {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let last_run = slots.get(&instance).and_then(|(_, last_run)| *last_run);
        last_run.is_none_or(|last_run| last_run.elapsed() >= INTERVAL)
    }
}

fn record(
    catalog: &Catalog,
    instance: InstanceId,
    outcome: CaptureOutcome,
) -> Result<(), tidemark_catalog::CatalogError> {
    match outcome {
        CaptureOutcome::CaughtUp { from, through } => {
            catalog.extend_oplog_range(instance, OplogRange { first: from, last: through })
        }
        CaptureOutcome::Gap { begins_at } => {
            tracing::info!(%instance, %begins_at, "the capture of an oplog begins");
            catalog.begin_oplog_range(instance, begins_at)
        }
    }
}

/// Reads every oplog that is due.
pub(crate) fn run_round(shared: &Shared) {
    let instances = match shared.config.catalog.list_all_instances() {
        Ok(instances) => instances,
        Err(error) => {
            tracing::error!(%error, "the instances to capture could not be listed");
            return;
        }
    };
    for instance in instances {
        let runs = matches!(instance.state, InstanceState::Idle | InstanceState::Updating);
        let is_up = shared.config.deployments.endpoint(&instance).is_some();
        if shared.stop.is_requested() || !runs || !is_up || !shared.captures.is_due(instance.id) {
            continue;
        }
        if let Err(error) = shared.captures.run_now(instance.id, false) {
            tracing::warn!(%error, instance = %instance.id, "an oplog could not be captured");
        }
    }
}
