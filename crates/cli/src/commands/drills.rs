//! `tidemark drill`: proving that a backup comes back.

use std::fmt::Write;
use std::path::Path;

use clap::{Arg, ArgMatches, Command};
use serde_json::{Map, Value};
use tidemark_model::{DrillReport, from_hex};

use super::points::point_of;
use crate::answers::{Drill, Drills, SignedReport, VerifiedReport};
use crate::client::{Method, percent_encode};
use crate::command::{flag, given, instance, positional, text, with_output, with_server};
use crate::error::{CliError, Exit};
use crate::output::{Output, state};
use crate::progress::Watch;
use crate::session::Session;
use crate::table::{Table, bytes, count};
use crate::when::{Moment, local};

pub(crate) fn command() -> Command {
    let drill = || positional("drill", "DRILL", "The drill's id");
    let run = Command::new("drill")
        .about("Bring a backup back into a scratch database, compare everything, and write a signed report")
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .arg_required_else_help(true)
        .arg(Arg::new("instance").value_name("INSTANCE").required(true).help("Whose backup it is"))
        .arg(text("snapshot", "ID", "The snapshot [the newest]").conflicts_with_all(["at", "random"]))
        .arg(text("at", "WHEN", "A moment, as \"yesterday 18:00\"").conflicts_with("random"))
        .arg(flag("random", "A moment at random among those that can be restored"))
        .arg(text("checks", "FILE", "Your own checks: queries with what they must find, as JSON"))
        .arg(text("report", "FILE", "Where to write the signed report"))
        .arg(flag("no-wait", "Do not wait until it is over"));
    with_server(run)
        .subcommand(with_server(Command::new("list").about("List the drills of an instance").arg(instance())))
        .subcommand(with_server(
            Command::new("show").about("Show one, and how far it is").arg(instance()).arg(drill()),
        ))
        .subcommand(with_server(
            Command::new("report")
                .about("Print the signed report of one, as JSON")
                .arg(instance())
                .arg(drill())
                .arg(text("output", "FILE", "Where to write it instead")),
        ))
        .subcommand(with_output(
            Command::new("verify")
                .about("Check the signature of a report; asks no server")
                .arg(positional("file", "FILE", "The report"))
                .arg(text("key", "HEX", "The public key that must have signed it; it stands at /reportKey of the server's API")),
        ))
}

pub(crate) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    match matches.subcommand() {
        Some(("verify", matches)) => verify(matches),
        Some((what, matches)) => look(what, &Session::new(matches)?),
        None => drill(matches),
    }
}

fn path_of(session: &Session<'_>) -> String {
    format!("/instances/{}/drills", percent_encode(session.required("instance")))
}

/// Asks for a drill, watches it, and says what it found.
fn drill(matches: &ArgMatches) -> Result<(), CliError> {
    let body = body_of(matches)?;
    let session = Session::new(matches)?;
    let path = path_of(&session);
    let asked: Drill = session.call(Method::Post, &path, Some(&body))?;
    if matches.get_flag("no-wait") {
        return session.output.data(&asked, |drill| describe(drill, &session));
    }
    let path = format!("{path}/{}", asked.id);
    Watch::new(session.output).until_over(|| session.get(&format!("{path}/progress")))?;
    let over: Drill = session.get(&path)?;
    let report = over.has_report.then(|| session.get::<SignedReport>(&format!("{path}/report")));
    let report = report.transpose()?;
    if let (Some(report), Some(file)) = (&report, given(matches, "report")) {
        write_report(report, Path::new(file))?;
        session.output.say(&format!("the report is in {file}"));
    }
    session.output.data(&over, |drill| {
        let found = report.as_ref().map(|report| describe_report(&report.report));
        found.unwrap_or_default() + &describe(drill, &session)
    })?;
    if over.state == "proven" {
        return Ok(());
    }
    let reason = over.reason.as_deref().unwrap_or_default();
    Err(CliError::new(Exit::Differs, format!("the backup is not proven: {reason}"))
        .hint("the report says what is different; `tidemark vault verify` reads everything back"))
}

fn body_of(matches: &ArgMatches) -> Result<Value, CliError> {
    let mut body = Map::new();
    if let Some(text) = given(matches, "at") {
        let now = crate::when::now();
        let moment = Moment::parse(text, &now).map_err(CliError::usage)?;
        Output::new(matches).say(&format!("moment: {}", moment.describe(&now)));
        body.extend(point_of(&moment)?);
    }
    if let Some(id) = given(matches, "snapshot") {
        body.insert("snapshotId".to_owned(), id.into());
    }
    if matches.get_flag("random") {
        body.insert("point".to_owned(), "random".into());
    }
    if let Some(file) = given(matches, "checks") {
        body.insert("checks".to_owned(), read_checks(file)?);
    }
    Ok(Value::Object(body))
}

/// The user's own checks, from a file.
pub(crate) fn read_checks(file: &str) -> Result<Value, CliError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| CliError::usage(format!("{file} cannot be read: {error}")))?;
    serde_json::from_str(&text).map_err(|error| {
        CliError::usage(format!("{file} is no JSON: {error}")).hint(
            "write a list: [{\"name\": \"orders are there\", \"namespace\": \"shop.orders\", \"atLeast\": 1}]",
        )
    })
}

fn look(what: &str, session: &Session<'_>) -> Result<(), CliError> {
    let path = path_of(session);
    if what == "list" {
        return list(session, &path);
    }
    let path = format!("{path}/{}", percent_encode(session.required("drill")));
    if what == "show" {
        let found: Drill = session.get(&path)?;
        return session.output.data(&found, |found| describe(found, session));
    }
    let report: SignedReport = session.get(&format!("{path}/report"))?;
    match session.given("output") {
        Some(file) => write_report(&report, Path::new(file)),
        None => crate::output::print(&(serde_json::to_string_pretty(&report)? + "\n")),
    }
}

fn list(session: &Session<'_>, path: &str) -> Result<(), CliError> {
    let found: Drills = session.get(path)?;
    let mut table = Table::new(&["ID", "STATE", "SNAPSHOT", "CREATED", "REASON"]);
    for drill in &found.results {
        table.row([
            drill.id.clone(),
            drill.state.clone(),
            drill.snapshot_id.clone(),
            local(&drill.created_at, &session.now),
            drill.reason.clone().unwrap_or_default(),
        ]);
    }
    let name = session.required("instance");
    let otherwise = format!("nothing was proven yet; `tidemark drill {name}` proves it");
    session.output.list(&found, (table, found.results.is_empty(), &otherwise))
}

fn write_report(report: &SignedReport, file: &Path) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(report)? + "\n";
    std::fs::write(file, text)
        .map_err(|error| CliError::failed(format!("{} cannot be written: {error}", file.display())))
}

/// Checks a report's signature without a server.
fn verify(matches: &ArgMatches) -> Result<(), CliError> {
    let file = given(matches, "file").unwrap_or_default();
    let text = std::fs::read_to_string(file)
        .map_err(|error| CliError::usage(format!("{file} cannot be read: {error}")))?;
    let signed: SignedReport = serde_json::from_str(&text)
        .map_err(|error| CliError::new(Exit::Differs, format!("{file} is no report: {error}")))?;
    let key = given(matches, "key").unwrap_or(&signed.signature.public_key);
    let bytes = |text: &str| from_hex(text).unwrap_or_default();
    let signer = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, bytes(key));
    let is_good = signed.signature.algorithm == "Ed25519"
        && signer
            .verify(signed.report.to_string().as_bytes(), &bytes(&signed.signature.value))
            .is_ok();
    if !is_good {
        return Err(CliError::new(Exit::Differs, format!("{file} is not what was signed"))
            .hint("somebody changed it, or another key signed it"));
    }
    let report: DrillReport = serde_json::from_value(signed.report.clone())?;
    let verified = VerifiedReport {
        drill_id: report.drill_id.clone(),
        instance_name: report.instance_name.clone(),
        outcome: report.outcome.clone(),
        finished_at: report.finished_at.clone(),
        public_key: key.to_owned(),
    };
    Output::new(matches).data(&verified, |verified| {
        format!(
            "{}the signature of {} is good\n",
            describe_report(&signed.report),
            verified.public_key
        )
    })
}

fn describe(drill: &Drill, session: &Session<'_>) -> String {
    let mut out =
        format!("{}  {}  of snapshot {}\n", drill.id, state(&drill.state), drill.snapshot_id);
    let mut line = |text: String| {
        let _ = writeln!(out, "  {text}");
    };
    if let Some(reason) = &drill.reason {
        line(reason.clone());
    }
    line(format!("asked for {}", local(&drill.created_at, &session.now)));
    if let Some(at) = &drill.finished_at {
        line(format!("over since {}", local(at, &session.now)));
    }
    out
}

/// What came back, as a table.
fn describe_report(report: &Value) -> String {
    let Ok(report) = serde_json::from_value::<DrillReport>(report.clone()) else {
        return String::new();
    };
    let mut table = Table::new(&["COLLECTION", "DOCUMENTS", "BYTES", "HASH", "EQUAL"]);
    for found in &report.collections {
        table.row([
            found.namespace.clone(),
            count(found.found.documents),
            bytes(found.found.bytes),
            found.found.hash.chars().take(16).collect(),
            if found.is_equal { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    let mut out = if report.collections.is_empty() {
        "the backup holds no collection\n".to_owned()
    } else {
        table.render()
    };
    for left in &report.not_restored {
        let _ = writeln!(out, "not restored: {} ({})", left.namespace, left.reason);
    }
    for check in &report.checks {
        let holds = if check.holds { "holds" } else { "DOES NOT HOLD" };
        let _ = writeln!(out, "check {}: {holds}", check.check.name);
    }
    out
}
