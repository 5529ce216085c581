//! `GET /groups/{groupId}/events`: what happened in a project, the newest first.

use tidemark_catalog::{EventsOf, Project};

use super::event;
use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    event::list(call, EventsOf::Project(project.id))
}
