//! `GET /orgs/{orgId}/users`: the users of an organization. There are none: only keys and accounts log in.

use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_of;

pub(crate) fn run(call: &Call<'_>, _: &Org) -> Result<Answer> {
    list_of(call, call.page()?.of(Vec::new())).map(Answer::list)
}
