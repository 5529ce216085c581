//! `tidemark accounts list|add|delete`: service accounts of the project, which programs sign in with.

use clap::{ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use crate::answers::{Removed, ServiceAccount, ServiceAccounts};
use crate::ask::confirm;
use crate::client::{Method, percent_encode};
use crate::command::{group, positional, text, with_server, yes};
use crate::error::CliError;
use crate::session::Session;
use crate::table::Table;

pub(crate) fn command() -> Command {
    let add = Command::new("add")
        .about("Make a service account of the project; its secret is shown once")
        .arg(positional("name", "NAME", "Its name"))
        .arg(
            text("role", "ROLE", "What it may do; may be given again [GROUP_READ_ONLY]")
                .action(ArgAction::Append),
        )
        .arg(text("description", "TEXT", "What it is for [its name]"))
        .arg(
            text("hours", "HOURS", "How long its secret works")
                .default_value("8760")
                .value_parser(clap::value_parser!(u32).range(8..=8_760)),
        );
    let id = positional("id", "ID", "Its client ID");
    group("accounts", "Service accounts of the project: what programs sign in with")
        .subcommand(with_server(Command::new("list").about("List them")))
        .subcommand(with_server(add))
        .subcommand(with_server(
            Command::new("delete").about("Take one out of the project").arg(id).arg(yes()),
        ))
}

pub(crate) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let Some((what, matches)) = matches.subcommand() else { return Ok(()) };
    let session = Session::new(matches)?;
    match what {
        "add" => add(&session),
        "delete" => delete(&session),
        _ => list(&session),
    }
}

fn list(session: &Session<'_>) -> Result<(), CliError> {
    let found: ServiceAccounts =
        session.call_atlas(Method::Get, "/serviceAccounts?itemsPerPage=500", None)?;
    let mut table = Table::new(&["CLIENT ID", "NAME", "ROLES", "FOR"]);
    for account in &found.results {
        table.row([
            account.client_id.clone(),
            account.name.clone(),
            account.roles.join(", "),
            account.description.clone(),
        ]);
    }
    let otherwise =
        "the project has no service account; make one with `tidemark accounts add NAME`";
    session.output.list(&found, (table, found.results.is_empty(), otherwise))
}

fn add(session: &Session<'_>) -> Result<(), CliError> {
    let name = session.required("name");
    let given = session.matches.get_many::<String>("role");
    let roles: Vec<&str> = given.into_iter().flatten().map(String::as_str).collect();
    let roles = if roles.is_empty() { vec!["GROUP_READ_ONLY"] } else { roles };
    let body = json!({
        "description": session.given("description").unwrap_or(name),
        "name": name,
        "roles": roles,
        "secretExpiresAfterHours": session.matches.get_one::<u32>("hours"),
    });
    let made: ServiceAccount = session.call_atlas(Method::Post, "/serviceAccounts", Some(&body))?;
    session.output.say("the secret is shown this once");
    session.output.data(&made, |made| {
        let secret = made.secrets.first().and_then(|secret| secret.secret.as_deref());
        let secret = secret.unwrap_or_default();
        format!("export CLIENT_ID='{}'\nexport CLIENT_SECRET='{secret}'\n", made.client_id)
    })
}

fn delete(session: &Session<'_>) -> Result<(), CliError> {
    let id = session.required("id");
    session.output.say(&format!("{id} would lose the project: what uses it is refused then"));
    confirm(session.matches, "Take it out?")?;
    let path = format!("/serviceAccounts/{}", percent_encode(id));
    let _: Value = session.call_atlas(Method::Delete, &path, None)?;
    let removed = Removed { removed: id.to_owned() };
    session.output.data(&removed, |removed| format!("{} is taken out\n", removed.removed))
}
