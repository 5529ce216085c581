//! `GET /groups/{groupId}/events/{eventId}`: one event of a project.

use tidemark_catalog::{EventsOf, Project};

use super::event;
use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    event::get(call, EventsOf::Project(project.id))
}
