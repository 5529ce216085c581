//! Looking after the vault: reading packs again, merging segments, removing what nobody needs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidemark_model::OplogTime;
use tidemark_vault::{PruneReport, VaultError};

use crate::worker::Shared;

/// A pack that no snapshot names is kept this long.
const PRUNE_GRACE: Duration = Duration::from_hours(24);
/// Segments are merged when they are older than this.
const MERGE_AFTER_SECONDS: u32 = 600;
/// Merges of one instance in a round.
const MERGES: usize = 50;

/// Time between two looks at the vault.
const INTERVAL: Duration = Duration::from_secs(20);
/// Time between two trims of all oplogs.
const TRIM_INTERVAL: Duration = Duration::from_secs(30);
/// Packs that were young become old enough to be removed.
const PRUNE_INTERVAL: Duration = Duration::from_hours(24);

/// When what was done last.
#[derive(Default)]
pub(crate) struct Upkeep(Mutex<Times>);

#[derive(Default)]
struct Times {
    look: Option<Instant>,
    trim: Option<Instant>,
    prune: Option<Instant>,
}

impl Upkeep {
    fn lock(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for pruning: something was removed that needed packs.
    pub(crate) fn want_pruning(&self) {
        let mut times = self.lock();
        times.prune = None;
        times.look = None;
    }

    /// Whether oplogs are to be trimmed again.
    pub(crate) fn is_trimming_due(&self) -> bool {
        let mut times = self.lock();
        let is_due = times.trim.is_none_or(|at| at.elapsed() >= TRIM_INTERVAL);
        if is_due {
            times.trim = Some(Instant::now());
        }
        is_due
    }

    fn is_due(&self) -> bool {
        let mut times = self.lock();
        let is_due = times.look.is_none_or(|at| at.elapsed() >= INTERVAL);
        if is_due {
            times.look = Some(Instant::now());
        }
        is_due
    }
}

/// Does what is due.
pub(crate) fn run_round(shared: &Arc<Shared>) {
    if !shared.upkeep.is_due() {
        return;
    }
    let now = shared.config.clock.now().as_second();
    let checked = shared.config.vault.check_some(now).map(drop);
    report(shared, "checking the vault", &checked);
    report(shared, "merging oplog segments", &merge_segments(shared));
    report(shared, "removing what no snapshot needs", &prune(shared));
    let health = shared.config.vault.health();
    if health.is_well() {
        return shared.troubles.clear("vault");
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
    let text = format!("the vault is damaged; run `tidemark vault verify`: {}", parts.join("; "));
    shared.troubles.warn("vault", text);
}

fn report(shared: &Shared, what: &str, outcome: &Result<(), VaultError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, what, "the vault could not be looked after");
    }
    shared.troubles.note(what, outcome);
}

fn merge_segments(shared: &Shared) -> Result<(), VaultError> {
    let now = u32::try_from(shared.config.clock.now().as_second()).unwrap_or(u32::MAX);
    let before = OplogTime::new(now.saturating_sub(MERGE_AFTER_SECONDS), 0);
    for instance in shared.config.vault.captured_instances()? {
        for _ in 0..MERGES {
            if shared.stop.is_requested()
                || !shared.config.vault.merge_segments(&instance, before)?
            {
                break;
            }
        }
    }
    Ok(())
}

fn prune(shared: &Shared) -> Result<(), VaultError> {
    if shared.upkeep.lock().prune.is_some_and(|at| at.elapsed() < PRUNE_INTERVAL) {
        return Ok(());
    }
    let report = shared.config.vault.prune(PRUNE_GRACE)?;
    if report != PruneReport::Busy {
        shared.upkeep.lock().prune = Some(Instant::now());
    }
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
    Ok(())
}
