//! `GET /groups/{groupId}/managedSlowMs`: whether the service chooses what a slow operation is.
//!
//! The flag is kept and shown; the embedded database has no slow operation log.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

const NAME: &str = "managedSlowMs";

pub(crate) fn run(_: &Call<'_>, project: &Project) -> Result<Answer> {
    let is_enabled = project.settings.get(NAME).and_then(serde_json::Value::as_bool);
    Ok(Answer::entity(serde_json::Value::from(is_enabled.unwrap_or(true))))
}

/// Records the flag.
pub(super) fn set(
    call: &Call<'_>,
    project: &Project,
    is_enabled: &serde_json::Value,
) -> Result<Answer> {
    let mut changed = project.clone();
    changed.settings.insert(NAME.to_owned(), is_enabled.clone());
    call.catalog.update_project(&changed)?;
    Ok(Answer::no_content())
}
