//! `PATCH /groups/{groupId}/settings`: changes the settings of a project.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::group_settings::{change, describe};

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let changed =
        Project { settings: change(&project.settings, &call.body()?)?, ..project.clone() };
    call.catalog.update_project(&changed)?;
    Ok(Answer::entity(describe(&changed)))
}
