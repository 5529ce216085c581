//! Restoring on one page: what, where to, the plan, and the name that confirms it.

use askama::Template;
use http::StatusCode;
use jiff::Timestamp;
use jiff::civil::DateTime;
use serde_json::{Map, Value};
use tidemark_actions::restore_jobs::{self, Ask, CreateRestoreJobError, Destination, Wish};
use tidemark_actions::{RehearseError, Rehearsed, rehearse};
use tidemark_catalog::{Instance, Order, Page, Project, Snapshot};
use tidemark_model::{
    DocumentChoice, ExportFormat, InstanceName, OnConflict, PlanError, PointInTime, Role, Rule,
    Selection, SnapshotId, SnapshotState,
};

use super::instance::{drawn, shown_at, window_of};
use crate::answer::{Answer, page, see};
use crate::asked::Fields;
use crate::explained::Explained;
use crate::problem::Problem;
use crate::shown::Frame;
use crate::timeline::Window;
use crate::visit::{AGAIN, Visit, path_of};

/// Snapshots to choose from.
const SHOWN: u64 = 200;

/// What is asked for, as the form has it.
#[derive(Debug, Clone, Default)]
struct Wanted {
    /// A moment, as a date and a time in UTC.
    moment: String,
    snapshot: String,
    namespaces: String,
    /// A collection of which only documents come back.
    documents: String,
    /// Which of them: a filter in Extended JSON, all if it is empty.
    filter: String,
    on_conflict: String,
    target: String,
}

impl Wanted {
    fn of(fields: &Fields, instance: &Instance) -> Self {
        let text = |name: &str| fields.get(name).unwrap_or_default().to_owned();
        let target = fields.get("target").unwrap_or(instance.name.as_str()).to_owned();
        Self {
            moment: text("moment"),
            snapshot: text("snapshot"),
            namespaces: text("namespaces"),
            documents: text("documents"),
            filter: text("filter"),
            on_conflict: text("on-conflict"),
            target,
        }
    }

    /// The documents that come back, if it is not collections that do.
    fn choice(&self) -> Result<Option<DocumentChoice>, &'static str> {
        if self.documents.is_empty() {
            let is_alone = self.filter.is_empty();
            return if is_alone { Ok(None) } else { Err("restore-filter-alone") };
        }
        let filter = match self.filter.as_str() {
            "" => Value::Object(Map::new()),
            text => match serde_json::from_str(text) {
                Ok(Value::Object(fields)) => Value::Object(fields),
                _ => return Err("restore-no-filter"),
            },
        };
        let on_conflict = OnConflict::parse(&self.on_conflict).unwrap_or_default();
        let (from, to) =
            self.documents.split_once('=').unwrap_or((&self.documents, &self.documents));
        let choice = DocumentChoice::new((from.trim(), to.trim()), filter, on_conflict);
        choice.map(Some).map_err(|_| "restore-no-namespaces")
    }

    /// The second of the moment.
    fn second(&self) -> Option<u32> {
        let at = moment_of(&self.moment)?;
        u32::try_from(at.as_second()).ok()
    }

    /// As the rules take it; or which message says what is wrong.
    fn wish(&self, project: &Project) -> Result<Wish, &'static str> {
        let name: InstanceName = self.target.parse().map_err(|_| "restore-no-target")?;
        let to = Destination { project: project.id, name };
        let snapshot: Option<SnapshotId> = match self.snapshot.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| "restore-no-snapshot")?),
        };
        let ask = match (self.moment.as_str(), snapshot) {
            ("", Some(snapshot)) => Ask::Automated { snapshot, to },
            ("", None) => return Err("restore-nothing"),
            (_, Some(_)) => return Err("restore-both"),
            _ => {
                let second = self.second().ok_or("restore-no-moment")?;
                Ask::PointInTime { moment: PointInTime::Second(second), base: None, to }
            }
        };
        let rules: Vec<Rule> = self
            .namespaces
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| {
                let (from, to) = line.split_once('=').unwrap_or((line, line));
                Rule { from: from.trim().to_owned(), to: to.trim().to_owned() }
            })
            .collect();
        let selection = if rules.is_empty() {
            Selection::everything()
        } else {
            Selection::new(rules).map_err(|_| "restore-no-namespaces")?
        };
        let documents = self.choice()?;
        if documents.is_some() && !selection.is_everything() {
            return Err("restore-documents-and-namespaces");
        }
        Ok(Wish {
            ask,
            selection,
            documents,
            replaces_in_place: false,
            format: ExportFormat::default(),
        })
    }
}

/// A moment as a form says it: `2026-11-27T01:02:03`, with a space or a `Z`, in UTC.
fn moment_of(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    // One that says its offset is exact.
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    let is_plain = |c: char| c.is_ascii_digit() || "-:T ".contains(c);
    let is_short = text.len() <= "2026-11-27T01:02:03".len();
    if !is_short || !text.chars().all(is_plain) || !text.contains(':') {
        return None;
    }
    let civil: DateTime = text.replace(' ', "T").parse().ok()?;
    civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|at| at.timestamp())
}

#[derive(Template)]
#[template(path = "restore.html")]
struct RestorePage {
    f: Frame,
    path: String,
    name: String,
    wanted: Wanted,
    window: Window,
    picked: Option<i64>,
    snapshots: Vec<Snapshot>,
    targets: Vec<String>,
    error: Option<Explained>,
}

#[expect(clippy::unused_self, reason = "templates call methods")]
impl RestorePage {
    fn shown_at(&self, snapshot: &Snapshot) -> Timestamp {
        shown_at(snapshot)
    }

    fn conflicts(&self) -> [&'static str; 3] {
        OnConflict::WORDS
    }

    fn conflict(&self, word: &str) -> String {
        conflict(&self.f, word)
    }

    fn is_chosen(&self, snapshot: &Snapshot) -> bool {
        self.wanted.snapshot == snapshot.id.to_string()
    }
}

#[derive(Template)]
#[template(path = "plan.html")]
struct PlanPage {
    f: Frame,
    path: String,
    name: String,
    wanted: Wanted,
    moment: Option<Timestamp>,
    plan: Rehearsed,
    error: Option<String>,
}

/// What happens to documents that are there already, in words.
fn conflict(f: &Frame, word: &str) -> String {
    f.t(match word {
        "replace" => "on-conflict-replace",
        "skip" => "on-conflict-skip",
        _ => "on-conflict-insert",
    })
}

impl PlanPage {
    fn conflict(&self) -> String {
        conflict(&self.f, &self.wanted.on_conflict)
    }

    /// Why it would fail.
    fn obstacles(&self) -> Vec<Explained> {
        self.plan.obstacles.iter().map(|found| Explained::failure(&self.f, found)).collect()
    }
}

/// The form; a click on the timeline fills in the moment and looks closer.
pub(crate) fn ask(
    visit: &Visit<'_>,
    (project, instance): (&Project, &Instance),
) -> Result<Answer, Problem> {
    show(visit, (project, instance), &visit.request.query(), None)
}

fn show(
    visit: &Visit<'_>,
    (project, instance): (&Project, &Instance),
    fields: &Fields,
    error: Option<Explained>,
) -> Result<Answer, Problem> {
    visit.require(project, Role::GroupOwner)?;
    let (spans, moments) = drawn(visit, instance)?;
    let mut window =
        window_of(fields).unwrap_or_else(|| Window::of(&spans, &moments, visit.frame.now));
    let mut wanted = Wanted::of(fields, instance);
    let click = fields.get("pick.x").and_then(|text| text.parse::<i64>().ok());
    if let Some(x) = click {
        let second = window.second_at(x);
        window = window.closer(second);
        let at = Timestamp::from_second(second).unwrap_or(visit.frame.now);
        wanted.moment = at.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        wanted.snapshot = String::new();
    }
    let catalog = &visit.console.catalog;
    let newest = Page { number: 1, size: SHOWN };
    let mut snapshots = catalog.list_snapshots(instance.id, Order::NewestFirst, newest)?.items;
    snapshots.retain(|snapshot| matches!(snapshot.state, SnapshotState::Completed { .. }));
    let targets = catalog.list_project_instances(project.id)?;
    let status = if error.is_some() { AGAIN } else { StatusCode::OK };
    let shown = RestorePage {
        f: visit.frame.clone(),
        path: path_of(project, instance),
        name: instance.name.to_string(),
        picked: wanted.second().map(i64::from),
        wanted,
        window,
        snapshots,
        targets: targets.iter().map(|target| target.name.to_string()).collect(),
        error,
    };
    Ok(page(status, &shown))
}

/// What the restore would do, with the form that confirms it.
pub(crate) fn plan(
    visit: &Visit<'_>,
    (project, instance): (&Project, &Instance),
    fields: &Fields,
    error: Option<&'static str>,
) -> Result<Answer, Problem> {
    visit.require(project, Role::GroupOwner)?;
    let wanted = Wanted::of(fields, instance);
    let planned = match wanted.wish(project) {
        Err(id) => Err(Explained::message(&visit.frame, id)),
        Ok(wish) => plan_of(visit, instance, &wish)?,
    };
    let plan = match planned {
        Ok(plan) => plan,
        Err(reason) => return show(visit, (project, instance), fields, Some(reason)),
    };
    let status = if error.is_some() { AGAIN } else { StatusCode::OK };
    let shown = PlanPage {
        f: visit.frame.clone(),
        path: path_of(project, instance),
        name: instance.name.to_string(),
        moment: moment_of(&wanted.moment),
        wanted,
        plan,
        error: error.map(|id| visit.frame.t(id)),
    };
    Ok(page(status, &shown))
}

/// The plan, or in words why there is none.
fn plan_of(
    visit: &Visit<'_>,
    instance: &Instance,
    wish: &Wish,
) -> Result<Result<Rehearsed, Explained>, Problem> {
    let (catalog, rehearsal) = (&visit.console.catalog, visit.console.rehearsal.as_ref());
    match rehearse((catalog, rehearsal), instance, wish, visit.frame.now) {
        Ok(plan) => Ok(Ok(plan)),
        Err(RehearseError::Refused(error)) => refusal(visit, error).map(Err),
        Err(RehearseError::Unknown(failure)) => Ok(Err(Explained::failure(&visit.frame, &failure))),
        Err(error @ RehearseError::Download) => Ok(Err(Explained::other(&visit.frame, error))),
    }
}

/// Why a restore is refused, in words.
fn refusal(visit: &Visit<'_>, error: CreateRestoreJobError) -> Result<Explained, Problem> {
    let f = &visit.frame;
    Ok(Explained::plain(match error {
        CreateRestoreJobError::Catalog(error) => return Err(error.into()),
        CreateRestoreJobError::SnapshotNotFound(_) | CreateRestoreJobError::SnapshotIncomplete => {
            f.t("restore-no-snapshot")
        }
        CreateRestoreJobError::TargetNotFound(_) => f.t("restore-no-target"),
        CreateRestoreJobError::TargetUnavailable(state) => {
            f.with("refused-unavailable", "state", &f.state(state.as_str()))
        }
        CreateRestoreJobError::Plan(PlanError::Outside { .. } | PlanError::WrongBase { .. }) => {
            f.t("restore-outside")
        }
    }))
}

/// Records that the restore is wanted, once the name of the target was typed.
pub(crate) fn create(
    visit: &Visit<'_>,
    (project, instance): (&Project, &Instance),
    form: &Fields,
) -> Result<Answer, Problem> {
    visit.require(project, Role::GroupOwner)?;
    let wanted = Wanted::of(form, instance);
    if form.get("confirm") != Some(wanted.target.as_str()) {
        return plan(visit, (project, instance), form, Some("restore-not-confirmed"));
    }
    let wish = match wanted.wish(project) {
        Ok(wish) => wish,
        Err(id) => {
            let why = Explained::message(&visit.frame, id);
            return show(visit, (project, instance), form, Some(why));
        }
    };
    let when = (visit.frame.now, visit.console.download_lifetime);
    let created = visit
        .change("createRestoreJob", |catalog| restore_jobs::create(catalog, instance, &wish, when));
    match created {
        Ok(job) => Ok(see(&format!("{}/jobs/{}", path_of(project, instance), job.id))),
        Err(error) => {
            let reason = refusal(visit, error)?;
            show(visit, (project, instance), form, Some(reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_to_the_second_in_utc() {
        for text in ["2026-11-27T01:02:03", "2026-11-27 01:02:03", "2026-11-27T01:02:03Z"] {
            assert_eq!(moment_of(text).unwrap().to_string(), "2026-11-27T01:02:03Z");
        }
        assert_eq!(moment_of("2026-11-27T01:02").unwrap().to_string(), "2026-11-27T01:02:00Z");
        assert_eq!(
            moment_of("2026-11-27T10:02:03+09:00").unwrap().to_string(),
            "2026-11-27T01:02:03Z"
        );
        for text in [
            "",
            "yesterday",
            "2026-11-31T01:02:03",
            "2026-11-27T01",
            "2026-11-27 01:02[Asia/Seoul]",
        ] {
            assert_eq!(moment_of(text), None, "{text}");
        }
    }
}
