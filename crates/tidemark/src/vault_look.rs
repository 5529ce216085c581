//! What is known of the vaults of this server, for the API and the console.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tidemark_actions::vaults::{VaultLook, VaultState};
use tidemark_vault::{Vault, VaultHealth, Vaults};

/// An answer is given again for so long: every look opens all manifests, which a bucket is paid for.
const FRESH: Duration = Duration::from_secs(30);

/// What was found, and when.
type Found = Option<(Instant, Result<VaultState, String>)>;

/// Looks at the vaults of this server, at each by one caller at a time.
pub(crate) struct Look {
    vaults: Vaults,
    found: Mutex<HashMap<Option<String>, Arc<Mutex<Found>>>>,
}

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Look")
    }
}

impl Look {
    pub(crate) fn new(vaults: Vaults) -> Self {
        Self { vaults, found: Mutex::default() }
    }
}

impl VaultLook for Look {
    fn look(&self, name: Option<&str>) -> Result<VaultState, String> {
        let vault = self.vaults.find(name).map_err(|error| error.to_string())?;
        let found = {
            let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(name.map(str::to_owned)).or_default())
        };
        // Whoever waits gets what the one before found.
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, state)) = &*found
            && at.elapsed() < FRESH
        {
            return state.clone();
        }
        let state = survey(vault);
        *found = Some((Instant::now(), state.clone()));
        state
    }
}

fn survey(vault: &Vault) -> Result<VaultState, String> {
    match vault.survey() {
        Ok(health) => Ok(state_of(&health)),
        Err(error) => {
            // It names files, which are not everybody's who may ask.
            tracing::warn!(%error, "a vault could not be looked at");
            Err("it cannot be read now; the server's log says why".to_owned())
        }
    }
}

fn state_of(health: &VaultHealth) -> VaultState {
    VaultState {
        stored_bytes: health.stored_bytes,
        packs: health.packs,
        packs_unread: health.packs_unread,
        read_since: health.read_since.and_then(|second| Timestamp::from_second(second).ok()),
        unreadable_packs: health.unreadable_packs.len(),
        bad_chunks: health.bad_chunks,
        // A manifest whose name is no id is none of ours.
        damaged: health.lost.iter().filter_map(|(id, n)| Some((id.parse().ok()?, *n))).collect(),
    }
}
