//! The packs that are there, as a list said.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::pack::PackId;
use crate::store::Stamp;

/// What a list said is believed for so long.
const BELIEVED: Duration = Duration::from_hours(1);

/// The packs that were listed.
pub(crate) type Present = HashMap<PackId, Stamp>;

/// When packs were listed last, and what they were like.
#[derive(Default)]
pub(crate) struct PackList(Option<(Instant, Present)>);

impl PackList {
    pub(crate) fn new(present: Present) -> Self {
        Self(Some((Instant::now(), present)))
    }

    /// Adds a pack that was just written or asked for: that is as good as a list.
    pub(crate) fn note(&mut self, id: PackId, stamp: Stamp) {
        if let Some((_, present)) = &mut self.0 {
            present.insert(id, stamp);
        }
    }

    pub(crate) fn find(&self, id: PackId) -> Option<Stamp> {
        self.0.as_ref()?.1.get(&id).copied()
    }

    /// Whether packs should be listed again before anybody believes it.
    pub(crate) fn is_old(&self) -> bool {
        self.0.as_ref().is_none_or(|(at, _)| at.elapsed() >= BELIEVED)
    }
}
