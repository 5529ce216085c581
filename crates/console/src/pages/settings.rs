//! Settings: what this server is, and on which ways people are told what goes wrong.

use askama::Template;
use http::StatusCode;
use tidemark_actions::AlertChannel;
use tidemark_catalog::Project;
use tidemark_model::Role;

use crate::answer::{Answer, page};
use crate::asked::Fields;
use crate::problem::Problem;
use crate::shown::Frame;
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    f: Frame,
    project: String,
    version: &'static str,
    channels: Vec<AlertChannel>,
    may_try: bool,
    /// The channel that was tried, and why the message did not arrive, if it did not.
    tried: Option<(String, Option<String>)>,
}

impl SettingsPage {
    /// Whether the message on the channel that was tried arrived.
    fn has_arrived(&self) -> bool {
        matches!(self.tried, Some((_, None)))
    }
}

/// The page.
pub(crate) fn show(visit: &Visit<'_>, project: &Project) -> Result<Answer, Problem> {
    answer(visit, project, (StatusCode::OK, None))
}

fn answer(
    visit: &Visit<'_>,
    project: &Project,
    (status, tried): (StatusCode, Option<(String, Option<String>)>),
) -> Result<Answer, Problem> {
    visit.require(project, Role::GroupReadOnly)?;
    let settings = SettingsPage {
        f: visit.frame.clone(),
        project: project.id.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        channels: visit.console.alerting.channels(),
        may_try: visit.require(project, Role::GroupOwner).is_ok(),
        tried,
    };
    Ok(page(status, &settings))
}

/// Sends a message on a channel.
pub(crate) fn try_channel(
    visit: &Visit<'_>,
    project: &Project,
    form: &Fields,
) -> Result<Answer, Problem> {
    visit.require(project, Role::GroupOwner)?;
    let name = form.get("channel").unwrap_or_default();
    match visit.console.alerting.try_channel(name) {
        Ok(true) => answer(visit, project, (StatusCode::OK, Some((name.to_owned(), None)))),
        Ok(false) => Err(Problem::Unknown),
        Err(reason) => {
            let tried = Some((name.to_owned(), Some(reason)));
            answer(visit, project, (StatusCode::BAD_GATEWAY, tried))
        }
    }
}
