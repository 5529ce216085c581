//! `tidemark snapshots find|cat|diff`: looking into backups, without restoring them.

use std::fmt::Write;

use clap::{ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use super::points::{filter_of, ids_of, point, point_of_flags, with_point};
use crate::answers::{Difference, Differences, DocumentDifference, Found, SearchSummary};
use crate::client::{Method, percent_encode};
use crate::command::{flag, instance, positional, text};
use crate::error::{CliError, Exit};
use crate::output::print;
use crate::session::Session;
use crate::table::{Table, count};

/// Documents that are shown unless more are asked for.
const LIMIT: &str = "100";

pub(crate) fn find_command() -> Command {
    with_point(Command::new("find").about("Find documents in a snapshot or a moment by a filter"))
        .arg(namespace())
        .arg(text("where", "FILTER", "A filter as `find` takes it, in Extended JSON [{}]"))
        .arg(limit())
}

pub(crate) fn cat_command() -> Command {
    with_point(Command::new("cat").about("Print documents of a snapshot or a moment by their _id"))
        .arg(namespace())
        .arg(
            text("id", "ID", "An _id in Extended JSON, or a text; may be given again")
                .required(true)
                .action(ArgAction::Append),
        )
}

pub(crate) fn diff_command() -> Command {
    Command::new("diff")
        .about("Say what is different between two snapshots or moments; exit code 8 if anything is")
        .arg(instance())
        .arg(positional("from", "FROM", "A snapshot's id, or a moment as \"yesterday 18:00\""))
        .arg(positional("to", "TO", "The same"))
        .arg(
            text("namespace", "NS", "Only this, `db.collection` or `db.*`; may be given again")
                .alias("ns")
                .action(ArgAction::Append),
        )
        .arg(flag("documents", "Show the documents that are different as well"))
        .arg(limit())
}

fn limit() -> clap::Arg {
    text("limit", "COUNT", "So many documents at most")
        .default_value(LIMIT)
        .value_parser(clap::value_parser!(u64).range(1..=1_000_000))
}

fn namespace() -> clap::Arg {
    text("namespace", "NS", "The collection, `db.collection`").alias("ns").required(true)
}

pub(crate) fn find(matches: &ArgMatches) -> Result<(), CliError> {
    let filter = filter_of(matches)?;
    let limit = matches.get_one::<u64>("limit").copied().unwrap_or(1);
    look_up(&Session::new(matches)?, &filter, limit).map(drop)
}

pub(crate) fn cat(matches: &ArgMatches) -> Result<(), CliError> {
    let ids = ids_of(matches);
    let wanted = ids.len() as u64;
    let session = Session::new(matches)?;
    let found = look_up(&session, &json!({ "_id": { "$in": ids } }), wanted)?;
    if found < wanted {
        return Err(CliError::new(
            Exit::NotFound,
            format!("{found} of {wanted} documents are there"),
        ));
    }
    Ok(())
}

/// Prints documents as they come; answers how many there were.
fn look_up(session: &Session<'_>, filter: &Value, limit: u64) -> Result<u64, CliError> {
    let mut body = point_of_flags(session)?;
    body.insert("namespace".to_owned(), session.required("namespace").into());
    body.insert("filter".to_owned(), filter.clone());
    body.insert("limit".to_owned(), limit.into());
    let path = format!("/instances/{}/documents", percent_encode(session.required("instance")));
    let mut found = Found { documents: Vec::new(), summary: None };
    session.stream(Method::Post, &path, &Value::Object(body), |line| {
        if let Some(document) = line.get("document") {
            if session.output.is_json {
                found.documents.push(document.clone());
            } else {
                print(&format!("{document}\n"))?;
            }
        }
        if let Some(summary) = line.get("summary") {
            found.summary = Some(serde_json::from_value::<SearchSummary>(summary.clone())?);
        }
        Ok(())
    })?;
    let Some(summary) = &found.summary else {
        return Err(CliError::new(Exit::Unreachable, "the answer ended early").hint("try again"));
    };
    session.output.say(&format!(
        "{} documents; {} of {} chunks were read{}",
        count(summary.documents),
        count(summary.chunks_read),
        count(summary.chunks),
        if summary.is_more { "; there are more, see --limit" } else { "" }
    ));
    if session.output.is_json {
        session.output.data(&found, |_| String::new())?;
    }
    Ok(summary.documents)
}

pub(crate) fn diff(matches: &ArgMatches) -> Result<(), CliError> {
    let session = Session::new(matches)?;
    let ends =
        (point(&session, session.required("from"))?, point(&session, session.required("to"))?);
    let documents = matches.get_flag("documents").then(|| matches.get_one::<u64>("limit"));
    let wanted = matches.get_many::<String>("namespace");
    let wanted: Vec<&String> = wanted.into_iter().flatten().collect();
    let body = json!({
        "documents": documents.flatten().copied().unwrap_or(0),
        "from": ends.0,
        "namespaces": wanted,
        "to": ends.1,
    });
    let path = format!("/instances/{}/differences", percent_encode(session.required("instance")));
    let mut found = Differences { namespaces: Vec::new(), documents: Vec::new() };
    let mut is_whole = false;
    session.stream(Method::Post, &path, &body, |line| {
        if let Some(difference) = line.get("difference") {
            found.documents.push(serde_json::from_value::<DocumentDifference>(difference.clone())?);
        }
        if let Some(namespace) = line.get("namespace") {
            found.namespaces.push(serde_json::from_value::<Difference>(namespace.clone())?);
        }
        is_whole |= line.get("summary").is_some();
        Ok(())
    })?;
    if !is_whole {
        return Err(CliError::new(Exit::Unreachable, "the answer ended early").hint("try again"));
    }
    let is_equal = found.namespaces.iter().all(|found| !found.is_different());
    session.output.data(&found, describe)?;
    if is_equal {
        session.output.say("nothing is different");
        return Ok(());
    }
    Err(CliError::new(Exit::Differs, "they are different"))
}

fn describe(found: &Differences) -> String {
    let mut out = String::new();
    for document in &found.documents {
        let (word, shown) = match (&document.before, &document.after) {
            (None, Some(after)) => ("+", after.to_string()),
            (Some(before), None) => ("-", before.to_string()),
            (before, after) => {
                let text = |side: &Option<Value>| side.as_ref().map(Value::to_string);
                (
                    "~",
                    format!(
                        "{} => {}",
                        text(before).unwrap_or_default(),
                        text(after).unwrap_or_default()
                    ),
                )
            }
        };
        // A string takes everything.
        let _ = writeln!(out, "{word} {}  {shown}", document.namespace);
    }
    let mut table =
        Table::new(&["NAMESPACE", "ADDED", "REMOVED", "CHANGED", "CHUNKS EQUAL", "READ", "ALSO"]);
    for one in found.namespaces.iter().filter(|found| found.is_different()) {
        let whole = match (one.is_in_from, one.is_in_to) {
            (false, _) => "it is new".to_owned(),
            (_, false) => "it is gone".to_owned(),
            _ => one.also.join(", "),
        };
        table.row([
            one.namespace.clone(),
            count(one.added),
            count(one.removed),
            count(one.changed),
            count(one.chunks_equal),
            count(one.chunks_read),
            whole,
        ]);
    }
    out + &table.render()
}
