//! `GET /orgs/{orgId}/events/{eventId}`: one event of an organization.

use tidemark_catalog::{EventsOf, Org};

use super::event;
use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    event::get(call, EventsOf::Org(org.id))
}
