//! The API and its table of operations, put together.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tidemark_catalog::{Catalog, CatalogError};
use tidemark_model::{Clock, Throttle};

use crate::api::{Api, ApiConfig};
use crate::counts::Counts;
use crate::operations::OPERATIONS;
use crate::rate_limit::Buckets;
use crate::signing::Signing;
use crate::usage::Usage;

impl Api {
    /// The API over a catalog.
    pub fn new(
        catalog: Arc<Catalog>,
        clock: Clock,
        config: ApiConfig,
    ) -> Result<Self, CatalogError> {
        let signing = Signing::new(&catalog)?;
        let endpoints =
            OPERATIONS.iter().map(|operation| (operation.verb.as_str(), operation.path));
        Ok(Self {
            // Where several nodes serve the records, used nonces are among them.
            started_at: if catalog.is_shared() { Timestamp::MIN } else { clock.now() },
            buckets: Buckets::new(&catalog),
            catalog,
            clock,
            config,
            signing,
            used_nonces: Mutex::default(),
            throttle: Throttle::default(),
            known: Mutex::default(),
            usage: Usage::default(),
            counts: Counts::default(),
            endpoints: endpoints.collect(),
        })
    }
}
