//! What only the development mode can do: put the server back to the beginning.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tidemark_atlas_api::{DevMode, ResetError};
use tidemark_catalog::Catalog;
use tidemark_model::Clock;
use tidemark_vault::Vaults;

use crate::bootstrap::{self, BootstrapError};
use crate::seed::Seed;

/// The parts that a reset touches.
pub(crate) struct Dev {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) clock: Clock,
    pub(crate) vaults: Vaults,
    pub(crate) data_dir: PathBuf,
    pub(crate) base_url: String,
    /// What the server began with.
    pub(crate) seed: Seed,
}

impl std::fmt::Debug for Dev {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dev").field("data_dir", &self.data_dir).finish_non_exhaustive()
    }
}

impl DevMode for Dev {
    /// The clock goes back to the present. Databases of instances that are gone are stopped by the
    /// next round of the hosting, files of downloads by the next round of the scheduler.
    fn reset(&self, seed: Option<Value>) -> Result<Value, ResetError> {
        let seed = match seed {
            Some(document) => {
                Seed::parse(document).map_err(|error| ResetError::Seed(error.to_string()))?
            }
            None => self.seed.clone(),
        };
        // A seed that cannot be used must change nothing.
        let now = self.clock.now();
        let (records, _) = seed.grow(now).map_err(|error| ResetError::Seed(error.to_string()))?;
        let scratch = Catalog::in_memory().map_err(|error| ResetError::Failed(Box::new(error)))?;
        records.store(&scratch, now).map_err(|error| ResetError::Seed(error.to_string()))?;
        self.clock.reset();
        let planted =
            bootstrap::plant(&self.catalog, &self.clock, (&self.data_dir, &self.base_url), &seed);
        let bootstrap = planted.map_err(|error| match error {
            BootstrapError::Seed(error) => ResetError::Seed(error.to_string()),
            error => ResetError::Failed(Box::new(error)),
        })?;
        let failed = |error: tidemark_vault::VaultError| ResetError::Failed(Box::new(error));
        for (_, vault) in self.vaults.iter() {
            for snapshot in vault.snapshots().map_err(failed)? {
                vault.remove_manifest(&snapshot).map_err(failed)?;
            }
        }
        serde_json::to_value(&bootstrap).map_err(|error| ResetError::Failed(Box::new(error)))
    }
}
