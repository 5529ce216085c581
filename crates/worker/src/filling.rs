//! Filling a scratch database with a backup: what it can hold of it, and what not.

use std::sync::Arc;

use bson::{Bson, Document};
use tidemark_catalog::Instance;
use tidemark_deployment::Endpoint;
use tidemark_model::{BackupPoint, NotRestored, OplogTime, Rule, Selection};
use tidemark_mover::{
    Attempt, Expected, MoverError, Progress, Restore, RestoreSource, Stop, forget_swap, swap_stage,
};
use tidemark_vault::{Manifest, Vault};

use crate::moments::{MomentError, Moments};

/// Options of collections that say what documents are like, and that a scratch database does not know.
const SPECIAL_OPTIONS: &[&str] =
    &["capped", "clusteredIndex", "collation", "encryptedFields", "timeseries", "viewOn"];
/// Options that it knows.
const KNOWN_OPTIONS: &[&str] = &["validator", "validationLevel", "validationAction"];
const KNOWN_INDEX_OPTIONS: &[&str] = &[
    "v",
    "key",
    "name",
    "ns",
    "background",
    "unique",
    "sparse",
    "expireAfterSeconds",
    "partialFilterExpression",
    "hidden",
];

/// What a scratch database shows.
#[derive(Debug)]
pub struct Filled {
    /// What it does not hold of the backup.
    pub left_out: Vec<NotRestored>,
    /// The moment of it, if the backup shows one.
    pub shows: Option<OplogTime>,
}

impl Moments {
    /// Brings a backup back into a scratch database by the name of who asks, all of it or some namespaces, as
    /// a restore job does.
    pub fn fill(
        &self,
        (instance, point, wanted): (&Instance, BackupPoint, &Selection),
        (endpoint, name): (&Endpoint, &str),
        (stop, progress): (&Stop, &Progress),
    ) -> Result<Filled, MomentError> {
        let backup = self.source(instance, point, stop)?;
        let shows = match &backup.replay {
            Some(replay) => Some(replay.plan.reaches),
            None => backup.manifest.mode.consistent_at(),
        };
        let (manifest, left_out) = restorable(&backup.manifest);
        let selection = if wanted.is_everything() {
            selection_of(&manifest, &left_out)?
        } else {
            wanted.clone()
        };
        let is_wanted = |left: &NotRestored| wanted.target_of(&left.namespace).is_some();
        let left_out = left_out.into_iter().filter(is_wanted).collect();
        let filled = Filled { left_out, shows };
        if manifest.collections.is_empty() && backup.replay.is_none() {
            return Ok(filled);
        }
        let source = RestoreSource { manifest, replay: backup.replay.clone(), selection };
        let attempt = Attempt { job: name.to_owned(), number: 1 };
        let from = (&backup.vault, source);
        let is_verified = || Ok::<_, MoverError>(());
        bring_back(from, (endpoint, attempt), (stop, progress), is_verified)?;
        forget_swap(endpoint, name)?;
        Ok(filled)
    }
}

/// Restores a backup into a scratch database as a restore job does; answers what must be there then. It is
/// asked in between, once everything was read and before anything is written.
pub(crate) fn bring_back<E: From<MoverError>>(
    (vault, source): (&Arc<Vault>, RestoreSource),
    (endpoint, attempt): (&Endpoint, Attempt),
    (stop, progress): (&Stop, &Progress),
    is_verified: impl FnOnce() -> Result<(), E>,
) -> Result<Vec<Expected>, E> {
    let job = attempt.job.clone();
    let mut restore = Restore::new(vault, endpoint.clone(), (attempt, source), stop, progress);
    let verified = restore.verify()?;
    is_verified()?;
    restore.stage(&verified)?;
    restore.replay(&verified)?;
    restore.build_indexes()?;
    restore.compare()?;
    stop.check()?;
    let expected = restore.expected();
    swap_stage(endpoint, &job)?;
    Ok(expected)
}

/// The part of a backup that a scratch database can hold, and the rest.
pub(crate) fn restorable(manifest: &Manifest) -> (Manifest, Vec<NotRestored>) {
    let (mut kept, mut left) = (manifest.clone(), Vec::new());
    kept.collections.retain_mut(|collection| {
        let namespace = collection.namespace();
        let mut leave = |kind: &str, reason: String| {
            left.push(NotRestored { namespace: namespace.clone(), kind: kind.to_owned(), reason });
        };
        let special =
            SPECIAL_OPTIONS.iter().find(|option| collection.options.contains_key(*option));
        match (collection.kind.as_str(), special) {
            ("collection", None) if collection.name.starts_with("system.") => {
                leave(
                    "collection",
                    "the scratch database has no collections of a server's own".to_owned(),
                );
                return false;
            }
            ("collection", None) => {}
            ("collection", Some(option)) => {
                leave("collection", format!("the scratch database does not know {option}"));
                return false;
            }
            (kind, _) => {
                leave(kind, format!("the scratch database has no {kind}"));
                return false;
            }
        }
        let strange: Vec<String> = collection
            .options
            .keys()
            .filter(|o| !KNOWN_OPTIONS.contains(&o.as_str()))
            .cloned()
            .collect();
        for option in strange {
            collection.options.remove(&option);
            leave("option", format!("the scratch database does not know the option {option}"));
        }
        collection.indexes.retain(|index| {
            let is_known = is_known_index(index);
            if !is_known {
                let name = index.get_str("name").unwrap_or_default();
                leave("index", format!("the scratch database has no index like {name}"));
            }
            is_known
        });
        true
    });
    (kept, left)
}

/// Whether a scratch database has indexes like one.
fn is_known_index(index: &Document) -> bool {
    let is_plain =
        |(path, kind): (&String, &Bson)| !path.contains("$**") && !matches!(kind, Bson::String(_));
    index.keys().all(|option| KNOWN_INDEX_OPTIONS.contains(&option.as_str()))
        && index.get_document("key").is_ok_and(|key| key.iter().all(is_plain))
}

/// Everything, unless something was left out: then exactly what was not.
pub(crate) fn selection_of(
    manifest: &Manifest,
    left: &[NotRestored],
) -> Result<Selection, MoverError> {
    let is_whole = |left: &NotRestored| matches!(left.kind.as_str(), "option" | "index");
    if left.iter().all(is_whole) {
        return Ok(Selection::everything());
    }
    let rule = |namespace: String| Rule { from: namespace.clone(), to: namespace };
    let rules = manifest.collections.iter().map(|collection| rule(collection.namespace()));
    Selection::new(rules.collect()).map_err(|error| MoverError::Lookup { what: error.to_string() })
}
