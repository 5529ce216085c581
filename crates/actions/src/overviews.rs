//! What a person wants to know of an instance first: whether it could be brought back, and to when.

use jiff::Timestamp;
use tidemark_catalog::{Catalog, CatalogError, Drill, Instance, Snapshot};
use tidemark_model::{OplogSpan, OplogTime, ProjectId};

use crate::restore_jobs::list_restorable;

/// An instance, and how well it is protected.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// The instance.
    pub instance: Instance,
    /// Its newest complete snapshot.
    pub newest_snapshot: Option<Snapshot>,
    /// The spans of moments that can be restored, the oldest first.
    pub restorable: Vec<OplogSpan>,
    /// The newest entry of its oplog that was captured.
    pub last_captured: Option<OplogTime>,
    /// The newest drill that brought everything back.
    pub proven: Option<Drill>,
}

/// What is known of one instance.
pub fn describe(
    catalog: &Catalog,
    instance: Instance,
    now: Timestamp,
) -> Result<Overview, CatalogError> {
    let newest_snapshot = catalog.find_newest_complete(instance.id)?;
    let restorable = list_restorable(catalog, &instance, now)?;
    let last_captured = catalog.list_oplog_ranges(instance.id)?.last().map(|range| range.last);
    let proven = catalog.find_proven_drill(instance.id)?;
    Ok(Overview { instance, newest_snapshot, restorable, last_captured, proven })
}

/// All instances of a project, by name.
pub fn list(
    catalog: &Catalog,
    project: ProjectId,
    now: Timestamp,
) -> Result<Vec<Overview>, CatalogError> {
    let instances = catalog.list_project_instances(project)?;
    instances.into_iter().map(|instance| describe(catalog, instance, now)).collect()
}
