//! What restores would do, for the API.

use std::sync::Arc;

use tidemark_actions::restore_jobs::{Ask, Wish};
use tidemark_actions::{DocumentsThere, Rehearsal, Rehearsed, RehearsedNamespace, RehearsedStep};
use tidemark_catalog::Instance;
use tidemark_model::{BackupPoint, Cause, DocumentChoice, Failure, RestorePlan, SnapshotId};
use tidemark_mover::{
    Attempt, DocumentRestore, Foreseen, ForeseenNamespace, MoverError, Progress, Replay, Restore,
    RestoreSource, Stop, filter_of,
};
use tidemark_vault::Vaults;
use tidemark_worker::{Deployments, Moments};

/// What is assumed of a target to say how long a restore takes, until one has shown better.
const BYTES_PER_SECOND: u64 = 40_000_000;
const ENTRIES_PER_SECOND: u64 = 10_000;

/// Looks at vault and target.
pub(crate) struct Rehearser {
    pub(crate) vaults: Vaults,
    pub(crate) deployments: Arc<dyn Deployments>,
    pub(crate) moments: Moments,
}

impl std::fmt::Debug for Rehearser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rehearser")
    }
}

fn does_not_run() -> Failure {
    Failure::new(Cause::Unreachable, "the target does not run")
}

impl Rehearsal for Rehearser {
    fn rehearse(
        &self,
        source: &Instance,
        target: &Instance,
        (snapshot, plan): (SnapshotId, Option<RestorePlan>),
        wish: &Wish,
    ) -> Result<Rehearsed, Failure> {
        if let Some(choice) = &wish.documents {
            let point = match wish.ask {
                Ask::PointInTime { moment, .. } => BackupPoint::Moment(moment, Some(snapshot)),
                _ => BackupPoint::Snapshot(snapshot),
            };
            return self.rehearse_documents((source, target), (point, snapshot), choice);
        }
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
            MoverError::StageLost => does_not_run(),
            error => error.to_failure(),
        })?;
        Ok(describe(foreseen, snapshot, plan))
    }

    fn check_documents(&self, choice: &DocumentChoice) -> Result<(), String> {
        let filter = filter_of(choice).map_err(|error| error.to_string())?;
        self.deployments.matcher(&filter).map(drop)
    }
}

impl Rehearser {
    /// What bringing documents back would meet. The backup is read as the restore reads it.
    fn rehearse_documents(
        &self,
        (source, target): (&Instance, &Instance),
        (point, snapshot): (BackupPoint, SnapshotId),
        choice: &DocumentChoice,
    ) -> Result<Rehearsed, Failure> {
        let (stop, progress) = (Stop::new(), Progress::default());
        let opened = self.moments.open(source, point, &stop);
        let opened = opened.map_err(|error| error.to_failure())?;
        let endpoint = self.deployments.endpoint(target).ok_or_else(does_not_run)?;
        let filter = filter_of(choice).map_err(|error| error.to_failure())?;
        let matches = self.deployments.matcher(&filter);
        let restore = DocumentRestore {
            vault: &opened.vault,
            manifest: &opened.manifest,
            choice,
            matches: &matches.map_err(|what| Failure::new(Cause::Lookup, what))?,
            endpoint: &endpoint,
            stop: &stop,
            progress: &progress,
        };
        let found = restore.look().map_err(|error| error.to_failure())?;
        let obstacles = restore.check(&found).err().map(|error| error.to_failure());
        let does =
            |step, what| RehearsedStep { step, what: Some(what), ..RehearsedStep::default() };
        Ok(Rehearsed {
            bytes: found.bytes,
            documents: found.documents,
            documents_there: Some(DocumentsThere {
                different: found.different,
                equal: found.equal,
            }),
            dropped: Vec::new(),
            entries: 0,
            estimated_seconds: found.bytes / BYTES_PER_SECOND + 1,
            is_atomic: false,
            kept: Vec::new(),
            namespaces: vec![RehearsedNamespace {
                bytes: found.bytes,
                documents: found.documents,
                from: choice.namespace.clone(),
                kind: "documents".to_owned(),
                replaces: false,
                to: choice.to.clone(),
            }],
            obstacles: obstacles.into_iter().collect(),
            snapshot_id: snapshot,
            steps: vec![
                does(
                    "verify",
                    "the documents are read from the vault and looked for at the target",
                ),
                RehearsedStep {
                    step: "write",
                    bytes: Some(found.bytes),
                    documents: Some(found.documents),
                    ..RehearsedStep::default()
                },
            ],
        })
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
        documents_there: None,
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
