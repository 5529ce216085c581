//! `DELETE /groups/{groupId}/managedSlowMs/disable`: disables the choice of what a slow operation is.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;

use super::get_group_managed_slow_ms::set;

pub(crate) fn run(call: &Call<'_>, project: &Project) -> Result<Answer> {
    set(call, project, &false.into())
}
