//! The newest captured entries: in the catalog first where the vault is paid by the request, and in the
//! vault a minute later.
//!
//! What is here is as durable as the catalog. Whoever reads captured entries out of the vault stores the
//! tail there first; doing so twice, by two workers at the same time too, stores the same twice
//! (`worker/tests/captures.rs`).

use std::cell::Cell;
use std::time::{Duration, Instant};

use tidemark_catalog::{Catalog, CatalogError, TailPiece};
use tidemark_model::InstanceId;
use tidemark_mover::{MoverError, SegmentSink};
use tidemark_vault::{OplogSegment, Vault};

use crate::config::WorkerConfig;

/// A tail of so many bytes is stored at once; no segment in the vault is made larger.
const LARGEST: u64 = 16 * 1024 * 1024;
/// Entries that change nothing may wait so many times as long.
const QUIET_FACTOR: u32 = 10;

/// The tail of one instance, as the one who captures it has it.
pub(crate) struct Tail<'a> {
    config: &'a WorkerConfig,
    instance: InstanceId,
    /// When the oldest of its pieces came, how many bytes there are, and whether they change anything.
    kept: Cell<Option<Kept>>,
}

#[derive(Clone, Copy)]
struct Kept {
    since: Instant,
    bytes: u64,
    has_changes: bool,
}

impl<'a> Tail<'a> {
    pub(crate) fn new(config: &'a WorkerConfig, instance: InstanceId) -> Self {
        Self { config, instance, kept: Cell::new(None) }
    }

    /// Stores what was captured before, by whoever it was.
    pub(crate) fn resume(&self) -> Result<(), MoverError> {
        store(self.config, self.instance)?;
        self.kept.set(None);
        Ok(())
    }

    /// Stores the tail in the vault if it is time to, or at once. One that cannot be stored now stays
    /// where it is, unless it is wanted at once or has become large.
    pub(crate) fn end_round(&self, flush: bool) -> Result<(), MoverError> {
        let Some(kept) = self.kept.get() else { return Ok(()) };
        let interval = (self.config.segment_interval)(self.config.vault_of(self.instance)?);
        let patience = if kept.has_changes { interval } else { interval * QUIET_FACTOR };
        let is_needed = flush || kept.bytes >= LARGEST;
        if !is_needed && kept.since.elapsed() < patience {
            return Ok(());
        }
        match store(self.config, self.instance) {
            Ok(()) => self.kept.set(None),
            Err(error) if is_needed => return Err(error),
            Err(error) => {
                tracing::warn!(%error, instance = %self.instance, "captured entries stay in the catalog: the vault does not take them");
            }
        }
        Ok(())
    }
}

impl SegmentSink for Tail<'_> {
    fn put_segment(&self, instance: &str, segment: &OplogSegment) -> Result<(), MoverError> {
        let vault = self.config.vault_of(self.instance)?;
        let begins = segment.name.first == segment.name.last;
        if begins {
            // What comes before it is stored before it.
            self.end_round(true)?;
        }
        if begins || (self.config.segment_interval)(vault) == Duration::ZERO {
            return Ok(vault.put_segment(instance, segment)?);
        }
        let piece =
            TailPiece { span: segment.name, sealed: vault.seal_segment(instance, segment)? };
        let bytes = segment.entries.len() as u64;
        let put = self.config.catalog.transact(|catalog| {
            self.config.check_capture(catalog, self.instance)?;
            catalog.put_oplog_tail(self.instance, &piece)
        });
        put.map_err(unrecorded)?;
        let kept = self.kept.get();
        self.kept.set(Some(Kept {
            since: kept.map_or_else(Instant::now, |kept| kept.since),
            bytes: kept.map_or(0, |kept| kept.bytes) + bytes,
            has_changes: kept.is_some_and(|kept| kept.has_changes)
                || !segment.namespaces.is_empty(),
        }));
        Ok(())
    }
}

fn unrecorded(error: CatalogError) -> MoverError {
    MoverError::Unrecorded { what: error.to_string() }
}

/// Stores the tail of an instance in the vault, whoever captured it.
pub(crate) fn store(config: &WorkerConfig, instance: InstanceId) -> Result<(), MoverError> {
    store_in(&config.catalog, config.vault_of(instance)?, instance)
}

/// The same for whoever knows the vault.
pub(crate) fn store_in(
    catalog: &Catalog,
    vault: &Vault,
    instance: InstanceId,
) -> Result<(), MoverError> {
    let name = instance.to_string();
    let pieces = catalog.list_oplog_tail(instance).map_err(unrecorded)?;
    let mut pieces = pieces.into_iter().peekable();
    while let Some(piece) = pieces.next() {
        let mut spans = vec![piece.span];
        let mut segment = vault.open_segment(&name, piece.span, &piece.sealed)?;
        while let Some(next) = pieces.peek() {
            let opened = vault.open_segment(&name, next.span, &next.sealed)?;
            let most = usize::try_from(LARGEST).unwrap_or(usize::MAX);
            if segment.append(opened, most).is_err() {
                break;
            }
            spans.push(next.span);
            pieces.next();
        }
        vault.put_segment(&name, &segment)?;
        catalog.remove_oplog_tail(instance, &spans).map_err(unrecorded)?;
    }
    Ok(())
}
