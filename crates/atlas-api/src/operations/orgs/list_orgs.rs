//! `GET /orgs`: the organization of the caller.

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_body;

use super::org::describe_item;

pub(crate) fn run(call: &Call<'_>) -> Result<Answer> {
    let prefix = call.query_value("name").unwrap_or_default().to_lowercase();
    let org = call.catalog.find_org(call.caller.org)?;
    let orgs = org.into_iter().filter(|org| org.name.to_lowercase().starts_with(&prefix)).collect();
    list_body(call, &call.page()?.of(orgs), |org| describe_item(call, org)).map(Answer::list)
}
