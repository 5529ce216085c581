//! Settings: what this server is, and on which ways people are told what goes wrong.

use askama::Template;
use http::StatusCode;
use tidemark_actions::AlertChannel;
use tidemark_actions::vaults::{self, ProjectVault, VaultState};
use tidemark_catalog::Project;
use tidemark_model::Role;

use crate::answer::{Answer, page};
use crate::asked::Fields;
use crate::language::number;
use crate::problem::Problem;
use crate::shown::Frame;
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    f: Frame,
    project: String,
    version: &'static str,
    vaults: Vec<ProjectVault>,
    channels: Vec<AlertChannel>,
    may_try: bool,
    /// The channel that was tried, and why the message did not arrive, if it did not.
    tried: Option<(String, Option<String>)>,
}

#[expect(
    clippy::unused_self,
    clippy::trivially_copy_pass_by_ref,
    reason = "templates call methods, and pass references"
)]
impl SettingsPage {
    /// Packs of a vault that were read back since they were written.
    fn read_back(&self, state: &VaultState) -> String {
        count(state.packs.saturating_sub(state.packs_unread))
    }

    fn count(&self, number: &usize) -> String {
        count(*number)
    }

    /// Whether the message on the channel that was tried arrived.
    fn has_arrived(&self) -> bool {
        matches!(self.tried, Some((_, None)))
    }
}

fn count(items: usize) -> String {
    number(u64::try_from(items).unwrap_or(u64::MAX))
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
    let console = visit.console;
    let look = (console.vaults.as_slice(), console.vault_look.as_ref());
    let settings = SettingsPage {
        f: visit.frame.clone(),
        project: project.id.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        vaults: vaults::list(&console.catalog, project, look)?,
        channels: console.alerting.channels(),
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
