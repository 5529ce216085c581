//! How an attached deployment is shown as a cluster.
//!
//! Keys follow the recorded clusters of each version. What is not known of a deployment that somebody
//! else runs, as its machines, is shown as the smallest cluster that the schema knows.

use serde_json::{Value, json};
use tidemark_catalog::{Deployment, Instance};
use tidemark_model::{ProbeReport, Topology, format_instant};

use crate::call::Call;
use crate::links::{link, part_link};
use crate::operations::instances::instance::connection_string;
use crate::operations::tags;
use crate::version::{D2023_02_01, D2024_08_05, MONGODB_VERSION};

/// What the smallest cluster is called.
const SMALLEST: &str = "M10";
/// The smallest disk that the schema allows, in gigabytes.
const SMALLEST_DISK: f64 = 10.0;

/// What clients may send back without meaning anything by it.
pub(super) const READ_ONLY: &[&str] =
    &["createDate", "groupId", "id", "links", "name", "stateName"];

pub(super) fn describe(call: &Call<'_>, instance: &Instance) -> Value {
    let found = call.catalog.find_deployment(instance.id).ok().flatten();
    let report = found.as_ref().and_then(|found| found.report.as_ref());
    let version = report.map_or(MONGODB_VERSION, |report| report.version.as_str());
    let connection = connection_strings(call, instance, found.as_ref());
    let mut body = json!({
        "backupEnabled": true,
        "biConnector": { "enabled": false, "readPreference": "secondary" },
        "clusterType": cluster_type(report),
        "connectionStrings": connection,
        "createDate": format_instant(instance.created_at),
        "diskWarmingMode": "FULLY_WARMED",
        "encryptionAtRestProvider": "NONE",
        "globalClusterSelfManagedSharding": false,
        "groupId": instance.project.to_string(),
        "id": instance.id.to_string(),
        "labels": [],
        "links": links(call, instance),
        "mongoDBMajorVersion": major(version),
        "mongoDBVersion": version,
        "name": instance.name.as_str(),
        "paused": false,
        "pitEnabled": report.is_some_and(|report| report.holds("oplog")),
        "rootCertType": "ISRGROOTX1",
        "stateName": instance.state.as_str(),
        "tags": tags::describe(&instance.settings.tags),
        "terminationProtectionEnabled": instance.settings.termination_protection,
        "versionReleaseSystem": "LTS",
    });
    let of_version = match call.version.date {
        date if date >= D2024_08_05 => json!({
            "redactClientLogData": false,
            "replicaSetScalingStrategy": "WORKLOAD_TYPE",
            "replicationSpecs": [replication_spec(instance, report, Form::Dated2024)],
        }),
        date if date >= D2023_02_01 => json!({
            "diskSizeGB": disk_size(report),
            "replicationSpecs": [replication_spec(instance, report, Form::Dated2023)],
        }),
        _ => legacy(instance, report, &connection),
    };
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), of_version) {
        body.extend(more);
    }
    body
}

/// Which of the two newer forms a replication specification has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Dated2023,
    Dated2024,
}

fn replication_spec(instance: &Instance, report: Option<&ProbeReport>, form: Form) -> Value {
    let specs = |count: usize| {
        let mut specs = json!({
            "diskIOPS": 3_000,
            "ebsVolumeType": "STANDARD",
            "instanceSize": SMALLEST,
            "nodeCount": count,
        });
        if let (Form::Dated2024, Some(specs)) = (form, specs.as_object_mut()) {
            specs.insert("diskSizeGB".to_owned(), disk_size(report).into());
        }
        specs
    };
    let id = instance.id.to_string();
    let mut spec = json!({
        "id": id,
        "regionConfigs": [{
            "analyticsSpecs": specs(0),
            "autoScaling": {
                "compute": { "enabled": false, "scaleDownEnabled": false },
                "diskGB": { "enabled": false },
            },
            "electableSpecs": specs(node_count(report)),
            "priority": 7,
            "providerName": instance.settings.backing_provider,
            "readOnlySpecs": specs(0),
            "regionName": instance.settings.region,
        }],
        "zoneId": id,
        "zoneName": "Zone 1",
    });
    if let (Form::Dated2023, Some(spec)) = (form, spec.as_object_mut()) {
        spec.insert("numShards".to_owned(), 1.into());
    }
    spec
}

/// What only the oldest version has.
fn legacy(instance: &Instance, report: Option<&ProbeReport>, connection: &Value) -> Value {
    let region = &instance.settings.region;
    let region_config = json!({
        "analyticsNodes": 0,
        "electableNodes": legacy_node_count(report),
        "priority": 7,
        "readOnlyNodes": 0,
    });
    let regions = json!({ (region.as_str()): region_config });
    let mut body = json!({
        "autoScaling": {
            "compute": { "enabled": false, "scaleDownEnabled": false },
            "diskGBEnabled": false,
        },
        // This service's backups are what that version calls provider backups.
        "backupEnabled": false,
        "diskSizeGB": disk_size(report),
        "numShards": 1,
        "providerBackupEnabled": true,
        "providerSettings": {
            "diskIOPS": 3_000,
            "encryptEBSVolume": true,
            "instanceSizeName": SMALLEST,
            "providerName": instance.settings.backing_provider,
            "regionName": region,
            "volumeType": "STANDARD",
        },
        "replicationSpec": regions,
        "replicationSpecs": [{
            "id": instance.id.to_string(),
            "numShards": 1,
            "regionsConfig": regions,
            "zoneName": "Zone 1",
        }],
    });
    if let (Some(text), Some(body)) = (connection.get("standard"), body.as_object_mut()) {
        body.insert("mongoURI".to_owned(), text.clone());
        body.insert("mongoURIWithOptions".to_owned(), text.clone());
    }
    body
}

fn cluster_type(report: Option<&ProbeReport>) -> &'static str {
    match report.map(|report| report.topology) {
        Some(Topology::Sharded) => "SHARDED",
        Some(Topology::Standalone | Topology::ReplicaSet) | None => "REPLICASET",
    }
}

fn node_count(report: Option<&ProbeReport>) -> usize {
    report.map_or(1, |report| report.hosts.len().max(1))
}

/// The number of members that the oldest version can say: it knows sets of three, five and seven.
fn legacy_node_count(report: Option<&ProbeReport>) -> usize {
    [3, 5, 7].into_iter().find(|count| *count >= node_count(report)).unwrap_or(7)
}

/// What the databases take, in gigabytes.
fn disk_size(report: Option<&ProbeReport>) -> f64 {
    let sizes = report.into_iter().flat_map(|report| &report.databases);
    let bytes: i64 = sizes.filter_map(|database| database.bytes).sum();
    let gigabytes = bytes.max(0).unsigned_abs().div_ceil(1_000_000_000);
    u32::try_from(gigabytes).map_or(SMALLEST_DISK, f64::from).max(SMALLEST_DISK)
}

/// The first two numbers of a version.
fn major(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// How to connect, without a secret: by name and by hosts, whichever it was attached by.
fn connection_strings(call: &Call<'_>, instance: &Instance, found: Option<&Deployment>) -> Value {
    let Some(text) = connection_string((call.api, call.catalog), instance) else {
        return json!({});
    };
    let report = found.and_then(|found| found.report.as_ref());
    let by_hosts =
        report.filter(|report| text.starts_with("mongodb+srv:") && !report.hosts.is_empty());
    match by_hosts {
        Some(report) => {
            let hosts = report.hosts.join(",");
            let set = report.set_name.as_ref().map(|set| format!("&replicaSet={set}"));
            let standard = format!("mongodb://{hosts}/?ssl=true{}", set.unwrap_or_default());
            json!({ "standard": standard, "standardSrv": text })
        }
        None if text.starts_with("mongodb+srv:") => json!({ "standardSrv": text }),
        None => json!({ "standard": text }),
    }
}

fn links(call: &Call<'_>, instance: &Instance) -> Value {
    let cluster = call.href(&format!("/groups/{}/clusters/{}", instance.project, instance.name));
    json!([
        link(cluster.clone(), "self"),
        part_link(format!("{cluster}/backup/restoreJobs"), "restoreJobs"),
        part_link(format!("{cluster}/backup/snapshots"), "snapshots"),
    ])
}
