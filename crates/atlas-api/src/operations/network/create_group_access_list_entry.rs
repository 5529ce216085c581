//! `POST /groups/{groupId}/accessList`: adds entries to the IP access list of a project, or replaces
//! them.

use axum::http::StatusCode;
use tidemark_catalog::{NetworkEntry, Page, Project};

use crate::answer::Answer;
use crate::call::Call;
use crate::error::{ApiError, Result};

use super::list_group_access_list_entries::list;
use super::network_entry;
use crate::operations::groups::limits;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let now = call.api.clock.now();
    let mut entries: Vec<NetworkEntry> = Vec::new();
    for item in call.items()? {
        let entry = network_entry::parse(&item, project, now)?;
        if entries.iter().any(|other| other.source == entry.source) {
            return Err(ApiError::duplicate_addresses());
        }
        entries.push(entry);
    }
    let present = call.catalog.list_network_entries(project.id, now, Page::EVERYTHING)?;
    let is_new =
        |entry: &&NetworkEntry| !present.items.iter().any(|other| other.source == entry.source);
    let wanted = present.total + entries.iter().filter(is_new).count() as u64;
    limits::check(project, limits::NETWORK_ENTRIES, wanted, ApiError::too_many_network_entries)?;
    call.catalog.put_network_entries(project.id, &entries, now)?;
    Ok(Answer::list(list(call, project)?).with_status(StatusCode::CREATED))
}
