//! What is known of the vaults that hold a project's backups.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tidemark_catalog::{Catalog, CatalogError, Project};
use tidemark_model::{SnapshotId, VaultRule, vault_of};

/// What is known of a vault, beside whose backups are in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VaultState {
    /// Bytes of its packs, as far as they can be read. Backups of other projects are among them.
    pub stored_bytes: u64,
    /// Its packs.
    pub packs: usize,
    /// How many of them nobody has read back since they were written.
    pub packs_unread: usize,
    /// Since when all others were read back, each at least once.
    pub read_since: Option<Timestamp>,
    /// Packs that cannot be read.
    pub unreadable_packs: usize,
    /// Chunks that could not be read where they are stored; other packs may have them too.
    pub bad_chunks: usize,
    /// Snapshots that cannot be restored, with how many of their chunks are missing.
    pub damaged: Vec<(SnapshotId, usize)>,
}

impl ProjectVault {
    /// Whether nothing that backups need is damaged or missing.
    pub fn is_well(&self) -> bool {
        let is_well = |state: &VaultState| state.unreadable_packs == 0 && state.damaged.is_empty();
        self.damaged_elsewhere == 0 && self.state.as_ref().is_ok_and(is_well)
    }
}

/// Looks at vaults.
pub trait VaultLook: Send + Sync + std::fmt::Debug {
    /// The vault with a name, or the common one, as it was less than a minute ago; or why it cannot be looked
    /// at. No documents are read.
    fn look(&self, name: Option<&str>) -> Result<VaultState, String>;
}

/// A vault of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectVault {
    /// Its name; the common one has none.
    pub name: Option<String>,
    /// Whether backups of new instances go there.
    pub is_for_new: bool,
    /// Instances whose backups go there, and deleted ones whose backups are kept.
    pub instances: u64,
    /// What is known of it, or why nothing is. Of other projects' snapshots it says only how many are
    /// damaged.
    pub state: Result<VaultState, String>,
    /// Damaged snapshots of other projects.
    pub damaged_elsewhere: usize,
}

/// The vaults of a project: where its backups are, and where those of new instances go.
pub fn list(
    catalog: &Catalog,
    project: &Project,
    (rules, look): (&[VaultRule], &dyn VaultLook),
) -> Result<Vec<ProjectVault>, CatalogError> {
    let mut instances = catalog.list_project_instances(project.id)?;
    let retired = catalog.list_retired_instances(project.id)?;
    instances.extend(retired.into_iter().map(|(instance, _)| instance));
    let for_new = vault_of(rules, (project.id, &project.name));
    let names: BTreeSet<Option<String>> =
        instances.iter().map(|instance| instance.vault.clone()).chain([for_new.clone()]).collect();
    let describe = |name: Option<String>| {
        let mut state = look.look(name.as_deref());
        let mut damaged_elsewhere = 0;
        if let Ok(state) = &mut state {
            let mut ours = Vec::new();
            for (snapshot, chunks) in state.damaged.drain(..) {
                match catalog.find_project_of_snapshot(snapshot)? {
                    Some(owner) if owner == project.id => ours.push((snapshot, chunks)),
                    Some(_) => damaged_elsewhere += 1,
                    // It is deleted: nobody misses anything.
                    None => {}
                }
            }
            state.damaged = ours;
        }
        let count = instances.iter().filter(|instance| instance.vault == name).count();
        Ok(ProjectVault {
            is_for_new: name == for_new,
            instances: u64::try_from(count).unwrap_or(u64::MAX),
            name,
            state,
            damaged_elsewhere,
        })
    };
    names.into_iter().map(describe).collect()
}
