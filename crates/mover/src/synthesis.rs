//! Making the next snapshot in the vault, from the last one and the captured oplog.
//!
//! The deployment is not asked for anything. Entries are applied to the chunks that hold the documents
//! they change; all other chunks are referenced as they are. Where documents are in the order of their
//! `_id`, the bounds of chunks say where one is, and the cost follows what changed; where they are not,
//! the chunks of a collection that changed are read through, in the vault.
//!
//! The oplog says everything that happened after the snapshot's moment, so every document that an entry
//! changes must be there, and none that it inserts: whatever does not fit ends the synthesis, and the
//! deployment is read instead.

mod collection;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bson::Document;
use tidemark_model::OplogTime;
use tidemark_vault::{
    ChunkList, CollectionManifest, DocumentSet, Manifest, SnapshotMode, SnapshotOwner, Vault,
};
use tidemark_wire::{OplogEntry, OplogOperation};

use self::collection::Changes;
use crate::chunk_store::ChunkStore;
use crate::difference::different_settings;
use crate::error::MoverError;
use crate::reading::are_stored;
use crate::replay::{Checker, Created, Replayer, Target, Window, database_of, position};
use crate::restore::{Entries, Replay};
use crate::snapshot::ReadSnapshot;
use crate::stop::{Progress, Stop};
use tidemark_deployment::{INTERNAL_DATABASES, is_of_server, is_stage};

/// Entries that are applied together: every window reads the lists of the chunks that it changes.
const WINDOW: Window = Window { entries: 50_000, bytes: 16 << 20 };
/// An oplog of less than this is never too much.
const SMALL_OPLOG_BYTES: u64 = 64 << 20;

/// What a snapshot is made of.
#[derive(Debug, Clone)]
pub struct SynthesisRequest {
    /// The snapshot from which it begins, which shows one moment.
    pub base: Manifest,
    /// The entries after that moment.
    pub replay: Replay,
    /// The new snapshot's id.
    pub snapshot: String,
    /// Whose it is.
    pub owner: SnapshotOwner,
    /// When it is made, as an RFC 3339 instant.
    pub taken_at: String,
}

/// Makes everything that the snapshot holds. What cannot be made so is [`MoverError::Synthesis`], or
/// what a restore to that moment would fail with.
pub fn synthesize(
    vault: &Arc<Vault>,
    request: &SynthesisRequest,
    stop: &Stop,
    progress: &Progress,
) -> Result<ReadSnapshot, MoverError> {
    let base = &request.base;
    let at = base.mode.consistent_at().filter(|_| base.oplog.is_empty());
    let from = at.ok_or_else(|| MoverError::Synthesis {
        what: "the snapshot before it does not show one moment by itself".to_owned(),
    })?;
    if let Some(strange) = base.collections.iter().find(|c| !is_made_by_rule(c)) {
        let what = format!(
            "{} is capped, clustered, a time series or of an unknown kind",
            strange.namespace()
        );
        return Err(MoverError::Synthesis { what });
    }
    let earliest = find_earliest(vault, request, stop)?;
    let store = ChunkStore::start(vault.writer()?);
    let target = Synthesis::new(vault, &store, base, (stop, progress));
    let mut replayer = Replayer::new(target, stop);
    let visited =
        entries(vault, request, earliest, stop).for_each(|visit| replayer.push(&visit))?;
    let collections = replayer.finish()?.into_collections();
    for collection in &collections {
        stop.check()?;
        // Those that did not change have not been looked at.
        store.writer().flush()?;
        if !are_stored((vault, store.writer()), &collection.chunks)? {
            let what = format!("chunks of {} cannot be relied on", collection.namespace());
            return Err(MoverError::Synthesis { what });
        }
    }
    let manifest = Manifest {
        snapshot: request.snapshot.clone(),
        owner: request.owner.clone(),
        taken_at: request.taken_at.clone(),
        server_version: base.server_version.clone(),
        // Without an entry it shows what the base showed.
        mode: SnapshotMode::Synthetic { at: visited.last.unwrap_or(from) },
        mode_reason: Some(format!("of snapshot {} and the captured oplog", base.snapshot)),
        collections,
        oplog: ChunkList::default(),
    };
    Ok(ReadSnapshot::new(vault, store, manifest))
}

/// What is different between a snapshot that was made and one of the same moment that was read, one
/// sentence each; nothing if nothing is.
pub fn differences(made: &Manifest, read: &Manifest) -> Vec<String> {
    if made.mode.consistent_at() != read.mode.consistent_at() {
        let moment = |manifest: &Manifest| {
            manifest.mode.consistent_at().map_or_else(|| "none".to_owned(), |at| at.to_string())
        };
        return vec![format!("the moments are {} and {}", moment(made), moment(read))];
    }
    let named = |manifest: &Manifest| -> BTreeMap<String, CollectionManifest> {
        let collections = manifest.collections.iter().cloned();
        collections.map(|collection| (collection.namespace(), collection)).collect()
    };
    let (made, mut read) = (named(made), named(read));
    let mut found = Vec::new();
    for (namespace, made) in made {
        match read.remove(&namespace) {
            None => found.push(format!("{namespace} was made and is not there")),
            Some(read) => {
                let what = different_parts(&made, &read);
                if !what.is_empty() {
                    found.push(format!("{namespace} differs in {}", what.join(" and ")));
                }
            }
        }
    }
    found.extend(read.into_keys().map(|namespace| format!("{namespace} was not made")));
    found
}

fn different_parts(made: &CollectionManifest, read: &CollectionManifest) -> Vec<String> {
    let mut what = Vec::new();
    if made.content != read.content {
        what.push(format!("its documents (made {:?}, read {:?})", made.content, read.content));
    }
    what.extend(different_settings(made, read));
    what
}

/// Whether entries say everything about a collection: not of one that its server keeps in another form
/// or removes documents of by itself.
fn is_made_by_rule(collection: &CollectionManifest) -> bool {
    matches!(collection.kind.as_str(), "collection" | "view") && is_plain(&collection.options)
}

fn is_plain(options: &Document) -> bool {
    !["capped", "clusteredIndex", "timeseries"].iter().any(|option| options.contains_key(option))
}

fn entries<'a>(
    vault: &'a Vault,
    request: &'a SynthesisRequest,
    earliest: Option<OplogTime>,
    stop: &'a Stop,
) -> Entries<'a> {
    Entries { vault, manifest: &request.base, replay: Some(&request.replay), earliest, stop }
}

/// Looks at every entry once before anything is made: whether they are few enough, and from where
/// transactions are needed that were open at the base's moment.
fn find_earliest(
    vault: &Vault,
    request: &SynthesisRequest,
    stop: &Stop,
) -> Result<Option<OplogTime>, MoverError> {
    let mut earliest = None;
    loop {
        let (mut checker, mut bytes) = (Checker::default(), 0_u64);
        let most = SMALL_OPLOG_BYTES.max(request.base.size_bytes() / 2);
        let visited = entries(vault, request, earliest, stop).for_each(|visit| {
            bytes += visit.entry.as_bytes().len() as u64;
            if bytes > most {
                let what = "the oplog since then is larger than half of the data".to_owned();
                return Err(MoverError::Synthesis { what });
            }
            checker.push(&visit)
        });
        match visited {
            Err(MoverError::CutTransaction { before, .. })
                if earliest.is_none_or(|earliest| before < earliest) =>
            {
                earliest = Some(before);
            }
            visited => return visited.map(|_| earliest),
        }
    }
}

/// A snapshot that is being made.
struct Synthesis<'a> {
    vault: &'a Vault,
    store: &'a ChunkStore,
    collections: BTreeMap<String, CollectionManifest>,
    views: BTreeMap<String, Document>,
    /// Collections of which some chunks may be in packs that are not finished.
    unread: BTreeSet<String>,
    stop: &'a Stop,
    progress: &'a Progress,
}

impl<'a> Synthesis<'a> {
    fn new(
        vault: &'a Vault,
        store: &'a ChunkStore,
        base: &Manifest,
        (stop, progress): (&'a Stop, &'a Progress),
    ) -> Self {
        let (views, collections): (Vec<_>, Vec<_>) =
            base.collections.iter().cloned().partition(|collection| collection.kind == "view");
        let named = |collection: CollectionManifest| (collection.namespace(), collection);
        Self {
            vault,
            store,
            collections: collections.into_iter().map(named).collect(),
            views: views.into_iter().map(|view| (view.namespace(), view.options)).collect(),
            unread: BTreeSet::new(),
            stop,
            progress,
        }
    }

    /// What the snapshot holds, in the order in which a deployment is listed.
    fn into_collections(self) -> Vec<CollectionManifest> {
        let views = self.views.into_iter().map(|(namespace, options)| CollectionManifest {
            kind: "view".to_owned(),
            ..empty(&namespace, options)
        });
        let mut all: Vec<_> = self.collections.into_values().chain(views).collect();
        // What a restore that is going on has put there.
        all.retain(|collection| !is_stage(&collection.name));
        all.sort_by(|a, b| (&a.database, &a.name).cmp(&(&b.database, &b.name)));
        all
    }
}

/// A collection without documents and indexes.
fn empty(namespace: &str, options: Document) -> CollectionManifest {
    let (database, name) = namespace.split_once('.').unwrap_or((namespace, ""));
    CollectionManifest {
        database: database.to_owned(),
        name: name.to_owned(),
        kind: "collection".to_owned(),
        uuid: None,
        options,
        indexes: Vec::new(),
        content: DocumentSet::default(),
        chunks: ChunkList::default(),
        // Nothing is in order.
        is_sorted: true,
    }
}

impl Target for Synthesis<'_> {
    fn window(&self) -> Window {
        WINDOW
    }

    fn has(&self, namespace: &str) -> bool {
        self.collections.contains_key(namespace)
    }

    fn namespaces(&self) -> Vec<String> {
        self.collections.keys().cloned().collect()
    }

    fn views(&mut self) -> &mut BTreeMap<String, Document> {
        &mut self.views
    }

    fn add_view(&mut self, namespace: &str, options: Document) {
        self.views.insert(namespace.to_owned(), options);
    }

    fn create(&mut self, namespace: &str, created: Created<'_>) -> Result<(), MoverError> {
        let name = namespace.split_once('.').map_or("", |(_, name)| name);
        if is_of_server(name) || INTERNAL_DATABASES.contains(&database_of(namespace)) {
            return Ok(());
        }
        if !is_plain(&created.options) {
            let what = format!("{namespace} was made capped, clustered or a time series");
            return Err(MoverError::Synthesis { what });
        }
        let id_index = created.id_index.unwrap_or_else(|| {
            bson::doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" }
        });
        // In another order than the plain one there are no bounds.
        let is_sorted = !created.options.contains_key("collation");
        let collection = CollectionManifest {
            uuid: created.entry.collection_uuid.clone(),
            indexes: vec![id_index],
            is_sorted,
            ..empty(namespace, created.options)
        };
        self.collections.insert(namespace.to_owned(), collection);
        Ok(())
    }

    fn drop_collection(&mut self, namespace: &str) -> Result<(), MoverError> {
        self.collections.remove(namespace);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) {
        if let Some(mut collection) = self.collections.remove(from) {
            let (database, name) = to.split_once('.').unwrap_or((to, ""));
            (collection.database, collection.name) = (database.to_owned(), name.to_owned());
            self.collections.insert(to.to_owned(), collection);
            self.unread.insert(to.to_owned());
        }
    }

    fn apply(&mut self, namespace: &str, entries: &[OplogEntry]) -> Result<(), MoverError> {
        self.progress.enter(namespace);
        let Some(collection) = self.collections.get_mut(namespace) else {
            return check_unknown(namespace, entries);
        };
        // What an earlier window wrote is read by this one.
        if !self.unread.insert(collection.namespace()) {
            self.store.writer().flush()?;
            self.unread = BTreeSet::from([collection.namespace()]);
        }
        let changes = Changes::new(namespace, entries)?;
        collection::change((self.vault, self.store), collection, changes, |documents, bytes| {
            self.progress.add(documents, bytes);
            self.stop.check()
        })
    }

    fn indexes(&mut self, namespace: &str) -> Option<&mut Vec<Document>> {
        self.collections.get_mut(namespace).map(|collection| &mut collection.indexes)
    }

    fn modify(&mut self, namespace: &str, changes: Document) -> Result<(), MoverError> {
        const OPTIONS: &[&str] = &["validator", "validationLevel", "validationAction"];
        let Some(collection) = self.collections.get_mut(namespace) else { return Ok(()) };
        if let Some(name) = changes.keys().find(|name| !OPTIONS.contains(&name.as_str())) {
            let what = format!("collMod changed {name:?} of {namespace}");
            return Err(MoverError::Synthesis { what });
        }
        collection.options.extend(changes);
        Ok(())
    }

    fn time_series(&self, _namespace: &str) -> Option<&Document> {
        // A snapshot that has one, or an entry that makes one, leads to a full read.
        None
    }
}

/// Entries of a collection that the snapshot does not have: those of the server's own count for nothing.
fn check_unknown(namespace: &str, entries: &[OplogEntry]) -> Result<(), MoverError> {
    let name = namespace.split_once('.').map_or("", |(_, name)| name);
    let is_own = INTERNAL_DATABASES.contains(&database_of(namespace)) || is_of_server(name);
    let changes = |entry: &&OplogEntry| !matches!(entry.operation, OplogOperation::Noop);
    match entries.iter().find(changes).filter(|_| !is_own) {
        None => Ok(()),
        Some(entry) => Err(MoverError::Synthesis {
            what: format!("{} changes {namespace}, which is not there", position(entry.ts)),
        }),
    }
}
