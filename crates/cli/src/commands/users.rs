//! `tidemark users`: who may log in to the databases that Tidemark runs.

use clap::{ArgAction, ArgMatches, Command};
use serde_json::json;

use crate::answers::{Removed, User, Users};
use crate::ask::{ask_secret, confirm};
use crate::client::{Method, percent_encode};
use crate::command::{group, positional, text, with_server, yes};
use crate::error::CliError;
use crate::session::Session;
use crate::table::Table;

/// The variable that holds a new user's password.
const PASSWORD: &str = "TIDEMARK_USER_PASSWORD";

pub(crate) fn command() -> Command {
    let name = || positional("name", "NAME", "The user's name");
    let create = Command::new("create")
        .about("Make one; the password is asked for, or is in $TIDEMARK_USER_PASSWORD")
        .arg(name())
        .arg(
            text("role", "ROLE[@DATABASE]", "What it may do; may be given again [atlasAdmin]")
                .action(ArgAction::Append),
        );
    group("users", "Users of the databases that Tidemark runs")
        .subcommand(with_server(Command::new("list").about("List them")))
        .subcommand(with_server(create))
        .subcommand(with_server(Command::new("delete").about("Remove one").arg(name()).arg(yes())))
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
    let path = "/databaseUsers?itemsPerPage=500";
    let users: Users = session.call_atlas(Method::Get, path, None)?;
    let mut table = Table::new(&["NAME", "ROLES"]);
    for user in &users.results {
        let roles =
            user.roles.iter().map(|role| format!("{}@{}", role.role_name, role.database_name));
        table.row([user.username.clone(), roles.collect::<Vec<_>>().join(", ")]);
    }
    let otherwise = "there is no user; make one with `tidemark users create NAME`";
    session.output.list(&users, (table, users.results.is_empty(), otherwise))
}

fn create(session: &Session<'_>) -> Result<(), CliError> {
    let given = session.matches.get_many::<String>("role");
    let named: Vec<&str> = given.into_iter().flatten().map(String::as_str).collect();
    let named = if named.is_empty() { vec!["atlasAdmin"] } else { named };
    let roles: Vec<_> = named
        .iter()
        .map(|role| {
            let (role, database) = role.split_once('@').unwrap_or((role, "admin"));
            json!({ "roleName": role, "databaseName": database })
        })
        .collect();
    let password = match std::env::var(PASSWORD) {
        Ok(password) => tidemark_model::Secret::new(password),
        Err(_) => ask_secret("Password: ")?,
    };
    let body = json!({
        "databaseName": "admin",
        "password": password.expose(),
        "roles": roles,
        "username": session.required("name"),
    });
    let user: User = session.call_atlas(Method::Post, "/databaseUsers", Some(&body))?;
    session.output.data(&user, |user| format!("{} may log in\n", user.username))
}

fn delete(session: &Session<'_>) -> Result<(), CliError> {
    let name = session.required("name");
    session.output.say(&format!("user {name} would be removed: who uses it can log in no more"));
    confirm(session.matches, "Remove it?")?;
    let path = format!("/databaseUsers/admin/{}", percent_encode(name));
    let _: serde_json::Value = session.call_atlas(Method::Delete, &path, None)?;
    let removed = Removed { removed: name.to_owned() };
    session.output.data(&removed, |removed| format!("{} is removed\n", removed.removed))
}
