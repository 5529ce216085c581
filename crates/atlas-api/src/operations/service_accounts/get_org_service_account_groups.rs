//! `GET /orgs/{orgId}/serviceAccounts/{clientId}/groups`: the projects in which a service account has
//! roles.

use serde_json::json;
use tidemark_catalog::Org;

use crate::answer::Answer;
use crate::call::Call;
use crate::error::Result;
use crate::links::list_body;

use super::service_account::find_in_org;

pub(crate) fn run(call: &Call<'_>, org: &Org) -> Result<Answer> {
    let account = find_in_org(call, org)?;
    let mut projects: Vec<_> = account.roles.projects.iter().map(|(id, _)| *id).collect();
    projects.sort_unstable();
    projects.dedup();
    let paged = call.page()?.of(projects);
    let describe = |id: &tidemark_model::ProjectId| {
        let roles: Vec<_> =
            account.roles.in_project(*id).map(tidemark_model::Role::as_str).collect();
        json!({ "groupId": id.to_string(), "roles": roles })
    };
    list_body(call, &paged, describe).map(Answer::list)
}
