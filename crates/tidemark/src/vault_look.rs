//! What is known of the vaults of this server, for the API and the console.

use jiff::Timestamp;
use tidemark_actions::vaults::{VaultLook, VaultState};
use tidemark_vault::{VaultHealth, Vaults};

/// Looks at the vaults of this server.
#[derive(Clone)]
pub(crate) struct Look(pub(crate) Vaults);

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Look")
    }
}

impl VaultLook for Look {
    fn look(&self, name: Option<&str>) -> Result<VaultState, String> {
        let vault = self.0.find(name).map_err(|error| error.to_string())?;
        let health = vault.survey().map_err(|error| error.to_string())?;
        Ok(state_of(&health))
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
