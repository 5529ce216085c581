//! Who may what: API keys and service accounts of a project, and the users of its databases.

use askama::Template;
use http::StatusCode;
use serde_json::{Value, json};
use tidemark_catalog::Project;
use tidemark_model::{Role, Secret};

use crate::Wanted;
use crate::answer::{Answer, page, see};
use crate::asked::Fields;
use crate::explained::Explained;
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

/// Something that can be done with a row: what its form says, and the ids of what its button says, alone
/// and with the row's name.
struct Action {
    wanted: &'static str,
    word: &'static str,
    one: &'static str,
}

impl Action {
    /// Whether it has to be confirmed.
    fn is_final(&self) -> bool {
        is_final(self.wanted)
    }
}

/// Whether what a form says ends something in all projects.
fn is_final(wanted: &str) -> bool {
    wanted.starts_with("delete-")
}

/// What is listed, and what can be done with each.
struct Table {
    rows: Vec<Row>,
    actions: Vec<Action>,
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
    keys: Table,
    accounts: Table,
    users: Table,
    roles: Vec<&'static str>,
    user_roles: &'static [&'static str],
    may_keys: bool,
    may_accounts: bool,
    may_users: bool,
    /// What marks this page's forms, so that each does what it does once.
    once: String,
    made: Option<Made>,
    error: Option<Explained>,
}

/// The page.
pub(crate) fn show(visit: &Visit<'_>, project: &Project) -> Result<Answer, Problem> {
    answer(visit, project, None, None)
}

fn answer(
    visit: &Visit<'_>,
    project: &Project,
    made: Option<Made>,
    error: Option<Explained>,
) -> Result<Answer, Problem> {
    let status = if error.is_some() { AGAIN } else { StatusCode::OK };
    let rows = |operation: &str, names: [&str; 3]| -> Result<Vec<Row>, Problem> {
        let found = list(visit, project, operation)?;
        Ok(found.iter().map(|item| row(item, names, project)).collect())
    };
    let may_keys = visit.may(project, Role::GroupAccessManager);
    let may_accounts = visit.may(project, Role::GroupOwner);
    let may_users = visit.may(project, Role::GroupDatabaseAccessAdmin);
    let may_remove = visit.visitor.caller.may_in_org(project.org, Role::OrgOwner);
    let shown = AccessPage {
        f: visit.frame.clone(),
        project: project.id.to_string(),
        keys: Table {
            rows: rows("listGroupApiKeys", ["id", "desc", "publicKey"])?,
            actions: actions([
                (may_keys, "remove-key", TAKE_OUT),
                (may_remove, "delete-key", REMOVE_EVERYWHERE),
            ]),
        },
        accounts: Table {
            rows: rows("listGroupServiceAccounts", ["clientId", "name", "clientId"])?,
            actions: actions([
                (may_accounts, "remove-account", TAKE_OUT),
                (may_remove, "delete-account", REMOVE_EVERYWHERE),
            ]),
        },
        users: Table {
            rows: rows("listGroupDatabaseUsers", ["username", "username", "username"])?,
            actions: actions([(may_users, "remove-user", ("remove", "remove-one"))]),
        },
        // Nobody gives what they do not have.
        roles: ROLES
            .iter()
            .filter(|role| visit.may(project, **role))
            .map(|role| role.as_str())
            .collect(),
        user_roles: USER_ROLES,
        may_keys,
        may_accounts,
        may_users,
        once: Secret::random::<16>().expose().to_owned(),
        made,
        error,
    };
    Ok(page(status, &shown))
}

/// What a button says: the id of the words alone, and with the name.
const TAKE_OUT: (&str, &str) = ("take-out", "take-out-one");
const REMOVE_EVERYWHERE: (&str, &str) = ("remove-everywhere", "remove-everywhere-one");

/// Those of the actions that the visitor may do.
fn actions<const N: usize>(
    all: [(bool, &'static str, (&'static str, &'static str)); N],
) -> Vec<Action> {
    let allowed = all.into_iter().filter(|(may, ..)| *may);
    allowed.map(|(_, wanted, (word, one))| Action { wanted, word, one }).collect()
}

/// All that an operation lists.
fn list(visit: &Visit<'_>, project: &Project, operation: &str) -> Result<Vec<Value>, Problem> {
    let query = [("itemsPerPage", SHOWN)];
    let list = visit.ask(project, Wanted::new(operation).with_query(&query))?;
    // Lists of the API are objects with `results`, but not all.
    Ok(list.get("results").unwrap_or(&list).as_array().cloned().unwrap_or_default())
}

/// Whether a form that makes something was sent before: a page with a secret that is loaded once more, a
/// second click. What makes nothing, or carries no mark, was not.
fn is_sent_again(visit: &Visit<'_>, form: &Fields) -> Result<bool, Problem> {
    let makes = form.get("do").is_some_and(|what| what.starts_with("add-"));
    let Some(mark) = form.get("once").filter(|_| makes) else { return Ok(false) };
    // Marks of one session say nothing of another one's.
    let mark = format!("{}-{mark}", visit.visitor.session.id);
    Ok(!visit.console.catalog.use_console_form(&mark, visit.frame.now)?)
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
    if is_sent_again(visit, form)? {
        let why = Explained::message(&visit.frame, "access-made-already");
        return answer(visit, project, None, Some(why));
    }
    let done = match to_add(form) {
        Some((operation, body)) => visit.ask(project, Wanted::new(operation).with_body(&body)),
        None => remove(visit, project, form),
    };
    match done {
        Ok(body) => match made(&body) {
            Some(made) => answer(visit, project, Some(made), None),
            None => Ok(see(&format!("/projects/{}/access", project.id))),
        },
        Err(Problem::Refused(why)) => answer(visit, project, None, Some(why)),
        Err(problem) => Err(problem),
    }
}

/// The operation that adds what a form says, and its body; nothing if the form adds nothing.
fn to_add(form: &Fields) -> Option<(&'static str, Value)> {
    let text = |name: &str| form.get(name).unwrap_or_default();
    Some(match form.get("do")? {
        "add-key" => {
            ("createGroupApiKey", json!({ "desc": text("name"), "roles": [text("role")] }))
        }
        "add-account" => {
            let body = json!({
                "description": text("name"), "name": text("name"), "roles": [text("role")],
                "secretExpiresAfterHours": SECRET_HOURS,
            });
            ("createGroupServiceAccount", body)
        }
        "add-user" => {
            let role = json!({ "roleName": text("role"), "databaseName": "admin" });
            // A password may begin or end with a space.
            let password = form.exact("password").unwrap_or_default();
            let body = json!({
                "databaseName": "admin", "password": password, "roles": [role],
                "username": text("name"),
            });
            ("createGroupDatabaseUser", body)
        }
        _ => return None,
    })
}

/// Removes what a form says: from the project, or from the organization.
fn remove(visit: &Visit<'_>, project: &Project, form: &Fields) -> Result<Value, Problem> {
    let id = form.get("id").unwrap_or_default();
    let wanted = form.get("do").unwrap_or_default();
    if is_final(wanted) && form.get("sure") != Some("yes") {
        return Err(Problem::Refused(Explained::message(&visit.frame, "remove-everywhere-unsure")));
    }
    let org = project.org.to_string();
    let (operation, values) = match wanted {
        "remove-key" => ("removeGroupApiKey", vec![("apiUserId", id)]),
        "remove-account" => ("deleteGroupServiceAccount", vec![("clientId", id)]),
        "delete-key" => ("deleteOrgApiKey", vec![("orgId", &*org), ("apiUserId", id)]),
        "delete-account" => ("deleteOrgServiceAccount", vec![("orgId", &*org), ("clientId", id)]),
        "remove-user" => {
            ("deleteGroupDatabaseUser", vec![("databaseName", "admin"), ("username", id)])
        }
        _ => return Err(Problem::Unknown),
    };
    visit.ask(project, Wanted::new(operation).with_values(&values))
}

/// The secret of an answer.
fn made(body: &Value) -> Option<Made> {
    let text = |path: &str| body.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let login = text("/publicKey").or_else(|| text("/clientId"))?;
    let secret = text("/privateKey").or_else(|| text("/secrets/0/secret"))?;
    Some(Made { login, secret })
}
