//! `GET /orgs/{orgId}/events`: what happened in an organization, the newest first.

use tidemark_catalog::{EventsOf, Org};

use super::event;
use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    event::list(call, EventsOf::Org(org.id))
}
