//! Restore jobs: one with its progress, and the newest of a project.

use askama::Template;
use http::StatusCode;
use tidemark_actions::restore_jobs;
use tidemark_catalog::{CatalogError, Instance, Page, Project, RestoreJob};
use tidemark_model::{RestoreJobId, RestoreState, Role};

use crate::answer::{Answer, page, see};
use crate::explained::Explained;
use crate::problem::Problem;
use crate::shown::Frame;
use crate::visit::{Visit, path_of};

/// Jobs of each instance in the list of a project.
const SHOWN: u64 = 20;

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    f: Frame,
    part: JobPart,
}

/// What changes while a job goes on; also on its own, for scripts that ask for it.
#[derive(Template)]
#[template(path = "job_part.html")]
struct JobPart {
    f: Frame,
    path: String,
    name: String,
    job: RestoreJob,
    step: Option<&'static str>,
    reason: Option<Explained>,
    percent: u64,
    may_cancel: bool,
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct JobsPage {
    f: Frame,
    rows: Vec<(String, String, RestoreJob)>,
}

impl JobPart {
    fn is_over(&self) -> bool {
        self.job.state.is_final()
    }
}

fn load(
    visit: &Visit<'_>,
    (project, instance): (&Project, &Instance),
    id: &str,
) -> Result<JobPart, Problem> {
    let id: RestoreJobId = id.parse().map_err(|_| Problem::Unknown)?;
    let job = visit.console.catalog.find_restore_job(instance.id, id)?;
    let job = job.ok_or(Problem::Unknown)?;
    let step = match &job.state {
        RestoreState::Running { step } => Some(step.as_str()),
        _ => None,
    };
    let reason = match &job.state {
        RestoreState::Failed { failure, .. } => Some(Explained::failure(&visit.frame, failure)),
        _ => None,
    };
    let done = (job.done.bytes * 100).checked_div(job.done.total_bytes).unwrap_or(0).min(100);
    let percent = if matches!(job.state, RestoreState::Completed { .. }) { 100 } else { done };
    Ok(JobPart {
        path: path_of(project, instance),
        name: instance.name.to_string(),
        may_cancel: visit.may(project, Role::GroupOwner),
        f: visit.frame.clone(),
        job,
        step,
        reason,
        percent,
    })
}

pub(crate) fn show(
    visit: &Visit<'_>,
    of: (&Project, &Instance),
    id: &str,
) -> Result<Answer, Problem> {
    let part = load(visit, of, id)?;
    Ok(page(StatusCode::OK, &JobPage { f: visit.frame.clone(), part }))
}

pub(crate) fn part(
    visit: &Visit<'_>,
    of: (&Project, &Instance),
    id: &str,
) -> Result<Answer, Problem> {
    Ok(page(StatusCode::OK, &load(visit, of, id)?))
}

/// Asks to stop a job.
pub(crate) fn cancel(
    visit: &Visit<'_>,
    (project, instance): (&Project, &Instance),
    id: &str,
) -> Result<Answer, Problem> {
    visit.require(project, Role::GroupOwner)?;
    let job = load(visit, (project, instance), id)?.job;
    let now = visit.frame.now;
    let stopped =
        visit.change("cancelRestoreJob", |catalog| restore_jobs::cancel(catalog, job.id, now));
    match stopped {
        // It is over already: its page says how.
        Ok(()) | Err(CatalogError::Transition(_)) => {
            Ok(see(&format!("{}/jobs/{}", path_of(project, instance), job.id)))
        }
        Err(error) => Err(error.into()),
    }
}

/// The newest jobs of all instances of a project.
pub(crate) fn list(visit: &Visit<'_>, project: &Project) -> Result<Answer, Problem> {
    let catalog = &visit.console.catalog;
    let mut rows = Vec::new();
    for instance in catalog.list_project_instances(project.id)? {
        let newest = Page { number: 1, size: SHOWN };
        for job in catalog.list_restore_jobs(instance.id, newest)?.items {
            let path = format!("{}/jobs/{}", path_of(project, &instance), job.id);
            rows.push((path, instance.name.to_string(), job));
        }
    }
    rows.sort_by_key(|(.., job)| std::cmp::Reverse(job.id));
    Ok(page(StatusCode::OK, &JobsPage { f: visit.frame.clone(), rows }))
}
