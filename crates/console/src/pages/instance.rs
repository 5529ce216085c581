//! One instance: its timeline, its snapshots, its jobs and its drills.

use askama::Template;
use http::StatusCode;
use jiff::Timestamp;
use tidemark_actions::overviews::{self, Overview};
use tidemark_actions::snapshots::{self, TakeSnapshotError};
use tidemark_catalog::{
    Backing, Drill, Instance, InstanceFamily, Order, Page, Project, RestoreJob, Snapshot,
};
use tidemark_model::{OplogSpan, Role, SnapshotState};

use super::fleet::instant_of;
use crate::Wanted;
use crate::answer::{Answer, page, picture, see};
use crate::asked::Fields;
use crate::explained::Explained;
use crate::problem::Problem;
use crate::shown::Frame;
use crate::timeline::{Window, draw};
use crate::visit::{Visit, path_of};

/// Rows of each list; the newest come first.
const SHOWN: u64 = 20;
/// Snapshots that are drawn.
const DRAWN: u64 = 500;

#[derive(Template)]
#[template(path = "instance.html")]
struct InstancePage {
    f: Frame,
    path: String,
    found: Overview,
    spans: Vec<(Timestamp, Timestamp)>,
    snapshots: Vec<Snapshot>,
    jobs: Vec<RestoreJob>,
    drills: Vec<Drill>,
    proven_at: Option<Timestamp>,
    /// Where its clients connect, once it is there.
    address: Option<String>,
    may_take: bool,
    may_restore: bool,
    window: Window,
}

#[expect(clippy::unused_self, reason = "templates call methods")]
impl InstancePage {
    fn is_attached(&self) -> bool {
        self.found.instance.backing == Backing::Attached
    }

    /// The moment that a snapshot shows.
    fn shown_at(&self, snapshot: &Snapshot) -> Timestamp {
        shown_at(snapshot)
    }

    fn size(&self, snapshot: &Snapshot) -> Option<u64> {
        match &snapshot.state {
            SnapshotState::Completed { size_bytes, .. } => Some(*size_bytes),
            _ => None,
        }
    }

    fn reason(&self, snapshot: &Snapshot) -> Option<Explained> {
        match &snapshot.state {
            SnapshotState::Failed { failure, .. } => Some(Explained::failure(&self.f, failure)),
            _ => None,
        }
    }
}

/// The moment that a snapshot shows.
pub(crate) fn shown_at(snapshot: &Snapshot) -> Timestamp {
    match &snapshot.state {
        SnapshotState::Completed { consistent_at: Some(at), .. } => instant_of(*at),
        _ => snapshot.created_at,
    }
}

pub(crate) fn show(
    visit: &Visit<'_>,
    (project, instance): (&Project, &Instance),
) -> Result<Answer, Problem> {
    let catalog = &visit.console.catalog;
    let first = Page { number: 1, size: SHOWN };
    let found = overviews::describe(catalog, instance.clone(), visit.frame.now)?;
    let snapshots = catalog.list_snapshots(instance.id, Order::NewestFirst, first)?.items;
    let (spans, drawn) = drawn(visit, instance)?;
    let shown = InstancePage {
        path: path_of(project, instance),
        window: Window::of(&spans, &drawn, visit.frame.now),
        spans: spans.iter().map(|span| (instant_of(span.first), instant_of(span.last))).collect(),
        proven_at: found.proven.as_ref().and_then(|drill| drill.state.finished_at()),
        found,
        snapshots,
        jobs: catalog.list_restore_jobs(instance.id, first)?.items,
        drills: catalog.list_drills(instance.id, first)?.items,
        address: address_of(visit, (project, instance))?,
        may_take: visit.may(project, Role::GroupBackupManager),
        may_restore: visit.may(project, Role::GroupOwner),
        f: visit.frame.clone(),
    };
    Ok(page(StatusCode::OK, &shown))
}

/// The API's operations on an instance, by the view that it is shown through.
struct Operations {
    get: &'static str,
    remove: &'static str,
    /// What its name is called in their paths.
    named: &'static str,
}

fn operations_of(instance: &Instance) -> Operations {
    let (get, remove, named) = match instance.family {
        InstanceFamily::Serverless => {
            ("getGroupServerlessInstance", "deleteGroupServerlessInstance", "name")
        }
        InstanceFamily::Flex => ("getGroupFlexCluster", "deleteGroupFlexCluster", "name"),
        InstanceFamily::Cluster => ("getGroupCluster", "deleteGroupCluster", "clusterName"),
    };
    Operations { get, remove, named }
}

/// Where clients of an instance connect, as its view says; nothing while it is made or mended.
fn address_of(
    visit: &Visit<'_>,
    (project, instance): (&Project, &Instance),
) -> Result<Option<String>, Problem> {
    let Operations { get, named, .. } = operations_of(instance);
    let values = [(named, instance.name.as_str())];
    let found = match visit.ask(project, Wanted::new(get).with_values(&values)) {
        Ok(found) => found,
        // The rest of the page is of use without it.
        Err(Problem::Refused(_)) => return Ok(None),
        Err(problem) => return Err(problem),
    };
    let kinds = ["/connectionStrings/standardSrv", "/connectionStrings/standard"];
    let address = kinds.iter().find_map(|kind| found.pointer(kind)?.as_str());
    Ok(address.filter(|address| !address.is_empty()).map(str::to_owned))
}

/// What is drawn on the timeline: recoverable ranges, and the moments of snapshots.
pub(crate) fn drawn(
    visit: &Visit<'_>,
    instance: &Instance,
) -> Result<(Vec<OplogSpan>, Vec<Timestamp>), Problem> {
    let catalog = &visit.console.catalog;
    let spans =
        tidemark_actions::restore_jobs::list_restorable(catalog, instance, visit.frame.now)?;
    let newest = Page { number: 1, size: DRAWN };
    let snapshots = catalog.list_snapshots(instance.id, Order::NewestFirst, newest)?;
    let is_complete = |s: &&Snapshot| matches!(s.state, SnapshotState::Completed { .. });
    Ok((spans, snapshots.items.iter().filter(is_complete).map(shown_at).collect()))
}

/// The window that a query names.
pub(crate) fn window_of(query: &Fields) -> Option<Window> {
    let number = |name: &str| query.get(name)?.parse::<i64>().ok();
    let (from, to) = (number("from")?, number("to")?);
    // What is no time of an oplog is nothing to draw.
    (0..=i64::from(u32::MAX))
        .contains(&from)
        .then(|| Window::new(from, to.min(i64::from(u32::MAX))))
}

/// The picture of the timeline.
pub(crate) fn timeline(visit: &Visit<'_>, instance: &Instance) -> Result<Answer, Problem> {
    let query = visit.request.query();
    let (spans, snapshots) = drawn(visit, instance)?;
    let window =
        window_of(&query).unwrap_or_else(|| Window::of(&spans, &snapshots, visit.frame.now));
    let picked = query.get("picked").and_then(|text| text.parse().ok());
    Ok(picture(draw(window, (&spans, &snapshots), picked)))
}

/// Removes the instance, once its name was typed.
pub(crate) fn remove(
    visit: &Visit<'_>,
    (project, instance): (&Project, &Instance),
    form: &Fields,
) -> Result<Answer, Problem> {
    let name = instance.name.as_str();
    if form.get("confirm") != Some(name) {
        return Err(Problem::Refused(Explained::message(&visit.frame, "restore-not-confirmed")));
    }
    let Operations { remove, named, .. } = operations_of(instance);
    visit.ask(project, Wanted::new(remove).with_values(&[(named, name)]))?;
    Ok(see(&format!("/projects/{}", project.id)))
}

/// Takes a snapshot now.
pub(crate) fn take_snapshot(
    visit: &Visit<'_>,
    (project, instance): (&Project, &Instance),
) -> Result<Answer, Problem> {
    visit.require(project, Role::GroupBackupManager)?;
    let (retention, now) = (visit.console.policy.snapshot_retention, visit.frame.now);
    let taken = visit
        .change("createSnapshot", |catalog| snapshots::take(catalog, instance, retention, now));
    match taken {
        Ok(_) => Ok(see(&path_of(project, instance))),
        Err(TakeSnapshotError::Catalog(error)) => Err(error.into()),
        Err(TakeSnapshotError::Unfinished) => {
            Err(Problem::Refused(Explained::message(&visit.frame, "refused-unfinished-snapshot")))
        }
        Err(TakeSnapshotError::Unavailable(state)) => {
            let state = visit.frame.state(state.as_str());
            let why = visit.frame.with("refused-unavailable", "state", &state);
            Err(Problem::Refused(Explained::plain(why)))
        }
    }
}
