//! The fleet: all instances of a project, and how well each is protected.

use askama::Template;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::json;
use tidemark_actions::overviews::{self, Overview};
use tidemark_catalog::{Backing, Page, Project};
use tidemark_model::{OplogTime, Role, SnapshotState};

use crate::Wanted;
use crate::answer::{Answer, page, see};
use crate::asked::Fields;
use crate::explained::Explained;
use crate::problem::Problem;
use crate::shown::Frame;
use crate::visit::{AGAIN, Visit, path_of};

#[derive(Template)]
#[template(path = "projects.html")]
struct ProjectsPage {
    f: Frame,
    projects: Vec<Project>,
}

#[derive(Template)]
#[template(path = "fleet.html")]
struct FleetPage {
    f: Frame,
    project: String,
    rows: Vec<Row>,
    may_create: bool,
    offers_serverless: bool,
    /// The name that was asked for, and why it was refused.
    refused: Option<(String, Explained)>,
}

/// An instance, as the table shows it.
struct Row {
    path: String,
    name: String,
    state: &'static str,
    is_attached: bool,
    snapshot_at: Option<Timestamp>,
    restorable_since: Option<Timestamp>,
    captured_at: Option<Timestamp>,
    proven_at: Option<Timestamp>,
    size_bytes: u64,
}

/// The instant of a place in an oplog.
pub(crate) fn instant_of(at: OplogTime) -> Timestamp {
    Timestamp::from_second(i64::from(at.seconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Row {
    fn new(project: &Project, found: &Overview) -> Self {
        let (snapshot_at, size_bytes) = match &found.newest_snapshot {
            Some(snapshot) => match &snapshot.state {
                SnapshotState::Completed { size_bytes, .. } => {
                    (Some(snapshot.created_at), *size_bytes)
                }
                _ => (Some(snapshot.created_at), 0),
            },
            None => (None, 0),
        };
        Self {
            path: path_of(project, &found.instance),
            name: found.instance.name.to_string(),
            state: found.instance.state.as_str(),
            is_attached: found.instance.backing == Backing::Attached,
            snapshot_at,
            restorable_since: found.restorable.last().map(|span| instant_of(span.first)),
            captured_at: found.last_captured.map(instant_of),
            proven_at: found.proven.as_ref().and_then(|drill| drill.state.finished_at()),
            size_bytes,
        }
    }
}

/// The projects that the visitor sees; the only one at once.
pub(crate) fn choose(visit: &Visit<'_>) -> Result<Answer, Problem> {
    let catalog = &visit.console.catalog;
    let found = catalog.list_projects(&visit.visitor.caller, "", Page::EVERYTHING)?;
    if let [only] = found.items.as_slice() {
        return Ok(see(&format!("/projects/{}", only.id)));
    }
    let shown = ProjectsPage { f: visit.frame.clone(), projects: found.items };
    Ok(page(StatusCode::OK, &shown))
}

pub(crate) fn show(visit: &Visit<'_>, project: &Project) -> Result<Answer, Problem> {
    answer(visit, project, None)
}

/// Makes an instance, inside Tidemark unless the configuration places it elsewhere.
pub(crate) fn create(
    visit: &Visit<'_>,
    project: &Project,
    form: &Fields,
) -> Result<Answer, Problem> {
    let name = form.get("name").unwrap_or_default();
    let offers_serverless = visit.console.offers_serverless;
    if form.get("view") == Some("serverless") && !offers_serverless {
        let why = Explained::message(&visit.frame, "code-switched-off");
        return answer(visit, project, Some((name.to_owned(), why)));
    }
    let (operation, provider) = if form.get("view") == Some("flex") || !offers_serverless {
        (
            "createGroupFlexCluster",
            json!({ "backingProviderName": "AWS", "regionName": "US_EAST_1" }),
        )
    } else {
        let provider = json!({
            "backingProviderName": "AWS", "providerName": "SERVERLESS", "regionName": "US_EAST_1",
        });
        ("createGroupServerlessInstance", provider)
    };
    let body = json!({ "name": name, "providerSettings": provider });
    match visit.ask(project, Wanted::new(operation).with_body(&body)) {
        Ok(_) => Ok(see(&format!("/projects/{}", project.id))),
        Err(Problem::Refused(why)) => answer(visit, project, Some((name.to_owned(), why))),
        Err(problem) => Err(problem),
    }
}

fn answer(
    visit: &Visit<'_>,
    project: &Project,
    refused: Option<(String, Explained)>,
) -> Result<Answer, Problem> {
    let status = if refused.is_some() { AGAIN } else { StatusCode::OK };
    let found = overviews::list(&visit.console.catalog, project.id, visit.frame.now)?;
    let rows = found.iter().map(|overview| Row::new(project, overview)).collect();
    let shown = FleetPage {
        f: visit.frame.clone(),
        project: project.id.to_string(),
        rows,
        may_create: visit.may(project, Role::GroupOwner),
        offers_serverless: visit.console.offers_serverless,
        refused,
    };
    Ok(page(status, &shown))
}
