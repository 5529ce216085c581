//! Who may what: API keys and service accounts of a project, and the users of its databases.

use askama::Template;
use http::StatusCode;
use serde_json::{Value, json};
use tidemark_catalog::Project;
use tidemark_model::Role;

use crate::Wanted;
use crate::answer::{Answer, page, see};
use crate::asked::Fields;
use crate::problem::Problem;
use crate::shown::Frame;
use crate::visit::{AGAIN, Visit};

/// Roles to choose from, the least first.
const ROLES: &[Role] = &[
    Role::GroupReadOnly,
    Role::GroupBackupManager,
    Role::GroupBackupExportOperator,
    Role::GroupDatabaseAccessAdmin,
    Role::GroupAccessManager,
    Role::GroupOwner,
];
/// What users of databases may do.
const USER_ROLES: &[&str] = &["readAnyDatabase", "readWriteAnyDatabase", "backup", "atlasAdmin"];
/// So long the first secret of a service account works: the most that there is.
const SECRET_HOURS: u32 = 8_760;
/// Rows of each list; more are what the command line is for.
const SHOWN: &str = "500";

/// Somebody, or something, that may do something.
struct Row {
    /// The id by which it is removed.
    id: String,
    name: String,
    /// What it signs in with.
    login: String,
    roles: String,
}

/// A secret that was just made, which is shown once.
struct Made {
    login: String,
    secret: String,
}

#[derive(Template)]
#[template(path = "access.html")]
struct AccessPage {
    f: Frame,
    project: String,
    keys: Vec<Row>,
    accounts: Vec<Row>,
    users: Vec<Row>,
    roles: Vec<&'static str>,
    user_roles: &'static [&'static str],
    may_keys: bool,
    may_accounts: bool,
    may_users: bool,
    made: Option<Made>,
    error: Option<String>,
}

/// The page.
pub(crate) fn show(visit: &Visit<'_>, project: &Project) -> Result<Answer, Problem> {
    answer(visit, project, None, None)
}

fn answer(
    visit: &Visit<'_>,
    project: &Project,
    made: Option<Made>,
    error: Option<String>,
) -> Result<Answer, Problem> {
    let status = if error.is_some() { AGAIN } else { StatusCode::OK };
    let rows = |operation: &str, names: [&str; 3]| -> Result<Vec<Row>, Problem> {
        let query = [("itemsPerPage", SHOWN)];
        let list = visit.ask(project, Wanted::new(operation).with_query(&query))?;
        // Lists of the API are objects with `results`, but not all.
        let found = list.get("results").unwrap_or(&list).as_array().cloned().unwrap_or_default();
        Ok(found.iter().map(|item| row(item, names, project)).collect())
    };
    let shown = AccessPage {
        f: visit.frame.clone(),
        project: project.id.to_string(),
        keys: rows("listGroupApiKeys", ["id", "desc", "publicKey"])?,
        accounts: rows("listGroupServiceAccounts", ["clientId", "name", "clientId"])?,
        users: rows("listGroupDatabaseUsers", ["username", "username", "username"])?,
        // Nobody gives what they do not have.
        roles: ROLES
            .iter()
            .filter(|role| visit.may(project, **role))
            .map(|role| role.as_str())
            .collect(),
        user_roles: USER_ROLES,
        may_keys: visit.may(project, Role::GroupAccessManager),
        may_accounts: visit.may(project, Role::GroupOwner),
        may_users: visit.may(project, Role::GroupDatabaseAccessAdmin),
        made,
        error,
    };
    Ok(page(status, &shown))
}

fn row(item: &Value, [id, name, login]: [&str; 3], project: &Project) -> Row {
    let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let project = project.id.to_string();
    let roles = item.get("roles").and_then(Value::as_array).into_iter().flatten();
    let roles: Vec<&str> = roles
        .filter(|role| role.get("groupId").is_none_or(|id| id.as_str() == Some(&project)))
        .filter(|role| role.get("orgId").is_none())
        .filter_map(|role| role.as_str().or_else(|| role.get("roleName")?.as_str()))
        .collect();
    Row { id: text(id), name: text(name), login: text(login), roles: roles.join(", ") }
}

/// Adds or removes what a form says.
pub(crate) fn change(
    visit: &Visit<'_>,
    project: &Project,
    form: &Fields,
) -> Result<Answer, Problem> {
    let text = |name: &str| form.get(name).unwrap_or_default();
    let done = match text("do") {
        "add-key" => {
            let body = json!({ "desc": text("name"), "roles": [text("role")] });
            visit.ask(project, Wanted::new("createGroupApiKey").with_body(&body))
        }
        "add-account" => {
            let body = json!({
                "description": text("name"), "name": text("name"), "roles": [text("role")],
                "secretExpiresAfterHours": SECRET_HOURS,
            });
            visit.ask(project, Wanted::new("createGroupServiceAccount").with_body(&body))
        }
        "add-user" => {
            let role = json!({ "roleName": text("role"), "databaseName": "admin" });
            // A password may begin or end with a space.
            let password = form.exact("password").unwrap_or_default();
            let body = json!({
                "databaseName": "admin", "password": password, "roles": [role],
                "username": text("name"),
            });
            visit
                .ask(project, Wanted::new("createGroupDatabaseUser").with_body(&body))
                .map(|_| Value::Null)
        }
        "remove-key" => {
            let id = [("apiUserId", text("id"))];
            visit.ask(project, Wanted::new("removeGroupApiKey").with_values(&id))
        }
        "remove-account" => {
            let id = [("clientId", text("id"))];
            visit.ask(project, Wanted::new("deleteGroupServiceAccount").with_values(&id))
        }
        "remove-user" => {
            let values = [("databaseName", "admin"), ("username", text("id"))];
            visit.ask(project, Wanted::new("deleteGroupDatabaseUser").with_values(&values))
        }
        _ => return Err(Problem::Unknown),
    };
    match done {
        Ok(body) => match made(&body) {
            Some(made) => answer(visit, project, Some(made), None),
            None => Ok(see(&format!("/projects/{}/access", project.id))),
        },
        Err(Problem::Refused(reason)) => answer(visit, project, None, Some(reason)),
        Err(problem) => Err(problem),
    }
}

/// The secret of an answer.
fn made(body: &Value) -> Option<Made> {
    let text = |path: &str| body.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let login = text("/publicKey").or_else(|| text("/clientId"))?;
    let secret = text("/privateKey").or_else(|| text("/secrets/0/secret"))?;
    Some(Made { login, secret })
}
