//! What Prometheus reads, in its text format. docs/metrics.md says what each means.

use std::fmt::{Display, Write};

use jiff::Timestamp;
use tidemark_catalog::{Catalog, CatalogError, JobCount, Protection};
use tidemark_model::Clock;
use tidemark_vault::Vaults;
use tidemark_worker::{DURATION_BOUNDS, WorkerWatch};

/// A text that grows by metrics.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    /// Begins a metric.
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP tidemark_{name} {help}.\n# TYPE tidemark_{name} {kind}");
    }

    /// A value of the metric, or of a part of it.
    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "tidemark_{name}{labels} {value}");
    }
}

/// A label's value, as the format wants it.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Figures of the records: jobs, and how well instances are protected. The same on every node.
pub(crate) fn of_records(catalog: &Catalog, clock: &Clock) -> String {
    let mut out = Exposition::default();
    let told = tell_records(&mut out, catalog, clock);
    out.begin("catalog_up", "gauge", "Whether the records could be asked");
    out.value("catalog_up", &[], u8::from(told.is_ok()));
    if let Err(error) = told {
        tracing::warn!(%error, "metrics of the records are missing");
    }
    out.0
}

fn tell_records(
    out: &mut Exposition,
    catalog: &Catalog,
    clock: &Clock,
) -> Result<(), CatalogError> {
    tell_jobs(out, &catalog.count_open_jobs()?, &catalog.count_ended_jobs()?);
    tell_instances(out, &catalog.list_protection()?, clock.now().as_second());
    Ok(())
}

/// The states of jobs that wait or are done.
const OPEN_STATES: [(&str, &str); 6] = [
    ("snapshot", "queued"),
    ("snapshot", "inProgress"),
    ("restore", "queued"),
    ("restore", "running"),
    ("drill", "queued"),
    ("drill", "running"),
];

fn tell_jobs(out: &mut Exposition, open: &[JobCount], over: &[JobCount]) {
    out.begin("jobs", "gauge", "Jobs that wait or are done now");
    for (kind, state) in OPEN_STATES {
        let is_it = |found: &&JobCount| found.kind == kind && found.state == state;
        let count = open.iter().find(is_it).map_or(0, |found| found.count);
        out.value("jobs", &[("kind", kind), ("state", state)], count);
    }
    out.begin("jobs_ended_total", "counter", "Jobs that ended, by what became of them");
    for JobCount { kind, state, count } in over {
        out.value("jobs_ended_total", &[("kind", kind), ("outcome", state)], count);
    }
}

/// A figure of an instance, if it has one.
type Figure = fn(&Protection) -> Option<i64>;

/// Figures of each instance: their names, what they are, and how they are found.
const FIGURES: [(&str, &str, Figure); 6] = [
    (
        "newest_snapshot_timestamp_seconds",
        "When the newest complete snapshot was complete",
        |found| found.newest_snapshot.map(Timestamp::as_second),
    ),
    ("logical_bytes", "Bytes of documents in the newest complete snapshot", |found| {
        found.logical_bytes.and_then(|bytes| i64::try_from(bytes).ok())
    }),
    (
        "restorable_from_timestamp_seconds",
        "The oldest moment of the newest span that can be restored",
        |found| found.restorable_from.map(|at| i64::from(at.seconds)),
    ),
    (
        "captured_through_timestamp_seconds",
        "The newest entry of the oplog that is captured",
        |found| found.captured_through.map(|at| i64::from(at.seconds)),
    ),
    (
        "last_proven_restore_timestamp_seconds",
        "When a drill brought everything back last",
        |found| found.proven_at.map(Timestamp::as_second),
    ),
    ("newest_snapshot_failed", "Whether the newest snapshot failed", |found| {
        Some(i64::from(found.failed_at.is_some()))
    }),
];

fn tell_instances(out: &mut Exposition, all: &[Protection], now: i64) {
    for (name, help, of) in FIGURES {
        let name = format!("instance_{name}");
        out.begin(&name, "gauge", help);
        for found in all {
            if let Some(value) = of(found) {
                out.value(&name, &labels_of(found, &found.project.to_string()), value);
            }
        }
    }
    out.begin("instance_capture_lag_seconds", "gauge", "How old the newest captured entry is");
    for found in all.iter().filter(|found| found.state == "IDLE") {
        if let Some(through) = found.captured_through {
            let (lag, project) = (now - i64::from(through.seconds), found.project.to_string());
            let labels = labels_of(found, &project);
            out.value("instance_capture_lag_seconds", &labels, lag.max(0));
        }
    }
    out.begin("instances", "gauge", "Instances by their state");
    for state in ["CREATING", "IDLE", "UPDATING", "DELETING", "REPAIRING"] {
        let count = all.iter().filter(|found| found.state == state).count();
        out.value("instances", &[("state", state)], count);
    }
}

fn labels_of<'a>(found: &'a Protection, project: &'a str) -> [(&'static str, &'a str); 2] {
    [("instance", &found.name), ("project", project)]
}

/// The label of a vault; the common one has none.
fn of_vault(name: &str) -> Vec<(&'static str, &str)> {
    if name.is_empty() { Vec::new() } else { vec![("vault", name)] }
}

/// Figures of the vaults of this node.
pub(crate) fn of_vaults(vaults: &Vaults) -> String {
    let mut out = Exposition::default();
    let healths: Vec<_> =
        vaults.iter().map(|(name, vault)| (name.unwrap_or(""), vault.health())).collect();
    out.begin("vault_stored_bytes", "gauge", "Bytes of packs in a vault");
    for (name, health) in &healths {
        out.value("vault_stored_bytes", &of_vault(name), health.stored_bytes);
    }
    out.begin("vault_unreadable_packs", "gauge", "Packs that cannot be read");
    for (name, health) in &healths {
        out.value("vault_unreadable_packs", &of_vault(name), health.unreadable_packs.len());
    }
    out.begin("vault_bad_chunks", "gauge", "Chunks that could not be read");
    for (name, health) in &healths {
        out.value("vault_bad_chunks", &of_vault(name), health.bad_chunks);
    }
    out.begin("vault_missing_chunks", "gauge", "Chunks that snapshots name and the vault lacks");
    for (name, health) in &healths {
        let lost: usize = health.lost.iter().map(|(_, chunks)| chunks).sum();
        out.value("vault_missing_chunks", &of_vault(name), lost);
    }
    let requests = vaults.iter().flat_map(|(name, vault)| {
        vault.requests().into_iter().map(move |(kind, count)| (name.unwrap_or(""), kind, count))
    });
    let requests: Vec<_> = requests.collect();
    if !requests.is_empty() {
        out.begin("vault_requests_total", "counter", "Requests to the vaults' buckets");
    }
    for (name, kind, count) in requests {
        let labels: Vec<_> = [("kind", kind.as_str())].into_iter().chain(of_vault(name)).collect();
        out.value("vault_requests_total", &labels, count);
    }
    out.0
}

/// Figures of what this node does, and of what is wrong with it.
pub(crate) fn of_node(worker: Option<&WorkerWatch>, complaints: usize) -> String {
    let mut out = Exposition::default();
    out.begin("build_info", "gauge", "The release that runs");
    out.value("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    out.begin("complaints", "gauge", "What /readyz complains of");
    out.value("complaints", &[], complaints);
    let Some(worker) = worker else { return out.0 };
    out.begin("oplog_gaps", "gauge", "Gaps in captured oplogs since the start");
    out.value("oplog_gaps", &[], worker.gaps());
    out.begin("leases_lost_total", "counter", "Jobs that another node took since the start");
    out.value("leases_lost_total", &[], worker.leases_lost());
    out.begin("job_duration_seconds", "histogram", "How long attempts of jobs took");
    for (kind, found) in worker.durations() {
        for (bound, count) in DURATION_BOUNDS.iter().zip(found.within) {
            let bound = bound.to_string();
            out.value("job_duration_seconds_bucket", &[("kind", kind), ("le", &bound)], count);
        }
        let all = [("kind", kind), ("le", "+Inf")];
        out.value("job_duration_seconds_bucket", &all, found.count);
        out.value("job_duration_seconds_sum", &[("kind", kind)], found.seconds);
        out.value("job_duration_seconds_count", &[("kind", kind)], found.count);
    }
    out.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_break_out() {
        let mut out = Exposition::default();
        out.value("x", &[("instance", "a\"b\\c\nd")], 1);
        assert_eq!(out.0, "tidemark_x{instance=\"a\\\"b\\\\c\\nd\"} 1\n");
    }
}
