//! What a restore would do, without doing any of it.

use std::collections::BTreeSet;

use tidemark_deployment::{CollectionListing, Connection, list_collections, probe};
use tidemark_model::{Cause, Failure};

use super::Restore;
use crate::error::MoverError;

/// What becomes of one namespace of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeseenNamespace {
    /// Its name in the source.
    pub from: String,
    /// Its name in the target.
    pub to: String,
    /// `collection`, `view` or `timeseries`.
    pub kind: String,
    /// Documents in the snapshot.
    pub documents: u64,
    /// Bytes of documents in the snapshot.
    pub bytes: u64,
    /// Whether it takes the place of something.
    pub replaces: bool,
}

/// What a restore would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// What is put into the target. What is created or renamed in the replayed part of the oplog
    /// only is not among it.
    pub namespaces: Vec<ForeseenNamespace>,
    /// What the target has beside it and loses.
    pub dropped: Vec<String>,
    /// What the target has beside it and keeps.
    pub kept: Vec<String>,
    /// Entries of the oplog that are replayed.
    pub entries: u64,
    /// Whether all collections take their places in one commit.
    pub is_atomic: bool,
    /// Why it would fail, if it would.
    pub obstacles: Vec<Failure>,
}

impl Restore<'_> {
    /// Finds out what the restore would do. Reads entries and the lists of both sides, no documents;
    /// writes nothing.
    pub fn foresee(&self) -> Result<Foreseen, MoverError> {
        let mut obstacles = Vec::new();
        match self.check_target() {
            Err(error @ MoverError::Unsupported { .. }) => obstacles.push(error.to_failure()),
            outcome => drop(outcome?),
        }
        let verified = match self.verify_entries() {
            Ok(verified) => Some(verified),
            Err(error @ (MoverError::Link(_) | MoverError::Stopped)) => return Err(error),
            Err(error) => {
                obstacles.push(error.to_failure());
                None
            }
        };
        let mut connection = Connection::open(&self.endpoint)?;
        let abilities = probe(&mut connection)?;
        let (is_atomic, target) = (abilities.atomic_renames, abilities.product);
        let present: BTreeSet<String> =
            list_collections(&mut connection)?.iter().map(CollectionListing::namespace).collect();
        let mut namespaces = Vec::new();
        for collection in &self.source.manifest.collections {
            let from = collection.namespace();
            let Some(to) = self.source.selection.target_of(&from) else { continue };
            if let Err(error) = self.check_kind((&from, &collection.kind), target) {
                obstacles.push(error.to_failure());
            }
            namespaces.push(ForeseenNamespace {
                replaces: present.contains(&to),
                from,
                to,
                kind: collection.kind.clone(),
                documents: collection.content.documents,
                bytes: collection.content.bytes,
            });
        }
        let names: Vec<String> = namespaces.iter().map(|found| found.from.clone()).collect();
        if let Err(error) = self.source.selection.check(&names) {
            obstacles.push(Failure::new(Cause::Selection, error));
        }
        if names.is_empty() && !self.source.selection.is_everything() {
            let what = "the snapshot holds none of the selected namespaces";
            obstacles.push(Failure::new(Cause::Selection, what));
        }
        let is_put = |name: &String| namespaces.iter().any(|found| found.to == *name);
        let others: Vec<String> = present.into_iter().filter(|name| !is_put(name)).collect();
        let (dropped, kept) = if self.source.selection.is_everything() {
            (others, Vec::new())
        } else {
            (Vec::new(), others)
        };
        let entries = verified.map_or(0, |verified| verified.visited.count);
        Ok(Foreseen { namespaces, dropped, kept, entries, is_atomic, obstacles })
    }
}
