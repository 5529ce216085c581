//! What is known of the packs' health: which were read as a whole and when, and what was bad.
//!
//! The object `checks` only saves work: without it every pack is read as a whole before a snapshot
//! relies on it. Chunks that could not be read are in it so that no later process trusts them.

use std::collections::{BTreeSet, HashMap};

use bson::{Bson, Document};

use crate::error::VaultError;
use crate::list::binary;
use crate::pack::PackId;
use crate::state::{Pack, PackState};
use crate::store::Stamp;

/// What earlier checks found.
#[derive(Default)]
pub(crate) struct Checks(HashMap<PackId, Check>);

/// What is known of one pack.
#[derive(Debug, Clone, Default)]
pub(crate) struct Check {
    pub(crate) stamp: Option<Stamp>,
    pub(crate) checked_at: i64,
    pub(crate) bad: BTreeSet<u32>,
}

/// What the vault knows of its own health.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VaultHealth {
    /// Bytes of the packs, as far as they could be read.
    pub stored_bytes: u64,
    /// Packs, those that cannot be read too.
    pub packs: usize,
    /// How many of them were never read as a whole since they were written.
    pub packs_unread: usize,
    /// When the one of the others was read that was read longest ago, in seconds since the epoch.
    pub read_since: Option<i64>,
    /// Packs that cannot be read, with the reason. They are kept.
    pub unreadable_packs: Vec<(String, String)>,
    /// Chunks that could not be read where they were stored.
    pub bad_chunks: usize,
    /// Snapshots that name chunks which the vault lacks, with their number. While there are any,
    /// nothing is pruned.
    pub lost: Vec<(String, usize)>,
}

impl VaultHealth {
    /// Whether nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.unreadable_packs.is_empty() && self.bad_chunks == 0 && self.lost.is_empty()
    }
}

impl Checks {
    pub(crate) fn of(&self, pack: PackId) -> Check {
        self.0.get(&pack).cloned().unwrap_or_default()
    }
}

/// What is known of some packs, as bytes.
pub(crate) fn encode(packs: &[Pack]) -> Result<Vec<u8>, VaultError> {
    let mut raw = Vec::new();
    for pack in packs {
        let PackState::Whole { stamp } = &pack.state else { continue };
        let bad: Vec<Bson> = pack.bad.iter().map(|o| Bson::Int64(i64::from(*o))).collect();
        let mut check =
            bson::doc! { "pack": binary(&pack.id.0), "at": pack.checked_at, "bad": bad };
        if let Some(stamp) = stamp {
            check.insert("size", stamp.size.cast_signed());
            check.insert("modified", stamp.modified);
            check.insert("changed", stamp.changed);
        }
        let written = check.to_writer(&mut raw);
        written.map_err(|_| VaultError::Unwritable("what checks found".to_owned()))?;
    }
    Ok(raw)
}

/// What such bytes say; `None` if they are no such bytes.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Checks> {
    let mut checks = HashMap::new();
    while !bytes.is_empty() {
        let check = Document::from_reader(&mut bytes).ok()?;
        let id = check.get_binary_generic("pack").ok()?.as_slice().try_into().ok()?;
        let stamp = match check.get_i64("size") {
            Ok(size) => Some(Stamp {
                size: u64::try_from(size).ok()?,
                modified: check.get_i64("modified").ok()?,
                changed: check.get_i64("changed").ok()?,
            }),
            Err(_) => None,
        };
        let bad = check.get_array("bad").ok()?.iter();
        let bad =
            bad.map(|ordinal| u32::try_from(ordinal.as_i64()?).ok()).collect::<Option<_>>()?;
        let checked_at = check.get_i64("at").ok()?;
        checks.insert(PackId(id), Check { stamp, checked_at, bad });
    }
    Some(Checks(checks))
}
