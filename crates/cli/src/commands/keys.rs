//! `tidemark keys list|add|delete`: API keys of the project, through the server. What `keys` does beside
//! that is done on the server's machine.

use clap::{ArgAction, ArgMatches, Command};
use serde_json::json;

use crate::answers::{ApiKey, ApiKeys, Removed};
use crate::ask::confirm;
use crate::client::{Method, percent_encode};
use crate::command::{positional, text, with_server, yes};
use crate::error::CliError;
use crate::session::Session;
use crate::table::Table;

/// The verbs that ask a server.
pub(crate) fn add_verbs(keys: Command) -> Command {
    let add = Command::new("add")
        .about("Make an API key of the project; its private part is shown once")
        .arg(
            text(
                "role",
                "ROLE",
                "What it may do in the project; may be given again [GROUP_READ_ONLY]",
            )
            .action(ArgAction::Append),
        )
        .arg(text("description", "TEXT", "What it is for [made by `tidemark keys add`]"));
    let id = positional("id", "ID", "The key's id");
    keys.subcommand(with_server(Command::new("list").about("List the API keys of the project")))
        .subcommand(with_server(add))
        .subcommand(with_server(
            Command::new("delete").about("Take an API key out of the project").arg(id).arg(yes()),
        ))
}

/// Runs one of those verbs; nothing if it is another one.
pub(crate) fn run(matches: &ArgMatches) -> Option<Result<(), CliError>> {
    let (what, matches) = matches.subcommand()?;
    let act = match what {
        "list" => list,
        "add" => add,
        "delete" => delete,
        _ => return None,
    };
    Some(Session::new(matches).and_then(|session| act(&session)))
}

fn list(session: &Session<'_>) -> Result<(), CliError> {
    let keys: ApiKeys = session.call_atlas(Method::Get, "/apiKeys?itemsPerPage=500", None)?;
    let mut table = Table::new(&["ID", "PUBLIC KEY", "ROLES", "FOR"]);
    for key in &keys.results {
        let roles: Vec<&str> = key.roles.iter().map(|role| role.role_name.as_str()).collect();
        table.row([key.id.clone(), key.public_key.clone(), roles.join(", "), key.desc.clone()]);
    }
    let otherwise = "the project has no API key; make one with `tidemark keys add`";
    session.output.list(&keys, (table, keys.results.is_empty(), otherwise))
}

fn add(session: &Session<'_>) -> Result<(), CliError> {
    let given = session.matches.get_many::<String>("role");
    let roles: Vec<&str> = given.into_iter().flatten().map(String::as_str).collect();
    let roles = if roles.is_empty() { vec!["GROUP_READ_ONLY"] } else { roles };
    let desc = session.given("description").unwrap_or("made by `tidemark keys add`");
    let body = json!({ "desc": desc, "roles": roles });
    let key: ApiKey = session.call_atlas(Method::Post, "/apiKeys", Some(&body))?;
    session.output.say("the private part is shown this once");
    session.output.data(&key, |key| {
        let private = key.private_key.as_deref().unwrap_or_default();
        format!("export PUBLIC_KEY='{}'\nexport PRIVATE_KEY='{private}'\n", key.public_key)
    })
}

fn delete(session: &Session<'_>) -> Result<(), CliError> {
    let id = session.required("id");
    session.output.say(&format!("key {id} would lose the project: who uses it is refused then"));
    confirm(session.matches, "Take it out?")?;
    let path = format!("/apiKeys/{}", percent_encode(id));
    let _: serde_json::Value = session.call_atlas(Method::Delete, &path, None)?;
    let removed = Removed { removed: id.to_owned() };
    session.output.data(&removed, |removed| format!("{} is taken out\n", removed.removed))
}
