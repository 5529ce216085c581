//! `tidemark snapshots`: what was kept.

use clap::{ArgMatches, Command};
use serde_json::{Map, Value, json};

use super::one_snapshot::{describe, load, wait_over};
use super::{exports, inspection, opening};
use crate::answers::{Removed, Snapshot, Snapshots};
use crate::ask::confirm;
use crate::client::{Method, percent_encode};
use crate::command::{flag, group, instance, positional, text, with_server, yes};
use crate::error::CliError;
use crate::session::Session;
use crate::table::{Table, bytes};
use crate::when::{Moment, local};

pub(crate) fn command() -> Command {
    let snapshot = || positional("snapshot", "SNAPSHOT", "The snapshot's id");
    let create = Command::new("create")
        .about("Take one now")
        .arg(instance())
        .arg(text("description", "TEXT", "What it is for"))
        .arg(
            text("retention-days", "DAYS", "How long it is kept [as snapshots by schedule]")
                .value_parser(clap::value_parser!(u32)),
        )
        .arg(flag("wait", "Wait until it is complete"));
    let keep = Command::new("keep")
        .about("Change until when one is kept")
        .arg(instance())
        .arg(snapshot())
        .arg(text("until", "WHEN", "Until when, as \"2027-01-31 00:00\""))
        .arg(
            text("days", "DAYS", "So many days from now")
                .value_parser(clap::value_parser!(u32))
                .conflicts_with("until"),
        );
    let delete =
        Command::new("delete").about("Remove one").arg(instance()).arg(snapshot()).arg(yes());
    group("snapshots", "Snapshots: taken, listed, kept, exported and imported")
        .subcommand(with_server(
            Command::new("list").about("List them, the newest first").arg(instance()),
        ))
        .subcommand(with_server(
            Command::new("show")
                .about("Show one, and how far it is")
                .arg(instance())
                .arg(snapshot()),
        ))
        .subcommand(with_server(create))
        .subcommand(with_server(keep))
        .subcommand(with_server(delete))
        .subcommand(with_server(exports::export_command()))
        .subcommand(with_server(exports::download_command()))
        .subcommand(with_server(exports::import_command()))
        .subcommand(with_server(inspection::find_command()))
        .subcommand(with_server(inspection::cat_command()))
        .subcommand(with_server(inspection::diff_command()))
        .subcommand(with_server(opening::command()))
}

pub(crate) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let Some((what, matches)) = matches.subcommand() else { return Ok(()) };
    match what {
        "export" => return exports::export(matches),
        "download" => return exports::download(matches),
        "import" => return exports::import(matches),
        "find" => return inspection::find(matches),
        "cat" => return inspection::cat(matches),
        "diff" => return inspection::diff(matches),
        "open" => return opening::run(matches),
        _ => {}
    }
    let session = Session::new(matches)?;
    let path = format!("/instances/{}/snapshots", percent_encode(session.required("instance")));
    match what {
        "create" => create(&session, &path),
        "keep" => keep(&session, &path),
        "delete" => delete(&session, &path),
        "show" => {
            let found = load(&session, &path, session.required("snapshot"))?;
            session.output.data(&found, |found| describe(found, &session))
        }
        _ => list(&session, &path),
    }
}

fn list(session: &Session<'_>, path: &str) -> Result<(), CliError> {
    let found: Snapshots = session.get(path)?;
    let mut table = Table::new(&["ID", "SHOWS", "KIND", "STATE", "SIZE", "KEPT UNTIL", "HOW"]);
    for snapshot in &found.results {
        let shown = snapshot.shows.as_ref().map_or(&snapshot.created_at, |at| &at.date);
        let how = snapshot.reason.as_ref().or(snapshot.mode.as_ref());
        table.row([
            snapshot.id.clone(),
            local(shown, &session.now),
            snapshot.kind.clone(),
            snapshot.state.clone(),
            snapshot.size_bytes.map_or(String::new(), bytes),
            local(&snapshot.expires_at, &session.now),
            how.cloned().unwrap_or_default(),
        ]);
    }
    let name = session.required("instance");
    let otherwise = format!("there is none yet; take one with `tidemark snapshots create {name}`");
    session.output.list(&found, (table, found.results.is_empty(), &otherwise))
}

fn create(session: &Session<'_>, path: &str) -> Result<(), CliError> {
    let mut body = Map::new();
    if let Some(text) = session.given("description") {
        body.insert("description".to_owned(), text.into());
    }
    if let Some(days) = session.matches.get_one::<u32>("retention-days") {
        body.insert("retentionInDays".to_owned(), (*days).into());
    }
    let asked: Snapshot = session.call(Method::Post, path, Some(&Value::Object(body)))?;
    if !session.matches.get_flag("wait") {
        return session.output.data(&asked, |found| describe(found, session));
    }
    let found = wait_over(session, path, &asked.id)?;
    session.output.data(&found, |found| describe(found, session))
}

fn keep(session: &Session<'_>, path: &str) -> Result<(), CliError> {
    let until = match (session.given("until"), session.matches.get_one::<u32>("days")) {
        (Some(text), _) => match Moment::parse(text, &session.now).map_err(CliError::usage)? {
            Moment::Instant(at) => at.timestamp(),
            Moment::Entry(_) => return Err(CliError::usage("an oplog entry is no end")),
        },
        (None, Some(days)) => {
            let span = jiff::SignedDuration::from_hours(24 * i64::from(*days));
            let end = session.now.timestamp().checked_add(span);
            end.map_err(|_| CliError::usage(format!("{days} days are too many")))?
        }
        (None, None) => {
            return Err(
                CliError::usage("it is not said until when").hint("--until WHEN or --days N")
            );
        }
    };
    let id = session.required("snapshot");
    let body = json!({ "expiresAt": until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string() });
    let path_of_one = format!("{path}/{}", percent_encode(id));
    let found: Snapshot = session.call(Method::Patch, &path_of_one, Some(&body))?;
    session.output.say(&format!("kept until {}", local(&found.expires_at, &session.now)));
    session.output.data(&found, |found| describe(found, session))
}

fn delete(session: &Session<'_>, path: &str) -> Result<(), CliError> {
    let id = session.required("snapshot");
    let found = load(session, path, id)?;
    session.output.say(describe(&found, session).trim_end());
    confirm(session.matches, "Remove it? Moments that begin with it cannot be restored then.")?;
    let _: Value = session.call(Method::Delete, &format!("{path}/{}", percent_encode(id)), None)?;
    let removed = Removed { removed: id.to_owned() };
    session.output.data(&removed, |removed| format!("{} is removed\n", removed.removed))
}
