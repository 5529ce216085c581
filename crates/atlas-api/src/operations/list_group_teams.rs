//! `GET /groups/{groupId}/teams`: the teams of a project. There are none: only keys and accounts log in.

use serde_json::Value;
use tidemark_catalog::Project;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_body;

pub(crate) fn run(call: &Call<'_>, _: &Project) -> Result<Answer> {
    list_body(call, &call.page()?.of(Vec::<Value>::new()), Clone::clone).map(Answer::list)
}
