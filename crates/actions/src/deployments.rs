//! Attached deployments: taken in, changed, looked at, let go.

use jiff::Timestamp;
use tidemark_catalog::{
    Backing, Catalog, CatalogError, Instance, InstanceFamily, InstanceSettings, InstanceTrouble,
    Reach,
};
use tidemark_model::{
    Condition, InstanceEvent, InstanceId, InstanceName, InstanceState, ProbeReport, ProjectId,
};

use crate::instances::{self, Backups, ChangeInstanceError, CreateInstanceError};

/// A deployment that is to be attached, and was probed.
#[derive(Debug, Clone)]
pub struct NewDeployment {
    /// The id of the instance that stands for it.
    pub id: InstanceId,
    /// Its project.
    pub project: ProjectId,
    /// Its name.
    pub name: InstanceName,
    /// Through which API it is shown.
    pub family: InstanceFamily,
    /// How it is reached.
    pub reach: Reach,
    /// What the probe found.
    pub report: ProbeReport,
    /// The vault of its backups; the common one if there is none.
    pub vault: Option<String>,
}

/// Records an attached deployment and the instance that stands for it.
pub fn attach(
    catalog: &Catalog,
    wanted: NewDeployment,
    now: Timestamp,
) -> Result<Instance, CreateInstanceError> {
    let instance = Instance {
        id: wanted.id,
        project: wanted.project,
        name: wanted.name,
        family: wanted.family,
        state: InstanceState::Creating,
        settings: InstanceSettings {
            // What Atlas calls clusters that it does not host is not in this API's words.
            backing_provider: "AWS".to_owned(),
            region: "US_EAST_1".to_owned(),
            termination_protection: false,
            continuous_backup: true,
            tags: Vec::new(),
            auto_indexing: true,
        },
        created_at: now,
        changed_at: now,
        backing: Backing::Attached,
        port: None,
        trouble: None,
        node: None,
        vault: wanted.vault,
    };
    match catalog.insert_deployment(&instance, &wanted.reach, &wanted.report) {
        Ok(()) => Ok(instance),
        Err(CatalogError::AlreadyExists(name)) => Err(CreateInstanceError::NameTaken(name)),
        Err(CatalogError::Missing(_)) => Err(CreateInstanceError::NoProject),
        Err(error) => Err(error.into()),
    }
}

/// Records that a deployment is reached in another way, which was probed.
pub fn change_reach(
    catalog: &Catalog,
    id: InstanceId,
    reach: &Reach,
    report: &ProbeReport,
    now: Timestamp,
) -> Result<(), CatalogError> {
    catalog.set_reach(id, reach)?;
    note_report(catalog, id, report, now)
}

/// Records what a probe found, and with it how the deployment is.
pub fn note_report(
    catalog: &Catalog,
    id: InstanceId,
    report: &ProbeReport,
    now: Timestamp,
) -> Result<(), CatalogError> {
    catalog.set_report(id, report, now)?;
    note_condition(catalog, id, &Condition::of(report), now)
}

/// Records how a deployment is, and what follows for the instance that stands for it.
pub fn note_condition(
    catalog: &Catalog,
    id: InstanceId,
    condition: &Condition,
    now: Timestamp,
) -> Result<(), CatalogError> {
    catalog.transact(|catalog| {
        let Some(present) = catalog.find_deployment(id)? else { return Ok(()) };
        if present.condition != *condition {
            catalog.set_condition(id, condition, now)?;
        }
        let instance = catalog.load_instance(id)?;
        match condition {
            Condition::Unreachable(reason) => {
                let should_serve =
                    instance.state.runs() || instance.state == InstanceState::Repairing;
                let trouble = InstanceTrouble::NotStarted(reason.clone());
                if should_serve && instance.trouble.as_ref() != Some(&trouble) {
                    catalog.set_instance_trouble(id, &trouble, now)?;
                }
            }
            Condition::Reachable | Condition::Limited(_) => {
                if instance.state == InstanceState::Repairing {
                    crate::instances::repair(catalog, id, now)?;
                }
            }
            Condition::Unknown => {}
        }
        Ok(())
    })
}

/// Records that an instance which is a part of a deployment is to be removed, and its data to stay; also
/// one that is being removed and whose deployment does not answer.
pub fn let_go(
    catalog: &Catalog,
    instance: &Instance,
    now: Timestamp,
) -> Result<(), ChangeInstanceError> {
    catalog.leave_data(instance.id)?;
    match instances::delete(catalog, instance, Backups::Retain, now) {
        Err(ChangeInstanceError::State(InstanceState::Deleting)) => Ok(()),
        outcome => outcome,
    }
}

/// Records that nothing is left to do for an instance that stands for a deployment that answers; one that
/// is a part of a deployment begins when it was seen that nothing was there.
pub fn settle(catalog: &Catalog, id: InstanceId, now: Timestamp) -> Result<(), CatalogError> {
    match catalog.load_instance(id)?.state {
        InstanceState::Creating => {
            let part = catalog.find_deployment(id)?.and_then(|found| found.placement);
            if part.is_some_and(|part| !part.is_claimed) {
                return Ok(());
            }
            catalog.record_instance_event(id, InstanceEvent::Served, now).map(drop)
        }
        InstanceState::Updating => crate::instances::settle(catalog, id, now),
        _ => Ok(()),
    }
}
