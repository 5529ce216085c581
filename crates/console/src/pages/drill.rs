//! Restore drills: asked for, and their reports.

use askama::Template;
use http::StatusCode;
use tidemark_actions::drills::{self, CreateDrillError, DrillPoint, WantedDrill};
use tidemark_catalog::{Drill, Instance, Project};
use tidemark_model::{DrillId, DrillReport, DrillState, Role};

use crate::answer::{Answer, page, see};
use crate::asked::Fields;
use crate::explained::Explained;
use crate::problem::Problem;
use crate::shown::Frame;
use crate::visit::{Visit, path_of};

#[derive(Template)]
#[template(path = "drill.html")]
struct DrillPage {
    f: Frame,
    path: String,
    name: String,
    drill: Drill,
    step: Option<&'static str>,
    reason: Option<Explained>,
    report: Option<DrillReport>,
    signature: String,
    may_see_data: bool,
}

#[expect(clippy::unused_self, reason = "templates call methods")]
impl DrillPage {
    fn is_over(&self) -> bool {
        self.drill.state.finished_at().is_some()
    }

    /// What of a hash is enough to compare by eye.
    fn short(&self, hash: &str) -> String {
        hash.chars().take(16).collect()
    }
}

pub(crate) fn show(
    visit: &Visit<'_>,
    (project, instance): (&Project, &Instance),
    id: &str,
) -> Result<Answer, Problem> {
    let id: DrillId = id.parse().map_err(|_| Problem::Unknown)?;
    let drill = visit.console.catalog.find_drill(instance.id, id)?.ok_or(Problem::Unknown)?;
    let signed = drill.report.as_ref();
    let report = signed.and_then(|signed| serde_json::from_str(&signed.text).ok());
    let shown = DrillPage {
        f: visit.frame.clone(),
        path: path_of(project, instance),
        name: instance.name.to_string(),
        step: match drill.state {
            DrillState::Running { step } => Some(step.as_str()),
            _ => None,
        },
        reason: match &drill.state {
            DrillState::Failed { failure, .. } => Some(Explained::failure(&visit.frame, failure)),
            _ => None,
        },
        report,
        may_see_data: visit.may(project, Role::GroupBackupExportOperator),
        signature: signed.map(|signed| signed.signature.clone()).unwrap_or_default(),
        drill,
    };
    Ok(page(StatusCode::OK, &shown))
}

/// Asks for a drill of the newest snapshot, or of a moment at random.
pub(crate) fn create(
    visit: &Visit<'_>,
    (project, instance): (&Project, &Instance),
    form: &Fields,
) -> Result<Answer, Problem> {
    visit.require(project, Role::GroupBackupManager)?;
    let point = match form.get("point") {
        Some("random") => DrillPoint::Random,
        _ => DrillPoint::Newest,
    };
    let wanted = WantedDrill { point, checks: Vec::new(), is_scheduled: false };
    let now = visit.frame.now;
    let created =
        visit.change("createDrill", |catalog| drills::create(catalog, instance, &wanted, now));
    match created {
        Ok(drill) => Ok(see(&format!("{}/drills/{}", path_of(project, instance), drill.wanted.id))),
        Err(CreateDrillError::Catalog(error)) => Err(error.into()),
        Err(CreateDrillError::Unfinished) => {
            Err(Problem::Refused(Explained::message(&visit.frame, "refused-unfinished-drill")))
        }
        Err(CreateDrillError::NothingToRestore) => {
            Err(Problem::Refused(Explained::message(&visit.frame, "refused-nothing-to-restore")))
        }
        Err(error) => Err(Problem::Refused(Explained::other(&visit.frame, error))),
    }
}
