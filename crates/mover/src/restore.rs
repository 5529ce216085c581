//! Restoring a deployment: verify, stage, replay, index, compare, swap.
//!
//! Documents go into staging collections under the snapshot's chunks as they are. Until the swap
//! the target's own collections are not touched; `discard_stage` removes every trace of a restore
//! that was given up. The swap leaves a record of the job: only where it stands has the swap
//! happened.

mod attempt;
mod compare;
mod entries;
mod foresee;
mod swap;

use std::iter::Peekable;
use std::sync::Arc;

use tidemark_model::{OplogTime, Selection, chain};
use tidemark_vault::{ChunkRef, CollectionManifest, ListItem, Manifest, Vault};

use self::attempt::{MARKER_DATABASE, Names};
use self::entries::Visited;
use self::swap::try_series;
use crate::error::MoverError;
use crate::indexes::wanted_indexes;
use crate::parts::in_parallel;
use crate::proof::Expected;
use crate::replay::{Checker, Replayer, Stage, StageTarget, Staged};
use crate::server_collections::{is_functions, is_time_series, keeps_empty_timestamps};
use crate::stop::{Progress, Stop};
use crate::wanted::Wanted;
use tidemark_deployment::{Connection, Endpoint, Product, Sent, TIME_SERIES};
use tidemark_deployment::{is_stage, probe};

pub use self::attempt::Attempt;
pub(crate) use self::entries::Entries;
pub use self::entries::Replay;
pub use self::foresee::{Foreseen, ForeseenNamespace};
pub(crate) use self::swap::is_record_of_swaps;
pub use self::swap::{
    Look, discard_attempt, discard_stage, forget_swap, list_stages, swap_stage, was_swapped,
};

/// Parts of collections that are loaded at the same time.
const LOADERS: usize = 3;
/// Bytes of one insert.
const INSERT_BYTES: usize = 4 * 1024 * 1024;
/// Documents of one insert, the protocol's limit.
const INSERT_DOCUMENTS: u32 = 100_000;

/// What is restored.
#[derive(Debug, Clone)]
pub struct RestoreSource {
    /// The snapshot.
    pub manifest: Manifest,
    /// The oplog to replay on it; `None` for the snapshot as it is.
    pub replay: Option<Replay>,
    /// What of it is restored. With everything, what the target has beside it is dropped; otherwise
    /// it stays.
    pub selection: Selection,
}

/// A restore in progress.
pub struct Restore<'a> {
    vault: &'a Arc<Vault>,
    endpoint: Endpoint,
    attempt: Attempt,
    names: Names,
    source: RestoreSource,
    may_replace_in_place: bool,
    stage: Stage,
    stop: &'a Stop,
    progress: &'a Progress,
}

/// The proof that everything a restore needs is whole and can be restored.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    visited: Visited,
    /// From where transactions are replayed that were open at the snapshot's moment.
    earliest: Option<OplogTime>,
    wanted: Wanted,
}

impl<'a> Restore<'a> {
    /// A restore that has done nothing yet.
    pub fn new(
        vault: &'a Arc<Vault>,
        endpoint: Endpoint,
        (attempt, source): (Attempt, RestoreSource),
        stop: &'a Stop,
        progress: &'a Progress,
    ) -> Self {
        let names = Names::on(&endpoint);
        let stage = Stage::new(names.of_attempt(&attempt), Wanted::default(), false);
        Self {
            vault,
            endpoint,
            attempt,
            names,
            source,
            may_replace_in_place: false,
            stage,
            stop,
            progress,
        }
    }

    /// Where the target cannot rename, documents may be replaced where they are: until the end of the
    /// swap readers see collections that are half filled.
    #[must_use]
    pub fn allow_replacing_in_place(self) -> Self {
        Self { may_replace_in_place: true, ..self }
    }

    /// What the target must hold once the restore is done: what was staged, after the replay.
    pub fn expected(&self) -> Vec<Expected> {
        let target = |namespace: &str| self.stage.wanted.target_of(namespace);
        let staged = self.stage.collections.iter();
        staged
            .filter_map(|(namespace, staged)| {
                Some(Expected {
                    namespace: target(namespace)?,
                    content: staged.content,
                    indexes: staged.indexes.clone(),
                })
            })
            .collect()
    }

    /// Reads everything that the restore needs and proves that it is whole and that all of it can be
    /// restored. Writes nothing.
    pub fn verify(&self) -> Result<Verified, MoverError> {
        let target = self.check_target()?;
        let verified = self.verify_entries()?;
        let mut manifest = self.source.manifest.clone();
        let is_wanted = |collection: &CollectionManifest| {
            verified.wanted.database_for(&collection.namespace()).is_some()
        };
        manifest.collections.retain(is_wanted);
        for collection in &manifest.collections {
            self.check_kind((&collection.namespace(), &collection.kind), target)?;
        }
        let namespaces: Vec<String> =
            manifest.collections.iter().map(CollectionManifest::namespace).collect();
        if self.source.replay.is_none() {
            check_selection(&verified.wanted, &namespaces)?;
        }
        // What they hold is compared with the manifest where they are loaded, before the swap:
        // `a_chunk_that_holds_something_else_is_never_swapped_in`.
        self.vault.check_seals(&manifest, || !self.stop.is_requested())?;
        self.stop.check()?;
        Ok(verified)
    }

    /// What the target is. Refuses one in which nothing can take the place of what is there.
    fn check_target(&self) -> Result<Product, MoverError> {
        // An engine of ours is not asked what it can do.
        if matches!(self.endpoint, Endpoint::Embedded(_)) {
            return Ok(Product::Tidemark);
        }
        let abilities = probe(&mut Connection::open(&self.endpoint)?)?;
        if abilities.renames || self.may_replace_in_place {
            return Ok(abilities.product);
        }
        Err(MoverError::Unsupported {
            what: "into a deployment that cannot rename collections, unless it may replace them in place (`replaceInPlace`)".to_owned(),
        })
    }

    /// Looks at every entry that is replayed.
    fn verify_entries(&self) -> Result<Verified, MoverError> {
        let mut earliest = None;
        loop {
            let mut checker = Checker::default();
            let visited = self.entries(earliest).for_each(|visit| checker.push(&visit));
            match visited {
                // A transaction that was open at the snapshot's moment: its parts lie before that.
                Err(MoverError::CutTransaction { before, .. })
                    if earliest.is_none_or(|earliest| before < earliest)
                        && self.is_captured(before)? =>
                {
                    earliest = Some(before);
                }
                visited => {
                    let mut wanted = Wanted::new(self.source.selection.clone());
                    wanted.follow(checker.renames());
                    return Ok(Verified { visited: visited?, earliest, wanted });
                }
            }
        }
    }

    /// Refuses what cannot be restored into the target.
    fn check_kind(
        &self,
        (namespace, kind): (&str, &str),
        target: Product,
    ) -> Result<(), MoverError> {
        let is_possible = match kind {
            // The engine has none of its server's own.
            "collection" => !(is_functions(namespace) && target == Product::Tidemark),
            // Nor views.
            "view" => matches!(self.endpoint, Endpoint::Attached(_)),
            TIME_SERIES => target == Product::MongoDb,
            _ => false,
        };
        if is_possible {
            return Ok(());
        }
        let kind = match kind {
            TIME_SERIES => "time series",
            "collection" => "collection of stored functions",
            other => other,
        };
        let what = format!("{namespace}, which is a {kind}, into this target");
        Err(MoverError::Unsupported { what })
    }

    /// Whether the captured segments that are replayed, or what leads to them, hold a position.
    fn is_captured(&self, position: OplogTime) -> Result<bool, MoverError> {
        let Some(Replay { instance, plan }) = &self.source.replay else { return Ok(false) };
        Ok(chain(&self.vault.segments(instance)?, position, plan.reaches).is_ok())
    }

    fn entries(&self, earliest: Option<OplogTime>) -> Entries<'_> {
        let RestoreSource { manifest, replay, .. } = &self.source;
        Entries { vault: self.vault, manifest, replay: replay.as_ref(), earliest, stop: self.stop }
    }

    /// Loads the snapshot's documents into staging collections.
    pub fn stage(&mut self, verified: &Verified) -> Result<(), MoverError> {
        discard_stage(&self.endpoint, &self.attempt.job)?;
        let mut connection = Connection::open(&self.endpoint)?;
        connection
            .command(MARKER_DATABASE, bson::doc! { "create": self.names.marker(&self.attempt) })?;
        swap::prepare_records(&mut connection, self.names)?;
        let is_bulk = probe(&mut connection)?.bulk_staging;
        let wanted = verified.wanted.clone();
        self.stage = Stage::new(self.names.of_attempt(&self.attempt), wanted, is_bulk);
        self.stage.keeps_empty_timestamps = keeps_empty_timestamps(
            &mut connection,
            (MARKER_DATABASE, &self.names.marker(&self.attempt)),
        )?;
        let all = &self.source.manifest.collections;
        let (views, collections): (Vec<_>, Vec<_>) =
            all.iter().cloned().partition(|collection| collection.kind == "view");
        for view in views {
            self.stage.add_view(&view.namespace(), view.options);
        }
        for collection in &collections {
            self.stage.create(
                &mut connection,
                &collection.namespace(),
                collection.options.clone(),
            )?;
            if let Some(staged) = self.stage.collections.get_mut(&collection.namespace()) {
                staged.content = collection.content;
                staged.indexes.clone_from(&collection.indexes);
            }
        }
        let is_staged =
            |c: &&CollectionManifest| self.stage.collections.contains_key(&c.namespace());
        self.progress.expect(collections.iter().filter(is_staged).map(|c| c.content.bytes).sum());
        self.load(&collections)?;
        for namespace in self.stage.collections.keys() {
            self.stop.check()?;
            self.stage.complete(&mut connection, namespace)?;
        }
        Ok(())
    }

    /// Loads all collections on several connections; a large one is loaded by all of them.
    fn load(&self, collections: &[CollectionManifest]) -> Result<(), MoverError> {
        let parts: Vec<(&CollectionManifest, &[ListItem])> = collections
            .iter()
            .flat_map(|collection| {
                let both_chunks = |before: &ListItem, next: &ListItem| {
                    matches!((before, next), (ListItem::Chunk(_), ListItem::Chunk(_)))
                };
                let parts = collection.chunks.items.chunk_by(both_chunks);
                parts.map(move |part| (collection, part))
            })
            .collect();
        in_parallel((&self.endpoint, LOADERS), &parts, |connection, (collection, part)| {
            self.load_part(connection, collection, part)
        })?;
        Ok(())
    }

    /// Inserts a part of a collection, in its order.
    fn load_part(
        &self,
        connection: &mut Connection,
        collection: &CollectionManifest,
        items: &[ListItem],
    ) -> Result<(), MoverError> {
        let Some(staged) = self.stage.collections.get(&collection.namespace()) else {
            return Ok(());
        };
        self.progress.enter(&collection.namespace());
        let mut chunks = Vec::new();
        for item in items {
            chunks.extend(self.vault.load_item(item)?);
        }
        let mut command = bson::doc! {
            "insert": &staged.name,
            "ordered": true,
            "bypassDocumentValidation": true,
            "writeConcern": { "w": 1, "j": false },
        };
        if self.stage.keeps_empty_timestamps {
            command.insert("bypassEmptyTsReplacement", true);
        }
        let mut in_flight: Option<Sent> = None;
        let mut chunks = chunks.iter().peekable();
        while chunks.peek().is_some() {
            // The next batch is made while the server works on the one before.
            let (batch, documents) = self.next_batch(&mut chunks)?;
            if let Some(sent) = in_flight.take() {
                connection.finish_write(sent)?;
            }
            let run = ("documents", batch.as_slice());
            in_flight = Some(connection.begin_write(&staged.database, command.clone(), run)?);
            self.progress.add(u64::from(documents), batch.len() as u64);
        }
        Ok(in_flight.map_or(Ok(()), |sent| connection.finish_write(sent))?)
    }

    /// Reads chunks until they fill an insert.
    fn next_batch<'c>(
        &self,
        chunks: &mut Peekable<impl Iterator<Item = &'c ChunkRef>>,
    ) -> Result<(Vec<u8>, u32), MoverError> {
        let (mut batch, mut documents) = (Vec::new(), 0);
        let fits = |batch: &Vec<u8>, documents: u32, chunk: &ChunkRef| {
            batch.is_empty()
                || (batch.len() + chunk.bytes as usize <= INSERT_BYTES
                    && documents + chunk.documents <= INSERT_DOCUMENTS)
        };
        while let Some(chunk) = chunks.next_if(|chunk| fits(&batch, documents, chunk)) {
            self.stop.check()?;
            batch.extend(self.vault.read_chunk(chunk.id)?);
            documents += chunk.documents;
        }
        Ok((batch, documents))
    }

    /// Replays the oplog: the snapshot's own, then what was captured, through the wanted position.
    pub fn replay(&mut self, verified: &Verified) -> Result<(), MoverError> {
        let mut connection = Connection::open(&self.endpoint)?;
        let mut stage = std::mem::take(&mut self.stage);
        let target = StageTarget { connection: &mut connection, stage: &mut stage };
        let mut replayer = Replayer::new(target, self.stop);
        let outcome = self
            .entries(verified.earliest)
            .for_each(|visit| replayer.push(&visit))
            .and_then(|visited| replayer.finish().map(|_| visited));
        self.stage = stage;
        let replayed = outcome?;
        if replayed != verified.visited {
            let end = |visited: Visited| {
                let last =
                    visited.last.map_or_else(|| "the snapshot".to_owned(), |at| at.to_string());
                format!("{last}, after {} entries", visited.count)
            };
            return Err(MoverError::Replay {
                position: end(replayed),
                reason: format!("it ended there and not at {}", end(verified.visited)),
            });
        }
        self.check_kinds()?;
        // Leftovers of restores that were running at the restored moment, and what was needed only
        // because it might have been renamed.
        let is_leftover = |namespace: &String| {
            namespace.split_once('.').is_some_and(|(_, name)| is_stage(name))
                || verified.wanted.target_of(namespace).is_none()
        };
        let leftovers: Vec<String> =
            self.stage.collections.keys().filter(|n| is_leftover(n)).cloned().collect();
        for namespace in leftovers {
            if let Some(staged) = self.stage.collections.remove(&namespace) {
                connection.command(&staged.database, bson::doc! { "drop": staged.name })?;
            }
        }
        self.check_restored()
    }

    /// Refuses what the replay made and the target cannot have.
    fn check_kinds(&self) -> Result<(), MoverError> {
        let kinds = self.stage.collections.iter().map(|(namespace, staged)| {
            let is_series = is_time_series(&staged.options);
            (namespace, if is_series { TIME_SERIES } else { "collection" })
        });
        let views = self.stage.views.keys().map(|view| (view, "view"));
        let target = self.check_target()?;
        for (namespace, kind) in kinds.chain(views) {
            if self.stage.wanted.target_of(namespace).is_some() {
                self.check_kind((namespace, kind), target)?;
            }
        }
        Ok(())
    }

    /// Refuses a selection that takes nothing, or puts several collections into one.
    fn check_restored(&self) -> Result<(), MoverError> {
        let namespaces: Vec<String> =
            self.stage.collections.keys().chain(self.stage.views.keys()).cloned().collect();
        check_selection(&self.stage.wanted, &namespaces)
    }

    /// Builds the indexes of the staging collections.
    pub fn build_indexes(&self) -> Result<(), MoverError> {
        let mut connection = Connection::open(&self.endpoint)?;
        // Those of a time series are on measurements, and made with it.
        let are_here = |staged: &&Staged| !is_time_series(&staged.options);
        for staged in self.stage.collections.values().filter(|staged| !are_here(staged)) {
            let wanted = (&staged.options, wanted_indexes(&staged.indexes));
            try_series(&mut connection, (&staged.database, &staged.name), wanted)?;
        }
        for staged in self.stage.collections.values().filter(are_here) {
            self.stop.check()?;
            let specs = wanted_indexes(&staged.indexes);
            if !specs.is_empty() {
                let command = bson::doc! { "createIndexes": &staged.name, "indexes": specs };
                connection.command(&staged.database, command)?;
            }
        }
        Ok(())
    }
}

/// Refuses a selection that takes nothing of these namespaces, or puts several of them into one.
fn check_selection(wanted: &Wanted, namespaces: &[String]) -> Result<(), MoverError> {
    if let Some(rule) = wanted.idle_rule(namespaces.iter()) {
        let what = format!("{rule}: there is no such collection in it");
        return Err(MoverError::Selection { what });
    }
    let checked = wanted.selection().check(namespaces);
    checked.map_err(|error| MoverError::Selection { what: error.to_string() })
}
