//! `GET /groups/{groupId}/teams`: the teams of a project. There are none: only keys and accounts log in.

use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_of;

pub(crate) fn run(call: &Call<'_>, _: &Project) -> Result<Answer> {
    list_of(call, call.page()?.of(Vec::new())).map(Answer::list)
}
