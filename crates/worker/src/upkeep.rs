//! Looking after the vault: reading packs again, merging segments, removing what nobody needs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemark_model::OplogTime;
use tidemark_vault::{PruneReport, ResealReport, Vault, VaultError, VaultHealth};

use crate::shared::Shared;

/// A pack that no snapshot names is kept this long.
const PRUNE_GRACE: Duration = Duration::from_hours(24);
/// Segments are merged when they are older than this.
const MERGE_AFTER_SECONDS: u32 = 600;
/// Merges of one instance in a round.
const MERGES: usize = 50;

/// In a round so much time is given to sealing anew what older keys sealed.
const RESEALING: Duration = Duration::from_secs(10);

/// What one node at a time does, by what is said if it does not succeed.
const DUTIES: &[&str] = &[
    "checking the vault",
    "merging oplog segments",
    "removing what no snapshot needs",
    "sealing with the newest key",
    "vault",
];

/// Does what is due.
pub(crate) fn run_round(shared: &Arc<Shared>) {
    if !shared.due.is_look_due() {
        return;
    }
    if shared.due.is_promise_due() {
        // Another node may have promised more; whoever removes something asks what is known here.
        for (name, vault) in shared.config.vaults.iter() {
            report(shared, &about("what was promised", name), &vault.load_promises());
        }
    }
    if !shared.config.membership.has_duty("upkeep") {
        // What was wrong here is another node's to say now.
        for (name, _) in shared.config.vaults.iter() {
            DUTIES.iter().for_each(|what| shared.troubles.clear(&about(what, name)));
        }
        return;
    }
    let is_merging = shared.due.is_merging_due();
    for (name, vault) in shared.config.vaults.iter() {
        let of = |what: &str| about(what, name);
        let now = shared.config.clock.now().as_second();
        report(shared, &of("checking the vault"), &vault.check_some(now).map(drop));
        if is_merging {
            report(shared, &of("merging oplog segments"), &merge_segments(shared, vault));
        }
        if shared.due.is_pruning_due(name) {
            let outcome = prune(vault);
            if matches!(outcome, Ok(true)) {
                shared.due.note_pruning(name);
            }
            report(shared, &of("removing what no snapshot needs"), &outcome.map(drop));
        }
        report(shared, &of("sealing with the newest key"), &reseal(shared, vault));
        tell_health(shared, &of("vault"), &vault.health());
    }
}

/// What is said of a vault.
fn about(what: &str, vault: Option<&str>) -> String {
    vault.map_or_else(|| what.to_owned(), |vault| format!("{what} (vault {vault})"))
}

/// Says what is wrong with a vault, or that nothing is.
fn tell_health(shared: &Shared, about: &str, health: &VaultHealth) {
    if health.is_well() {
        return shared.troubles.clear(about);
    }
    let mut parts = Vec::new();
    for (pack, reason) in &health.unreadable_packs {
        parts.push(format!("{pack} cannot be read ({reason})"));
    }
    for (snapshot, chunks) in &health.lost {
        parts.push(format!("snapshot {snapshot} lacks {chunks} chunks"));
    }
    if health.bad_chunks > 0 {
        parts.push(format!("{} chunks are damaged", health.bad_chunks));
    }
    let text = format!("the {about} is damaged; run `tidemark vault verify`: {}", parts.join("; "));
    shared.troubles.warn(about, text);
}

fn report(shared: &Shared, what: &str, outcome: &Result<(), VaultError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, what, "the vault could not be looked after");
    }
    match outcome {
        // What is damaged stops no other work, and is nothing that another node or a later try mends.
        Err(error) if error.is_damage() => shared.troubles.warn(what, format!("{what}: {error}")),
        outcome => shared.troubles.note(what, outcome),
    }
}

fn merge_segments(shared: &Shared, vault: &Vault) -> Result<(), VaultError> {
    vault.load_promises()?;
    let now = u32::try_from(shared.config.clock.now().as_second()).unwrap_or(u32::MAX);
    let before = OplogTime::new(now.saturating_sub(MERGE_AFTER_SECONDS), 0);
    for instance in vault.captured_instances()? {
        for _ in 0..MERGES {
            if shared.stop.is_requested() || !vault.merge_segments(&instance, before)? {
                break;
            }
        }
    }
    Ok(())
}

/// Seals anew what older keys sealed, a part of it in each round.
fn reseal(shared: &Shared, vault: &Vault) -> Result<(), VaultError> {
    let end = Instant::now() + RESEALING;
    let go_on = || Instant::now() < end && !shared.stop.is_requested();
    if let Some(report) = vault.reseal(go_on)? {
        let ResealReport { resealed, kept, failed } = report;
        tracing::info!(
            resealed,
            kept,
            failed,
            "the vault was sealed with its newest key; `tidemark keys retire` removes the older ones"
        );
    }
    Ok(())
}

/// Removes what no snapshot needs; answers whether that was possible.
fn prune(vault: &Vault) -> Result<bool, VaultError> {
    let report = vault.prune(PRUNE_GRACE)?;
    match report {
        PruneReport::Removed(packs) if packs > 0 => {
            tracing::info!(packs, "unused packs were removed");
        }
        PruneReport::Stopped(snapshots) => {
            tracing::warn!(
                snapshots,
                "nothing is pruned: snapshots name chunks that the vault lacks"
            );
        }
        PruneReport::Removed(_) | PruneReport::Busy => {}
    }
    Ok(report != PruneReport::Busy)
}
