//! `tidemark alerts`: ways on which people are told what goes wrong.

use clap::{ArgMatches, Command};

use crate::answers::{AlertChannels, SentAlert};
use crate::client::{Method, percent_encode};
use crate::command::{group, positional, with_server};
use crate::error::CliError;
use crate::session::Session;
use crate::table::Table;

pub(crate) fn command() -> Command {
    let name = positional("channel", "CHANNEL", "Its name in the configuration");
    group("alerts", "Ways on which people are told what goes wrong")
        .subcommand(with_server(Command::new("list").about("List them")))
        .subcommand(with_server(
            Command::new("test").about("Send a message on one of them").arg(name),
        ))
}

pub(crate) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let Some((what, matches)) = matches.subcommand() else { return Ok(()) };
    let session = Session::new(matches)?;
    if what == "test" {
        let path = format!("/alerts/{}/test", percent_encode(session.required("channel")));
        let sent: SentAlert = session.call(Method::Post, &path, None)?;
        return session.output.data(&sent, |sent| format!("sent on {}\n", sent.name));
    }
    let found: AlertChannels = session.get("/alerts")?;
    let mut table = Table::new(&["NAME", "KIND", "FROM", "PROJECTS"]);
    for channel in &found.results {
        let projects = if channel.is_for_all_projects { "all" } else { "some" };
        table.row([
            channel.name.clone(),
            channel.kind.clone(),
            channel.least.clone(),
            projects.to_owned(),
        ]);
    }
    let otherwise = "nobody is told when something goes wrong: the configuration has no [[alerts]]";
    session.output.list(&found, (table, found.results.is_empty(), otherwise))
}
