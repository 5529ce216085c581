//! How far sealing anew what older keys sealed has come.

use std::collections::VecDeque;
use std::time::Instant;

use crate::pack_index::IndexedPack;
use crate::sealed::Kind;

/// What one pass over the vault did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResealReport {
    /// Objects that were sealed with the newest key.
    pub resealed: usize,
    /// Objects that older keys still seal: it was promised to keep them as they are.
    pub kept: usize,
    /// Objects with which something went wrong.
    pub failed: usize,
}

/// How far a pass has come.
#[derive(Default)]
pub(crate) struct Resealing {
    /// When the next pass begins, if there was one.
    pub(crate) next: Option<Instant>,
    /// The folder that is looked at, and the names in it that were not yet.
    pub(crate) current: Option<(Folder, VecDeque<String>)>,
    pub(crate) folders: VecDeque<Folder>,
    /// Packs that were sealed anew and are not written down yet.
    pub(crate) packs: Vec<IndexedPack>,
    pub(crate) report: ResealReport,
}

/// A folder whose objects are sealed, and what they are.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) name: String,
    pub(crate) content: Content,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Packs,
    Sealed(Kind),
}

impl Folder {
    pub(crate) fn sealed(name: &str, kind: Kind) -> Self {
        Self { name: name.to_owned(), content: Content::Sealed(kind) }
    }
}

impl Resealing {
    /// Whether all names of the folder were looked at.
    pub(crate) fn is_folder_over(&self) -> bool {
        self.current.as_ref().is_none_or(|(_, names)| names.is_empty())
    }
}
