//! `tidemark projects`.

use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use crate::answers::{Project, Projects, Removed};
use crate::ask::confirm;
use crate::client::{Method, percent_encode, text};
use crate::command::{group, positional, text as option, with_server, yes};
use crate::error::{CliError, Exit};
use crate::session::Session;
use crate::table::Table;
use crate::when;

const GROUPS: &str = "/api/atlas/v2/groups";

pub(crate) fn command() -> Command {
    let name = || positional("name", "NAME", "The project's name");
    let create = Command::new("create").about("Make one").arg(name()).arg(option(
        "org",
        "ID",
        "Its organization [the only one]",
    ));
    group("projects", "Projects: what instances, users and rights belong to")
        .subcommand(with_server(Command::new("list").about("List them")))
        .subcommand(with_server(create))
        .subcommand(with_server(
            Command::new("delete").about("Remove an empty one").arg(name()).arg(yes()),
        ))
}

pub(crate) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let Some((what, matches)) = matches.subcommand() else { return Ok(()) };
    let session = Session::new(matches)?;
    match what {
        "create" => create(&session),
        "delete" => delete(&session),
        _ => list(&session),
    }
}

fn list(session: &Session<'_>) -> Result<(), CliError> {
    let found = session.client.call(Method::Get, &format!("{GROUPS}?itemsPerPage=500"), None)?;
    let projects: Projects = serde_json::from_value(found)?;
    let mut table = Table::new(&["NAME", "ID", "INSTANCES", "CREATED"]);
    for project in &projects.results {
        let created = when::local(&project.created, &session.now);
        let instances = project.cluster_count.to_string();
        table.row([project.name.clone(), project.id.clone(), instances, created]);
    }
    let otherwise = "there is no project; make one with `tidemark projects create NAME`";
    session.output.list(&projects, (table, projects.results.is_empty(), otherwise))
}

fn create(session: &Session<'_>) -> Result<(), CliError> {
    let org = match session.given("org") {
        Some(org) => org.to_owned(),
        None => find_org(session)?,
    };
    let body = json!({ "name": session.required("name"), "orgId": org });
    let made = session.client.call(Method::Post, GROUPS, Some(&body))?;
    let project: Project = serde_json::from_value(made)?;
    session.output.data(&project, |project| format!("{}\n", project.id))
}

fn find_org(session: &Session<'_>) -> Result<String, CliError> {
    let found = session.client.call(Method::Get, "/api/atlas/v2/orgs", None)?;
    let orgs = found.get("results").and_then(Value::as_array).map(Vec::as_slice);
    match orgs.unwrap_or_default() {
        [only] => Ok(text(only, "id").to_owned()),
        [] => {
            Err(CliError::new(Exit::Denied, "the server shows these credentials no organization"))
        }
        _ => Err(CliError::usage("there are several organizations").hint("say which with --org")),
    }
}

fn delete(session: &Session<'_>) -> Result<(), CliError> {
    let name = session.required("name");
    let path = format!("{GROUPS}/byName/{}", percent_encode(name));
    let found = session.client.call(Method::Get, &path, None)?;
    session.output.say(&format!("project {name} ({}) would be removed", text(&found, "id")));
    confirm(session.matches, "Remove it?")?;
    session.client.call(Method::Delete, &format!("{GROUPS}/{}", text(&found, "id")), None)?;
    let removed = Removed { removed: name.to_owned() };
    session.output.data(&removed, |removed| format!("{} is removed\n", removed.removed))
}
