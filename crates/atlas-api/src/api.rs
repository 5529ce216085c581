//! What all requests share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tidemark_catalog::{Catalog, CatalogError, PasswordRecord, Setting};
use tidemark_model::{BackupPolicy, Clock};

use crate::token::Signer;

/// What happens to operations that MongoDB switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sunset {
    /// They go on working.
    #[default]
    Ignore,
    /// They answer 410, as the real service does now.
    Enforce,
}

/// How the API behaves.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// The address in links; `None` for the one that a client used.
    pub public_url: Option<String>,
    /// What happens to operations that MongoDB switched off.
    pub sunset: Sunset,
    /// How often snapshots are taken and how long they are kept.
    pub policy: BackupPolicy,
    /// The host in connection strings.
    pub advertised_host: String,
    /// The largest request body, in bytes.
    pub largest_body_bytes: usize,
    /// How long a handler may take.
    pub deadline: Duration,
    /// Makes of a database user's password what is kept of it.
    pub hash_password: fn(&str) -> PasswordRecord,
}

/// The API.
pub struct Api {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) clock: Clock,
    pub(crate) config: ApiConfig,
    pub(crate) signer: Signer,
    /// Nonces with the counters that were used with them, until they expire.
    pub(crate) used_nonces: Mutex<HashMap<(String, u32), Timestamp>>,
}

impl Api {
    /// The API over a catalog.
    pub fn new(
        catalog: Arc<Catalog>,
        clock: Clock,
        config: ApiConfig,
    ) -> Result<Self, CatalogError> {
        let key = catalog.setting_or_random(Setting::SigningKey)?;
        let signer = Signer::new(&key);
        Ok(Self { catalog, clock, config, signer, used_nonces: Mutex::default() })
    }

    /// The records behind it.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }
}
