//! `DELETE /groups/{groupId}/limits/{limitName}`: sets a limit of a project back to its default.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::limits::find;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let mut changed = project.clone();
    changed.limits.remove(find(call)?.name);
    call.catalog.update_project(&changed)?;
    Ok(Answer::no_content())
}
