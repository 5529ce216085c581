//! Instances: made, changed, removed.

use jiff::{SignedDuration, Timestamp};
use tidemark_catalog::{
    Backing, Catalog, CatalogError, Instance, InstanceFamily, InstanceSettings, RestoreJob,
};
use tidemark_model::{
    InstanceEvent, InstanceId, InstanceName, InstanceState, OplogTime, Place, PlacementRule,
    PointInTime, ProjectId, database_prefix, place_of,
};

use crate::restore_jobs::{self, Ask, CreateRestoreJobError, Destination};

/// An instance that is wanted.
#[derive(Debug, Clone)]
pub struct NewInstance {
    /// Its project.
    pub project: ProjectId,
    /// Its name.
    pub name: InstanceName,
    /// Through which API it is made.
    pub family: InstanceFamily,
    /// What users set.
    pub settings: InstanceSettings,
    /// How many databases this server has ports for.
    pub ports: usize,
    /// Where instances are kept.
    pub placement: Vec<PlacementRule>,
    /// The vault of its backups; the common one if there is none.
    pub vault: Option<String>,
}

/// Why an instance is not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateInstanceError {
    /// An instance of the project has the name.
    #[error("the name {0} is taken")]
    NameTaken(String),
    /// There is no such project.
    #[error("the project does not exist")]
    NoProject,
    /// There is no place where the configuration says that it is to be kept.
    #[error("it cannot be kept where the configuration says: {0}")]
    NoPlace(String),
    /// Every port is in use.
    #[error("all ports for instances are in use")]
    NoPortLeft,
    /// The records could not be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Why an instance is not changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeInstanceError {
    /// A restore writes to it, or waits to.
    #[error("it is being restored")]
    RestoreInProgress,
    /// It is in a state that does not allow it.
    #[error("it is {}", .0.as_str())]
    State(InstanceState),
    /// It is protected.
    #[error("it is protected against removal")]
    Protected,
    /// It stands for a deployment of which other instances are parts.
    #[error("other instances are kept on it")]
    HoldsOthers,
    /// The records could not be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Records that an instance is wanted.
pub fn create(
    catalog: &Catalog,
    wanted: NewInstance,
    now: Timestamp,
) -> Result<Instance, CreateInstanceError> {
    let part = find_part(catalog, &wanted)?;
    // One that waits for its port counts too.
    let is_embedded = |instance: &&Instance| instance.backing == Backing::Embedded;
    if part.is_none()
        && catalog.list_all_instances()?.iter().filter(is_embedded).count() >= wanted.ports
    {
        return Err(CreateInstanceError::NoPortLeft);
    }
    let instance = Instance {
        id: InstanceId::new(now),
        project: wanted.project,
        name: wanted.name,
        family: wanted.family,
        state: InstanceState::Creating,
        settings: wanted.settings,
        created_at: now,
        changed_at: now,
        backing: if part.is_some() { Backing::Attached } else { Backing::Embedded },
        port: None,
        trouble: None,
        node: None,
        vault: wanted.vault,
    };
    let inserted = match &part {
        Some((host, prefix)) => catalog.insert_placed(&instance, (*host, prefix)),
        None => catalog.insert_instance(&instance),
    };
    match inserted {
        Err(CatalogError::InUse(what)) => Err(CreateInstanceError::NoPlace(format!(
            "{what} are, or would hold, those of another instance"
        ))),
        Ok(()) => Ok(instance),
        Err(CatalogError::AlreadyExists(name)) => Err(CreateInstanceError::NameTaken(name)),
        Err(CatalogError::Missing(_)) => Err(CreateInstanceError::NoProject),
        Err(error) => Err(error.into()),
    }
}

/// The deployment of which an instance is to be a part, and what the names of its databases begin with;
/// nothing if it is kept inside.
fn find_part(
    catalog: &Catalog,
    wanted: &NewInstance,
) -> Result<Option<(InstanceId, String)>, CreateInstanceError> {
    if wanted.placement.is_empty() {
        return Ok(None);
    }
    let project = catalog.find_project(wanted.project)?.ok_or(CreateInstanceError::NoProject)?;
    let place = place_of(&wanted.placement, (project.id, &project.name), &wanted.name);
    let Place::Deployment { name, project: other, prefix } = place else { return Ok(None) };
    let refuse = |reason: String| Err(CreateInstanceError::NoPlace(reason));
    let owner = match other {
        None => Some(project.id),
        Some(text) => match text.parse() {
            Ok(id) => Some(id),
            Err(_) => catalog.find_project_by_name(project.org, text)?.map(|project| project.id),
        },
    };
    let host = match owner {
        Some(owner) => catalog.find_instance(owner, name)?,
        None => None,
    };
    let deployment = match &host {
        Some(host) => catalog.find_deployment(host.id)?.filter(|found| found.placement.is_none()),
        None => None,
    };
    let (Some(host), Some(_)) = (host, deployment) else {
        let project = other.clone().unwrap_or_else(|| project.id.to_string());
        return refuse(format!("no deployment {name} is attached to project {project}"));
    };
    if !host.state.runs() {
        return refuse(format!("the deployment {name} is {}", host.state.as_str()));
    }
    match database_prefix(prefix, &wanted.name) {
        Some(prefix) => Ok(Some((host.id, prefix))),
        None => refuse(format!(
            "names of databases that begin with {prefix}{}_ would be too long; choose a shorter name",
            wanted.name
        )),
    }
}

/// Records what users change on an instance; nothing changed is nothing done.
pub fn update(
    catalog: &Catalog,
    instance: &Instance,
    settings: InstanceSettings,
    now: Timestamp,
) -> Result<Instance, ChangeInstanceError> {
    let present = catalog.load_instance(instance.id)?;
    if settings == present.settings {
        return Ok(present);
    }
    if catalog.is_restore_target(present.id)? {
        return Err(ChangeInstanceError::RestoreInProgress);
    }
    if present.state != InstanceState::Idle {
        return Err(ChangeInstanceError::State(present.state));
    }
    let state = catalog.record_instance_event(present.id, InstanceEvent::ChangeBegun, now)?;
    catalog.set_instance_settings(present.id, &settings)?;
    Ok(Instance { settings, state, changed_at: now, ..present })
}

/// Records that the database of an instance is up, unless a restore writes to it or waits to.
pub fn settle(catalog: &Catalog, id: InstanceId, now: Timestamp) -> Result<(), CatalogError> {
    catalog.transact(|catalog| {
        if catalog.is_restore_target(id)? {
            return Ok(());
        }
        catalog.record_instance_event(id, InstanceEvent::Served, now).map(drop)
    })
}

/// Records that the database of an instance that was being repaired is up; with a restore that writes
/// to it, or waits to, it is not idle.
pub fn repair(catalog: &Catalog, id: InstanceId, now: Timestamp) -> Result<(), CatalogError> {
    catalog.transact(|catalog| {
        catalog.clear_instance_trouble(id, now)?;
        if catalog.is_restore_target(id)? {
            catalog.record_instance_event(id, InstanceEvent::ChangeBegun, now)?;
        }
        Ok(())
    })
}

/// Lets an instance that has lost its data begin anew, and asks for the newest state that its
/// backups hold: the newest moment, or else the newest snapshot. Answers what brings it back; nothing
/// if there is nothing to restore.
pub fn rehost(
    catalog: &Catalog,
    instance: &Instance,
    now: Timestamp,
) -> Result<Option<Rehosted>, RehostError> {
    // All of it, or it is lost as before and somebody may ask again.
    catalog.transact(|catalog| rehost_within(catalog, instance, now))
}

fn rehost_within(
    catalog: &Catalog,
    instance: &Instance,
    now: Timestamp,
) -> Result<Option<Rehosted>, RehostError> {
    let moments = restore_jobs::list_restorable(catalog, instance, now)?;
    let bases = catalog.list_bases(instance.id)?;
    match catalog.begin_instance_anew(instance.id, now) {
        Err(CatalogError::InUse(_)) => return Err(RehostError::NotLost),
        outcome => outcome?,
    }
    let to = Destination { project: instance.project, name: instance.name.clone() };
    let (ask, through) = match (moments.last(), bases.last()) {
        (Some(span), _) => {
            let moment = PointInTime::Entry(span.last);
            (Ask::PointInTime { moment, base: None, to }, Some(span.last))
        }
        (None, Some(base)) => (Ask::Automated { snapshot: base.snapshot, to }, base.at),
        (None, None) => return Ok(None),
    };
    let when = (now, SignedDuration::ZERO);
    let job = restore_jobs::create(catalog, instance, &ask.into(), when)?;
    Ok(Some(Rehosted { job, through }))
}

/// What brings an instance back that begins anew.
#[derive(Debug, Clone)]
pub struct Rehosted {
    /// The job.
    pub job: RestoreJob,
    /// The last position that it brings back, if that is known: what was written after it is lost.
    pub through: Option<OplogTime>,
}

/// Why an instance does not begin anew.
#[derive(Debug, thiserror::Error)]
pub enum RehostError {
    /// Its data is where it should be.
    #[error("the instance has not lost its data")]
    NotLost,
    /// Its backups cannot be restored.
    #[error(transparent)]
    Restore(#[from] CreateRestoreJobError),
    /// The records could not be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// What becomes of the backups of an instance that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backups {
    /// They are kept for a while.
    Retain,
    /// They end with it.
    GiveUp,
}

/// Records that an instance is to be removed.
pub fn delete(
    catalog: &Catalog,
    instance: &Instance,
    backups: Backups,
    now: Timestamp,
) -> Result<(), ChangeInstanceError> {
    let present = catalog.load_instance(instance.id)?;
    if matches!(present.state, InstanceState::Deleting | InstanceState::Deleted) {
        return Err(ChangeInstanceError::State(present.state));
    }
    if present.settings.termination_protection {
        return Err(ChangeInstanceError::Protected);
    }
    if catalog.is_restore_target(present.id)? {
        return Err(ChangeInstanceError::RestoreInProgress);
    }
    if catalog.is_host(present.id)? {
        return Err(ChangeInstanceError::HoldsOthers);
    }
    catalog.record_instance_event(present.id, InstanceEvent::DeleteAsked, now)?;
    if backups == Backups::GiveUp {
        catalog.give_backups_up(present.id)?;
    }
    Ok(())
}
