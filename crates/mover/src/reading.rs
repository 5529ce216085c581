//! How far reading a deployment is: which parts there are, what of them is read, and the draft that lets
//! it go on after a crash.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidemark_model::OplogTime;
use tidemark_vault::{
    ChunkList, CollectionManifest, DocumentSet, Draft, DraftPart, ListItem, SnapshotWriter, Vault,
    VaultError,
};

use crate::error::MoverError;
use crate::parts::Part;
use tidemark_deployment::CollectionListing;

/// How often a draft is written: packs that are ended for it should not be small.
pub const DRAFT_INTERVAL: Duration = Duration::from_secs(10);

/// What a part holds.
pub(crate) type Found = (DocumentSet, ChunkList);

/// What is read of a deployment, and how far that is.
pub(crate) struct Reading {
    /// From where the oplog makes consistent what is read at no one moment.
    pub(crate) start: Option<OplogTime>,
    /// The moment at which everything is read, if it is one.
    pub(crate) at: Option<OplogTime>,
    pub(crate) listings: Vec<CollectionListing>,
    pub(crate) parts: Vec<Part>,
    /// Held for noting a part, and while a draft is written.
    progress: Mutex<Progress>,
}

struct Progress {
    found: Vec<Option<Found>>,
    /// Which of them are in packs that are finished.
    is_durable: Vec<bool>,
    /// Of collections that went away: whether that was right is known at the end only.
    unsure: BTreeSet<usize>,
    drafted: Instant,
}

/// Where drafts are kept, and how often.
pub(crate) struct Drafts<'a> {
    pub(crate) vault: &'a Arc<Vault>,
    pub(crate) snapshot: &'a str,
    pub(crate) interval: Duration,
}

impl Reading {
    pub(crate) fn new(
        (start, at): (Option<OplogTime>, Option<OplogTime>),
        listings: Vec<CollectionListing>,
        parts: Vec<Part>,
    ) -> Self {
        let found = vec![None; parts.len()];
        Self::with((start, at), listings, parts, found)
    }

    fn with(
        (start, at): (Option<OplogTime>, Option<OplogTime>),
        listings: Vec<CollectionListing>,
        parts: Vec<Part>,
        found: Vec<Option<Found>>,
    ) -> Self {
        let is_durable = found.iter().map(Option::is_some).collect();
        let progress = Mutex::new(Progress {
            found,
            is_durable,
            unsure: BTreeSet::new(),
            drafted: Instant::now(),
        });
        Self { start, at, listings, parts, progress }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The parts that are not read.
    pub(crate) fn left(&self) -> Vec<usize> {
        let progress = self.lock();
        let left = progress.found.iter().enumerate().filter(|(_, found)| found.is_none());
        left.map(|(number, _)| number).collect()
    }

    /// Documents and bytes that are read.
    pub(crate) fn done(&self) -> (u64, u64) {
        let progress = self.lock();
        let found = progress.found.iter().flatten();
        found.fold((0, 0), |(documents, bytes), (content, _)| {
            (documents + content.documents, bytes + content.bytes)
        })
    }

    /// What the parts hold, in their order.
    pub(crate) fn take_found(&self) -> Vec<Found> {
        std::mem::take(&mut self.lock().found).into_iter().flatten().collect()
    }

    /// The same, at no one moment.
    pub(crate) fn at_no_moment(self) -> Self {
        Self { at: None, ..self }
    }

    /// Notes what a part holds, and whether a draft may say so; writes a draft if it is time for one.
    pub(crate) fn note(
        &self,
        (number, keeps): (usize, bool),
        found: Found,
        (drafts, writer): (Option<&Drafts<'_>>, &SnapshotWriter),
    ) -> Result<(), MoverError> {
        let mut progress = self.lock();
        if let Some(place) = progress.found.get_mut(number) {
            *place = Some(found);
        }
        if !keeps {
            progress.unsure.insert(number);
        }
        // Without an oplog, parts of different times would become one snapshot.
        let is_time = |drafts: &&Drafts<'_>| progress.drafted.elapsed() >= drafts.interval;
        let Some(drafts) = drafts.filter(|_| self.start.is_some()).filter(is_time) else {
            return Ok(());
        };
        writer.flush()?;
        let Progress { found, is_durable, unsure, drafted } = &mut *progress;
        for (number, (found, is_durable)) in found.iter().zip(is_durable.iter_mut()).enumerate() {
            if let (Some((_, chunks)), false) = (found, *is_durable || unsure.contains(&number)) {
                *is_durable = are_stored((drafts.vault, writer), chunks)?;
            }
        }
        // What is only lost with the process is read again, that is all.
        if let Err(error) =
            drafts.vault.store_draft(&self.draft(drafts.snapshot, (found, is_durable)))
        {
            tracing::warn!(%error, "how far a snapshot is could not be kept");
        }
        *drafted = Instant::now();
        Ok(())
    }

    fn draft(&self, snapshot: &str, (found, is_durable): (&[Option<Found>], &[bool])) -> Draft {
        let parts = self.parts.iter().zip(found.iter().zip(is_durable));
        let part = |(part, (found, is_durable)): (&Part, (&Option<Found>, &bool))| DraftPart {
            collection: part.collection,
            slice: part.describe(),
            read: found.clone().filter(|_| *is_durable),
        };
        Draft {
            snapshot: snapshot.to_owned(),
            start: self.start,
            at: self.at,
            collections: self.listings.iter().map(empty_collection).collect(),
            parts: parts.map(part).collect(),
        }
    }
}

impl Drafts<'_> {
    /// Where an earlier attempt at the snapshot was.
    pub(crate) fn find(&self, writer: &SnapshotWriter) -> Result<Option<Reading>, MoverError> {
        let draft = self.vault.find_draft(self.snapshot)?;
        let Some(draft) = draft.filter(|draft| draft.start.is_some()) else { return Ok(None) };
        let listing = |collection: CollectionManifest| CollectionListing {
            database: collection.database,
            name: collection.name,
            kind: collection.kind,
            uuid: collection.uuid,
            options: collection.options,
            indexes: collection.indexes,
        };
        let listings = draft.collections.into_iter().map(listing).collect();
        let (mut parts, mut found) = (Vec::new(), Vec::new());
        for part in draft.parts {
            let Some(known) = Part::described(part.collection, &part.slice) else {
                return Ok(None);
            };
            let read = match part.read {
                Some(read) if are_stored((self.vault, writer), &read.1)? => Some(read),
                _ => None,
            };
            parts.push(known);
            found.push(read);
        }
        Ok(Some(Reading::with((draft.start, draft.at), listings, parts, found)))
    }
}

/// Whether all chunks of a list are in packs that can be relied on.
pub(crate) fn are_stored(
    (vault, writer): (&Vault, &SnapshotWriter),
    chunks: &ChunkList,
) -> Result<bool, MoverError> {
    let is_stored = |kept: Result<(), VaultError>| match kept {
        Ok(()) => Ok(true),
        Err(VaultError::MissingChunk(_)) => Ok(false),
        Err(error) => Err(error),
    };
    for item in &chunks.items {
        if let ListItem::Part(part) = item
            && !is_stored(writer.keep_chunk(part.id))?
        {
            return Ok(false);
        }
        for chunk in vault.load_item(item)? {
            if !is_stored(writer.keep_chunk(chunk.id))? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// What a manifest says of a collection before its documents are read.
pub(crate) fn empty_collection(listing: &CollectionListing) -> CollectionManifest {
    CollectionManifest {
        database: listing.database.clone(),
        name: listing.name.clone(),
        kind: listing.kind.clone(),
        uuid: listing.uuid.clone(),
        options: listing.options.clone(),
        indexes: listing.indexes.clone(),
        content: DocumentSet::default(),
        chunks: ChunkList::default(),
        is_sorted: false,
    }
}
