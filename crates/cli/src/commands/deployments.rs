//! `tidemark deployments`: the deployments that somebody else runs.

use std::fmt::Write;
use std::time::Duration;

use clap::{ArgMatches, Command};
use serde_json::{Map, Value, json};

use super::instances::wait_until_made;
use crate::answers::{Deployment, Deployments};
use crate::ask::confirm;
use crate::client::{Method, percent_encode};
use crate::command::{given, group, positional, text, with_server, yes};
use crate::error::CliError;
use crate::output::state;
use crate::session::Session;
use crate::table::{Table, bytes};
use crate::when::local;

/// The variable that holds a connection string.
const URI: &str = "TIDEMARK_URI";
/// How long attaching waits for the instance: one whose deployment does not let it be made says so itself.
const MADE_WITHIN: Duration = Duration::from_secs(30);

pub(crate) fn command() -> Command {
    let name = || positional("name", "NAME", "The deployment's name");
    let one =
        |command: &'static str, about: &'static str| Command::new(command).about(about).arg(name());
    let attach = with_reach(one("attach", "Protect a MongoDB deployment that you run")).arg(
        text("view", "VIEW", "Through which API it is shown [serverless]").value_parser([
            "serverless",
            "flex",
            "cluster",
        ]),
    );
    let detach = one("detach", "Let one go; its snapshots stay until their time is over");
    group("deployments", "The deployments that this server protects and does not run")
        .subcommand(with_server(attach))
        .subcommand(with_server(Command::new("list").about("List them")))
        .subcommand(with_server(one("show", "Show one, and what it can do")))
        .subcommand(with_server(one("probe", "Look at one now; nothing is written to it")))
        .subcommand(with_server(with_reach(one("update", "Change how one is reached"))))
        .subcommand(with_server(detach.arg(yes())))
}

/// A command with what says how a deployment is reached.
fn with_reach(command: Command) -> Command {
    command
        .arg(text(
            "uri",
            "URI",
            "mongodb://… or mongodb+srv://…, with user and password [$TIDEMARK_URI]",
        ))
        .arg(text("tls-ca-file", "FILE", "Certificates to trust, as PEM"))
        .arg(text("tls-certificate-key-file", "FILE", "The client's certificate and key, as PEM"))
        .arg(text("tls-certificate-key-file-password", "TEXT", "The password of that key"))
        .arg(
            text("read-from", "MEMBERS", "From which members data is read [primary]")
                .value_parser(["primary", "secondary", "secondaryPreferred", "nearest"]),
        )
        .arg(
            text("read-rate", "MB/s", "Megabytes that are read in a second at most")
                .value_parser(clap::value_parser!(u32).range(1..)),
        )
}

pub(crate) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let Some((what, matches)) = matches.subcommand() else { return Ok(()) };
    // What is wrong with the flags is said before anybody is called.
    let body = match what {
        "attach" => Some(attach_body(matches)?),
        "update" => Some(Value::Object(reach_body(matches)?)),
        _ => None,
    };
    let session = Session::new(matches)?;
    let name = session.required("name");
    let path = format!("/deployments/{}", percent_encode(name));
    let found: Deployment = match what {
        "list" => return list(&session),
        "detach" => {
            session.output.say(&format!(
                "{name} would be let go; the deployment itself is not touched, its snapshots stay until their time is over"
            ));
            confirm(matches, "Let it go?")?;
            let found: Deployment = session.call(Method::Delete, &path, None)?;
            return session.output.data(&found, |found| {
                format!("{} is let go; its snapshots stay until their time is over\n", found.name)
            });
        }
        "attach" => {
            let found = session.call(Method::Post, "/deployments", body.as_ref())?;
            // What comes next is a snapshot, which an instance that is being made refuses.
            wait_until_made(&session, name, Some(MADE_WITHIN))?;
            found
        }
        "update" => session.call(Method::Patch, &path, body.as_ref())?,
        "probe" => session.call(Method::Post, &format!("{path}/probe"), None)?,
        _ => session.get(&path)?,
    };
    session.output.data(&found, |found| describe(found, &session))
}

fn attach_body(matches: &ArgMatches) -> Result<Value, CliError> {
    let mut body = reach_body(matches)?;
    if !body.contains_key("connectionString") {
        return Err(CliError::usage("it is not said how to reach it").hint(format!(
            "--uri mongodb://…, or ${URI}, which is not seen in the list of processes"
        )));
    }
    body.insert("name".to_owned(), json!(given(matches, "name")));
    if let Some(view) = given(matches, "view") {
        body.insert("view".to_owned(), view.into());
    }
    Ok(Value::Object(body))
}

/// What the flags say of how a deployment is reached.
fn reach_body(matches: &ArgMatches) -> Result<Map<String, Value>, CliError> {
    let flag = |name: &str| given(matches, name).map(str::to_owned);
    let file = |name: &str| -> Result<Option<String>, CliError> {
        let Some(path) = flag(name) else { return Ok(None) };
        let read = std::fs::read_to_string(&path);
        let read =
            read.map_err(|error| CliError::usage(format!("{path} cannot be read: {error}")))?;
        Ok(Some(read))
    };
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("connectionString", flag("uri").or_else(|| std::env::var(URI).ok()).map(Value::from));
    put("readFrom", flag("read-from").map(Value::from));
    put("readRateMegabytes", matches.get_one::<u32>("read-rate").copied().map(Value::from));
    let mut tls = Map::new();
    for (name, value) in [
        ("caCertificates", file("tls-ca-file")?),
        ("certificateKey", file("tls-certificate-key-file")?),
        ("certificateKeyPassword", flag("tls-certificate-key-file-password")),
    ] {
        if let Some(value) = value {
            tls.insert(name.to_owned(), value.into());
        }
    }
    put("tls", (!tls.is_empty()).then_some(Value::Object(tls)));
    Ok(body)
}

fn list(session: &Session<'_>) -> Result<(), CliError> {
    let found: Deployments = session.get("/deployments")?;
    let mut table = Table::new(&["NAME", "STATE", "VIEW", "ADDRESS"]);
    for one in &found.results {
        table.row([one.name.clone(), one.state.clone(), one.view.clone(), one.address.clone()]);
    }
    let otherwise =
        "no deployment is attached; attach one with `tidemark deployments attach NAME --uri URI`";
    session.output.list(&found, (table, found.results.is_empty(), otherwise))
}

fn describe(found: &Deployment, session: &Session<'_>) -> String {
    let since = found.state_since.as_deref().map(|at| local(at, &session.now)).unwrap_or_default();
    let mut out = format!("{}  {}  since {since}\n", found.name, state(&found.state));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:9} {value}");
    };
    line("address", found.address.clone());
    if let Some(host) = &found.placed_on {
        let prefix = found.database_prefix.as_deref().unwrap_or_default();
        line("part of", format!("{host}, databases {prefix}*"));
    }
    for reason in &found.reasons {
        line("limit", reason.clone());
    }
    let Some(report) = &found.report else { return out };
    line(
        "server",
        format!(
            "{} {}, {} {}",
            report.product,
            report.version,
            report.topology.to_lowercase().replace('_', " "),
            report.set_name.as_deref().unwrap_or_default()
        ),
    );
    for finding in &report.findings {
        let mark = if finding.holds { "yes" } else { "no" };
        line(mark, format!("{}: {}", finding.name, finding.consequence));
    }
    for special in &report.special {
        line(&special.kind, format!("{} of them: {}", special.count, special.consequence));
    }
    for size in &report.databases {
        let bytes = size.bytes.map_or("size unknown".to_owned(), bytes);
        line("database", format!("{}  {bytes}", size.name));
    }
    if let Some(seconds) = report.oplog_window_seconds {
        line("oplog", format!("reaches {seconds} s back"));
    }
    if let Some(ahead) = report.clock_ahead_milliseconds {
        line("clock", format!("{ahead} ms ahead of the server's"));
    }
    if let Some(command) = report.create_role.as_ref().filter(|text| !text.is_empty()) {
        let _ = writeln!(out, "  grant the user this role:\n{command}");
    }
    out
}
