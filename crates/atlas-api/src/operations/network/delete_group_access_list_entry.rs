//! `DELETE /groups/{groupId}/accessList/{entryValue}`: removes an entry from the IP access list of a
//! project.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::network_entry::find;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    let source = find(call, project)?.source;
    call.catalog.delete_network_entry(project.id, &source, call.api.clock.now())?;
    Ok(Answer::no_content())
}
