//! `/groups/{groupId}/vaults`: where a project's backups are, and whether all of it is whole.

use serde_json::{Value, json};
use tidemark_actions::vaults::{self, ProjectVault};
use tidemark_catalog::Project;
use tidemark_model::format_instant;

use super::ask::{Ask, put};
use crate::error::{ApiError, Result};

/// All of a project.
pub(super) fn list(ask: &Ask<'_>, project: &Project) -> Result<Value> {
    let config = &ask.api.config;
    let look = config.vault_look.as_deref().ok_or_else(ApiError::unexpected)?;
    let found = vaults::list(&ask.api.catalog, project, (&config.vaults, look))?;
    let results: Vec<Value> = found.iter().map(describe).collect();
    Ok(json!({ "results": results, "totalCount": found.len() }))
}

fn describe(vault: &ProjectVault) -> Value {
    let mut body = json!({ "isForNew": vault.is_for_new, "instances": vault.instances });
    if let Some(name) = &vault.name {
        put(&mut body, "name", name.as_str().into());
    }
    let state = match &vault.state {
        Ok(state) => state,
        Err(reason) => {
            put(&mut body, "state", "UNKNOWN".into());
            put(&mut body, "reason", reason.as_str().into());
            return body;
        }
    };
    put(&mut body, "state", if vault.is_well() { "WHOLE" } else { "DAMAGED" }.into());
    put(&mut body, "storedBytes", state.stored_bytes.into());
    put(&mut body, "packs", state.packs.into());
    put(&mut body, "packsUnread", state.packs_unread.into());
    if let Some(since) = state.read_since {
        put(&mut body, "readSince", format_instant(since).into());
    }
    put(&mut body, "unreadablePacks", state.unreadable_packs.into());
    put(&mut body, "badChunks", state.bad_chunks.into());
    let damaged = state.damaged.iter();
    let damaged: Vec<Value> = damaged
        .map(|(snapshot, chunks)| json!({ "id": snapshot.to_string(), "missingChunks": chunks }))
        .collect();
    put(&mut body, "damagedSnapshots", damaged.into());
    put(&mut body, "damagedElsewhere", vault.damaged_elsewhere.into());
    body
}
