//! `GET /groups/{groupId}/accessList/{entryValue}/status`: whether an entry holds already; it always
//! does.

use serde_json::json;
use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::network_entry::find;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    find(call, project)?;
    Ok(Answer::entity(json!({ "STATUS": "ACTIVE" })))
}
