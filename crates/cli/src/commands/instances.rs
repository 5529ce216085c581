//! `tidemark instances`: what is protected.

use std::fmt::Write;
use std::time::{Duration, Instant};

use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use crate::answers::{Instance, Instances, Rehosted, Removed, Span};
use crate::ask::confirm;
use crate::client::{Method, percent_encode};
use crate::command::{flag, group, positional, text, with_server, yes};
use crate::error::{CliError, Exit};
use crate::output::state;
use crate::session::Session;
use crate::table::{Table, bytes, count};
use crate::when::{ago, local};

/// How often a new instance is looked at.
const POLL: Duration = Duration::from_millis(200);

pub(crate) fn command() -> Command {
    let name = || positional("instance", "INSTANCE", "The instance");
    let create = Command::new("create")
        .about("Make a database inside Tidemark; `deployments attach` protects one that you run")
        .arg(name())
        .arg(
            text("view", "VIEW", "Through which of Atlas's APIs it is shown [serverless]")
                .value_parser(["serverless", "flex"]),
        )
        .arg(flag("wait", "Wait until it takes connections"));
    let delete = Command::new("delete")
        .about("Remove a database inside Tidemark; its backups are kept for a while")
        .arg(name())
        .arg(yes());
    group("instances", "Instances: what is protected, and what of it can be restored")
        .subcommand(with_server(Command::new("list").about("List them")))
        .subcommand(with_server(
            Command::new("show").about("Show one, and what can be restored").arg(name()),
        ))
        .subcommand(with_server(create))
        .subcommand(with_server(delete))
        .subcommand(with_server(
            Command::new("rehost")
                .about("Let an instance that has lost its data begin anew from its backups")
                .arg(name()),
        ))
}

pub(crate) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let Some((what, matches)) = matches.subcommand() else { return Ok(()) };
    let session = Session::new(matches)?;
    match what {
        "create" => create(&session),
        "delete" => delete(&session),
        "rehost" => rehost(&session),
        "show" => {
            let found = load(&session, session.required("instance"))?;
            session.output.data(&found, |found| describe(found, &session))
        }
        _ => list(&session),
    }
}

/// An instance, with what can be restored.
pub(crate) fn load(session: &Session<'_>, name: &str) -> Result<Instance, CliError> {
    session.get(&format!("/instances/{}", percent_encode(name)))
}

fn list(session: &Session<'_>) -> Result<(), CliError> {
    let found: Instances = session.get("/instances")?;
    let mut table = Table::new(&[
        "NAME",
        "STATE",
        "KIND",
        "NEWEST SNAPSHOT",
        "RESTORABLE SINCE",
        "PROVEN",
        "SIZE",
    ]);
    for instance in &found.results {
        let newest = instance.newest_snapshot.as_ref();
        let proven = instance.last_proven_restore.as_ref();
        table.row([
            instance.name.clone(),
            instance.state.to_lowercase(),
            format!("{} {}", instance.backing, instance.view),
            newest.map_or("none".to_owned(), |found| ago(&found.created_at, &session.now)),
            since(&instance.restorable).map_or("-".to_owned(), |at| ago(at, &session.now)),
            proven.map_or("never".to_owned(), |proven| ago(&proven.proven_at, &session.now)),
            bytes(instance.size_bytes),
        ]);
    }
    let otherwise = "nothing is protected yet: `tidemark deployments attach NAME --uri URI` protects a MongoDB that you run, `tidemark instances create NAME` makes a database";
    session.output.list(&found, (table, found.results.is_empty(), otherwise))
}

/// Since when every moment can be restored up to now: the beginning of the newest span.
fn since(spans: &[Span]) -> Option<&str> {
    spans.last().map(|span| span.from.date.as_str())
}

fn describe(found: &Instance, session: &Session<'_>) -> String {
    let now = &session.now;
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        // A string takes everything.
        let _ = writeln!(out, "{name:11}{value}");
    };
    line("name", found.name.clone());
    line("state", state(&found.state));
    if let Some(reason) = &found.reason {
        line("", reason.clone());
    }
    line("kind", format!("{}, shown as {}", found.backing, found.view));
    if let Some(address) = &found.connection_string {
        line("address", address.clone());
    }
    if let Some(vault) = &found.vault {
        line("vault", vault.clone());
    }
    match &found.newest_snapshot {
        Some(snapshot) => {
            let shown = snapshot.shows.as_ref().map_or(&snapshot.created_at, |at| &at.date);
            let (shown, age) = (local(shown, now), ago(shown, now));
            line("snapshot", format!("{} of {shown}, {age}", snapshot.id));
            line("size", bytes(found.size_bytes));
        }
        None => line("snapshot", "none yet".to_owned()),
    }
    for span in &found.restorable {
        let (from, through) = (local(&span.from.date, now), local(&span.through.date, now));
        line("restorable", format!("{from} to {through}"));
    }
    if found.restorable.is_empty() {
        line("restorable", "no moment; only its snapshots".to_owned());
    }
    if let Some(at) = &found.last_captured {
        line("captured", format!("its newest entry is {}", ago(&at.date, now)));
    }
    match &found.last_proven_restore {
        Some(proven) => {
            let (documents, at) = (count(proven.documents), local(&proven.proven_at, now));
            line("proven", format!("{documents} documents came back and were equal, {at}"));
        }
        None => line("proven", format!("never; `tidemark drill {}` proves it", found.name)),
    }
    out
}

fn create(session: &Session<'_>) -> Result<(), CliError> {
    let name = session.required("instance");
    let (path, provider) = match session.given("view") {
        Some("flex") => {
            ("/flexClusters", json!({ "backingProviderName": "AWS", "regionName": "US_EAST_1" }))
        }
        _ => (
            "/serverless",
            json!({ "backingProviderName": "AWS", "providerName": "SERVERLESS", "regionName": "US_EAST_1" }),
        ),
    };
    let body = json!({ "name": name, "providerSettings": provider });
    let _: Value = session.call_atlas(Method::Post, path, Some(&body))?;
    let found = if session.matches.get_flag("wait") {
        wait_until_made(session, name, None)?
    } else {
        load(session, name)?
    };
    if session.matches.get_flag("wait") && found.state == "REPAIRING" {
        let reason = found.reason.clone().unwrap_or_default();
        return Err(CliError::new(Exit::Unsuccessful, format!("{name} is not served: {reason}")));
    }
    session.output.data(&found, |found| describe(found, session))
}

/// The instance, once it is made, or after so long as it is.
pub(super) fn wait_until_made(
    session: &Session<'_>,
    name: &str,
    patience: Option<Duration>,
) -> Result<Instance, CliError> {
    let began = Instant::now();
    loop {
        let found = load(session, name)?;
        let is_over = patience.is_some_and(|patience| began.elapsed() >= patience);
        if found.state != "CREATING" || is_over {
            return Ok(found);
        }
        std::thread::sleep(POLL);
    }
}

fn delete(session: &Session<'_>) -> Result<(), CliError> {
    let name = session.required("instance");
    let found = load(session, name)?;
    let path = match found.view.as_str() {
        "flex" => "/flexClusters",
        "cluster" => "/clusters",
        _ => "/serverless",
    };
    session.output.say(&match found.backing.as_str() {
        "attached" => format!("{name} would be let go; the deployment itself is not touched"),
        _ => format!(
            "{name} would be removed with its data ({} in its newest snapshot); its backups are kept for a while",
            bytes(found.size_bytes)
        ),
    });
    confirm(session.matches, "Remove it?")?;
    let path = format!("{path}/{}", percent_encode(name));
    let _: Value = session.call_atlas(Method::Delete, &path, None)?;
    let removed = Removed { removed: name.to_owned() };
    session.output.data(&removed, |removed| format!("{} is removed\n", removed.removed))
}

fn rehost(session: &Session<'_>) -> Result<(), CliError> {
    let name = session.required("instance");
    let path = format!("/instances/{}/rehost", percent_encode(name));
    let rehosted: Rehosted = session.call(Method::Post, &path, None)?;
    session.output.data(&rehosted, |rehosted| describe_rehosted(name, rehosted))
}

fn describe_rehosted(name: &str, rehosted: &Rehosted) -> String {
    let Some(job) = &rehosted.restore_job_id else {
        return format!("{name} begins anew, empty: it has no backups\n");
    };
    let mut out = format!("{name} begins anew; restore job {job} brings its data back\n");
    if let Some(lost) = &rehosted.lost_after {
        let entry = (lost.oplog_ts, lost.oplog_inc.unwrap_or_default());
        let _ =
            writeln!(out, "what was written after {} (oplog entry {entry:?}) is lost", lost.date);
    }
    out
}
