//! What restores would do, for the API.

use std::sync::Arc;

use tidemark_actions::restore_jobs::Wish;
use tidemark_actions::{Rehearsal, Rehearsed, RehearsedNamespace, RehearsedStep};
use tidemark_catalog::Instance;
use tidemark_model::{RestorePlan, SnapshotId};
use tidemark_mover::{
    Attempt, Foreseen, ForeseenNamespace, MoverError, Progress, Replay, Restore, RestoreSource,
    Stop,
};
use tidemark_vault::Vaults;
use tidemark_worker::Deployments;

/// What is assumed of a target to say how long a restore takes, until one has shown better.
const BYTES_PER_SECOND: u64 = 40_000_000;
const ENTRIES_PER_SECOND: u64 = 10_000;

/// Looks at vault and target.
pub(crate) struct Rehearser {
    pub(crate) vaults: Vaults,
    pub(crate) deployments: Arc<dyn Deployments>,
}

impl std::fmt::Debug for Rehearser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rehearser")
    }
}

impl Rehearsal for Rehearser {
    fn rehearse(
        &self,
        source: &Instance,
        target: &Instance,
        (snapshot, plan): (SnapshotId, Option<RestorePlan>),
        wish: &Wish,
    ) -> Result<Rehearsed, String> {
        let look = || -> Result<Foreseen, MoverError> {
            let vault = self.vaults.find(source.vault.as_deref())?;
            let manifest = vault.load_manifest(&snapshot.to_string())?;
            let replay = plan.map(|plan| Replay { instance: source.id.to_string(), plan });
            let what = RestoreSource { manifest, replay, selection: wish.selection.clone() };
            let endpoint = self.deployments.endpoint(target).ok_or(MoverError::StageLost)?;
            // A name that no job has; nothing gets it.
            let attempt = Attempt { job: "rehearsal".to_owned(), number: 0 };
            let (stop, progress) = (Stop::new(), Progress::default());
            let restore = Restore::new(vault, endpoint, (attempt, what), &stop, &progress);
            if wish.replaces_in_place {
                restore.allow_replacing_in_place().foresee()
            } else {
                restore.foresee()
            }
        };
        let foreseen = look().map_err(|error| match error {
            MoverError::StageLost => "the target does not run".to_owned(),
            error => error.to_string(),
        })?;
        Ok(describe(foreseen, snapshot, plan))
    }
}

fn describe(foreseen: Foreseen, snapshot: SnapshotId, plan: Option<RestorePlan>) -> Rehearsed {
    let bytes: u64 = foreseen.namespaces.iter().map(|found| found.bytes).sum();
    let documents: u64 = foreseen.namespaces.iter().map(|found| found.documents).sum();
    let entries = foreseen.entries;
    let swap = if foreseen.is_atomic {
        "all collections take their places in one commit"
    } else {
        "one collection after another takes its place: for a moment readers see some as they were and some as they are restored"
    };
    let does = |step, what| RehearsedStep { step, what: Some(what), ..RehearsedStep::default() };
    let mut steps = vec![
        does("verify", "every chunk is read and hashed, every entry parsed"),
        RehearsedStep {
            step: "stage",
            bytes: Some(bytes),
            documents: Some(documents),
            ..RehearsedStep::default()
        },
    ];
    if plan.is_some() {
        let entries = Some(entries);
        steps.push(RehearsedStep { step: "replay", entries, ..RehearsedStep::default() });
    }
    steps.extend([
        does("index", "indexes are built"),
        does("compare", "what is staged is read and compared with what it must hold"),
        does("swap", swap),
    ]);
    let namespace = |found: ForeseenNamespace| RehearsedNamespace {
        bytes: found.bytes,
        documents: found.documents,
        from: found.from,
        kind: found.kind,
        replaces: found.replaces,
        to: found.to,
    };
    Rehearsed {
        bytes,
        documents,
        dropped: foreseen.dropped,
        entries,
        estimated_seconds: bytes / BYTES_PER_SECOND + entries / ENTRIES_PER_SECOND + 1,
        is_atomic: foreseen.is_atomic,
        kept: foreseen.kept,
        namespaces: foreseen.namespaces.into_iter().map(namespace).collect(),
        obstacles: foreseen.obstacles,
        snapshot_id: snapshot,
        steps,
    }
}
