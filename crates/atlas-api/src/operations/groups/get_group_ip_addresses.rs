//! `GET /groups/{groupId}/ipAddresses`: the addresses of a project's instances.

use std::net::IpAddr;

use serde_json::{Value, json};
use tidemark_catalog::{Instance, InstanceView, Project};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use crate::operations::instances::instance::MOST_SHOWN;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let instances = call.catalog.list_instances(project.id, InstanceView::Flex, MOST_SHOWN)?;
    let describe = |instance: &Instance| {
        // A host name is no address.
        let host = call.api.config.hosts.host_of(instance);
        let addresses: Vec<String> = host.parse::<IpAddr>().iter().map(|_| host.clone()).collect();
        json!({
            "clusterName": instance.name.as_str(),
            "futureInbound": [],
            "futureOutbound": [],
            "inbound": addresses,
            "outbound": addresses,
        })
    };
    let clusters: Vec<Value> = instances.items.iter().map(describe).collect();
    Ok(Answer::entity(json!({
        "groupId": project.id.to_string(),
        "services": { "clusters": clusters },
    })))
}
