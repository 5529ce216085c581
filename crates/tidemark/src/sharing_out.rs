//! Which node has which instance inside Tidemark, where several nodes serve the same records.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use tidemark_actions::instances;
use tidemark_catalog::{Backing, Catalog, CatalogError, Instance, InstanceTrouble};
use tidemark_model::{InstanceId, InstanceState, NodeId};
use tidemark_worker::Membership;

use crate::config::NodesSection;

/// What is needed to find a node for each instance.
pub(crate) struct SharingOut<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) membership: &'a Membership,
    pub(crate) now: Timestamp,
    pub(crate) limits: &'a NodesSection,
    /// How long backups of a removed instance are kept.
    pub(crate) retention_after_delete: SignedDuration,
    /// Whether this node has data of an instance.
    pub(crate) has_data: &'a dyn Fn(InstanceId) -> bool,
}

impl SharingOut<'_> {
    /// Takes instances that are on no node, and looks after those whose node is gone.
    pub(crate) fn run(&self, instances: &mut [Instance]) {
        if !self.membership.is_there() {
            return;
        }
        let looks_after_lost = self.membership.has_duty("lost instances");
        let mut counts = self.count_by_node(instances);
        for instance in instances.iter_mut() {
            if instance.backing != Backing::Embedded {
                continue;
            }
            let outcome = match instance.node {
                None => self.take_if_mine(instance, &mut counts),
                Some(node) if node == self.membership.id() => Ok(()),
                Some(node) if looks_after_lost => self.look_after_lost(instance, node),
                Some(_) => Ok(()),
            };
            if let Err(error) = outcome {
                tracing::error!(%error, instance = %instance.id, "where an instance is could not be settled");
            }
        }
    }

    /// How many instances each node has that counts as there.
    fn count_by_node(&self, instances: &[Instance]) -> BTreeMap<NodeId, usize> {
        let workers = self.membership.workers();
        let mut counts: BTreeMap<_, _> = workers.into_iter().map(|node| (node.id, 0)).collect();
        for node in instances.iter().filter_map(|instance| instance.node) {
            if let Some(count) = counts.get_mut(&node) {
                *count += 1;
            }
        }
        counts
    }

    /// Takes an instance that is on no node, if this one has the fewest, or has its data already.
    fn take_if_mine(
        &self,
        instance: &mut Instance,
        counts: &mut BTreeMap<NodeId, usize>,
    ) -> Result<(), CatalogError> {
        let me = self.membership.id();
        let has_data = (self.has_data)(instance.id);
        let Some((fewest, _)) = counts.iter().min_by_key(|(id, count)| (**count, **id)) else {
            return Ok(());
        };
        // Records that were moved here from a file say no node, but a port.
        let is_mine = if instance.port.is_some() { has_data } else { *fewest == me };
        let fewest = *fewest;
        if !is_mine {
            // Whose it is takes it; the next one is another's.
            if instance.port.is_none() {
                *counts.entry(fewest).or_default() += 1;
            }
            return Ok(());
        }
        if self.catalog.claim_instance(instance.id, me)? {
            instance.node = Some(me);
            *counts.entry(me).or_default() += 1;
        }
        Ok(())
    }

    /// Says that an instance is lost with its node, and brings it back elsewhere if that is wanted.
    fn look_after_lost(&self, instance: &mut Instance, node: NodeId) -> Result<(), CatalogError> {
        let now = self.now;
        let nodes = self.membership.nodes();
        let found = nodes.iter().find(|found| found.id == node);
        let gone_since = found.map_or(Timestamp::MIN, |found| found.alive_until);
        let is_gone_for = |seconds: u32| {
            let limit = SignedDuration::from_secs(i64::from(seconds));
            gone_since.saturating_add(limit).is_ok_and(|end| end < now)
        };
        let NodesSection { lost_after_seconds, rehost_after_seconds } = *self.limits;
        if !is_gone_for(lost_after_seconds) {
            return Ok(());
        }
        match instance.state {
            // Another one takes it in its next round.
            InstanceState::Creating => drop(self.catalog.abandon_creation(instance.id, node)?),
            InstanceState::Deleting => {
                let retention = self.retention_after_delete;
                self.catalog.retire_instance(instance.id, now, retention)?;
            }
            _ if instance.trouble != Some(InstanceTrouble::NodeLost) => {
                tracing::error!(%node, instance = %instance.id, "an instance is lost with its node; `tidemark instances rehost` brings it back on another one");
                let limit = SignedDuration::from_secs(i64::from(lost_after_seconds));
                let gone_before = now.saturating_sub(limit).unwrap_or(now);
                self.catalog.lose_instance((instance.id, node), gone_before, now)?;
            }
            // A node that nobody has ever heard of may be anywhere.
            _ if rehost_after_seconds > 0
                && found.is_some()
                && is_gone_for(rehost_after_seconds) =>
            {
                match instances::rehost(self.catalog, instance, now) {
                    Ok(Some(rehosted)) => {
                        let lost_after = rehosted.through.map(|at| at.to_string());
                        tracing::warn!(instance = %instance.id, job = %rehosted.job.id, lost_after, "a lost instance begins anew on another node");
                    }
                    Ok(None) => {
                        tracing::warn!(instance = %instance.id, "a lost instance begins anew on another node, empty: it has no backups");
                    }
                    Err(error) => {
                        tracing::error!(%error, instance = %instance.id, "a lost instance could not begin anew");
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
