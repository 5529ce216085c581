//! `tidemark restores`: restore jobs of a server, with what Atlas has no word for; and
//! `tidemark instances`.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value, json};

use crate::client::{Client, items, percent_encode, text, with_server};

type Failure = Box<dyn std::error::Error>;

/// The command with all that it can do.
pub(crate) fn command() -> Command {
    let instance = || {
        Arg::new("instance").value_name("INSTANCE").required(true).help("Whose backups they are")
    };
    let job = || Arg::new("job").value_name("JOB").required(true).help("The job's id");
    Command::new("restores")
        .about("Look after restore jobs")
        .subcommand_required(true)
        .subcommand(with_server(create_command().arg(instance())))
        .subcommand(with_server(
            Command::new("list").about("List them, the newest first").arg(instance()),
        ))
        .subcommand(with_server(
            Command::new("show").about("Show one, and how far it is").arg(instance()).arg(job()),
        ))
}

fn create_command() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("create")
        .about("Restore a snapshot or a moment, all of it or selected namespaces")
        .arg(text("snapshot", "ID", "The snapshot"))
        .arg(
            text("at", "SECONDS", "The moment, in seconds since 1970")
                .value_parser(clap::value_parser!(u32)),
        )
        .arg(text("to", "INSTANCE", "Where to [the instance itself]"))
        .arg(text("to-project", "ID", "The project of that instance [the same]"))
        .arg(
            text(
                "namespace",
                "FROM[=TO]",
                "Restore only this, `db.collection` or `db.*`; may be given again",
            )
            .action(ArgAction::Append),
        )
        .arg(
            Arg::new("replace-in-place")
                .long("replace-in-place")
                .action(ArgAction::SetTrue)
                .help("Where the target cannot rename, replace documents where they are"),
        )
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .help("Only say what would be done"),
        )
}

/// The command for instances.
pub(crate) fn instances_command() -> Command {
    let rehost = Command::new("rehost")
        .about("Let an instance that has lost its data begin anew from its backups")
        .arg(Arg::new("instance").value_name("INSTANCE").required(true).help("The instance"));
    Command::new("instances")
        .about("Look after instances")
        .subcommand_required(true)
        .subcommand(with_server(rehost))
}

/// Runs `restores`.
pub(crate) fn run(matches: &ArgMatches) -> crate::Outcome {
    let Some((what, matches)) = matches.subcommand() else { return Ok(ExitCode::FAILURE) };
    let flag = |name: &str| matches.try_get_one::<String>(name).ok().flatten().cloned();
    let instance = percent_encode(&flag("instance").unwrap_or_default());
    let path = format!("/instances/{instance}/restoreJobs");
    // What is wrong with the flags is said before anybody is called.
    let body = if what == "create" { Some(body_of(matches)?) } else { None };
    let client = Client::new(matches)?;
    let answer = match what {
        "create" => client.call_own("POST", &path, body.as_ref())?,
        "show" => {
            let path = format!("{path}/{}", percent_encode(&flag("job").unwrap_or_default()));
            let mut job = client.call_own("GET", &path, None)?;
            let progress = client.call_own("GET", &format!("{path}/progress"), None)?;
            if let Some(job) = job.as_object_mut() {
                job.insert("progress".to_owned(), progress);
            }
            job
        }
        _ => client.call_own("GET", &path, None)?,
    };
    if matches.get_flag("json") {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else if what == "list" {
        items(&answer, "results").iter().for_each(print_job);
    } else if what == "create" && matches.get_flag("dry-run") {
        print_plan(&answer);
    } else {
        print_job(&answer);
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `instances`.
pub(crate) fn run_instances(matches: &ArgMatches) -> crate::Outcome {
    let Some(("rehost", matches)) = matches.subcommand() else { return Ok(ExitCode::FAILURE) };
    let instance = matches.get_one::<String>("instance").cloned().unwrap_or_default();
    let path = format!("/instances/{}/rehost", percent_encode(&instance));
    let answer = Client::new(matches)?.call_own("POST", &path, None)?;
    if matches.get_flag("json") {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        match text(&answer, "restoreJobId") {
            "" => println!("{instance} begins anew, empty: it has no backups"),
            job => {
                println!("{instance} begins anew; restore job {job} brings its data back");
                if let Some(lost) = answer.get("lostAfter").filter(|lost| lost.is_object()) {
                    let number = |name: &str| lost.get(name).and_then(Value::as_u64).unwrap_or(0);
                    let entry = (number("oplogTs"), number("oplogInc"));
                    let date = text(lost, "date");
                    println!("what was written after {date} (oplog entry {entry:?}) is lost");
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the flags of `create` ask for.
fn body_of(matches: &ArgMatches) -> Result<Value, Failure> {
    let flag = |name: &str| matches.get_one::<String>(name).cloned();
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    let at = matches.get_one::<u32>("at").copied();
    if flag("snapshot").is_none() && at.is_none() {
        return Err("say what to restore: --snapshot ID or --at SECONDS".into());
    }
    put("snapshotId", flag("snapshot").map(Value::from));
    put("pointInTimeUTCSeconds", at.map(Value::from));
    put("targetClusterName", flag("to").map(Value::from));
    put("targetGroupId", flag("to-project").map(Value::from));
    if matches.get_flag("replace-in-place") {
        put("replaceInPlace", Some(true.into()));
    }
    if matches.get_flag("dry-run") {
        put("dryRun", Some(true.into()));
    }
    put("namespaces", namespaces_of(matches));
    Ok(Value::Object(body))
}

/// The rules that `--namespace` gives, if it does.
pub(crate) fn namespaces_of(matches: &ArgMatches) -> Option<Value> {
    let rule = |given: &String| match given.split_once('=') {
        Some((from, to)) => json!({ "from": from, "to": to }),
        None => json!({ "from": given }),
    };
    let rules = matches.get_many::<String>("namespace")?;
    Some(rules.map(rule).collect::<Vec<_>>().into())
}

fn print_job(job: &Value) {
    let reason = text(job, "reason");
    println!(
        "{}  {}  {}  to {}{}",
        text(job, "id"),
        text(job, "deliveryType"),
        text(job, "state"),
        text(job, "targetClusterName"),
        if reason.is_empty() { String::new() } else { format!("  {reason}") }
    );
    if !text(job, "notice").is_empty() && text(job, "finishedAt").is_empty() {
        println!("  {}", text(job, "notice"));
    }
    let Some(progress) = job.get("progress") else { return };
    let whole = |field: &str| progress.get(field).and_then(Value::as_u64);
    println!(
        "  {} documents, {} bytes{}{}",
        whole("documentsDone").unwrap_or(0),
        whole("bytesDone").unwrap_or(0),
        whole("bytesTotal").map_or(String::new(), |total| format!(" of {total}")),
        whole("estimatedSecondsLeft").map_or(String::new(), |left| format!(", {left} s left")),
    );
}

fn print_plan(plan: &Value) {
    let whole = |value: &Value, field: &str| value.get(field).and_then(Value::as_u64).unwrap_or(0);
    for found in items(plan, "namespaces") {
        let replaces = found.get("replaces").and_then(Value::as_bool) == Some(true);
        println!(
            "{}  {} -> {}  {} documents, {} bytes",
            if replaces { "replace" } else { "create " },
            text(found, "from"),
            text(found, "to"),
            whole(found, "documents"),
            whole(found, "bytes")
        );
    }
    for (field, word) in [("dropped", "drop   "), ("kept", "keep   "), ("obstacles", "BUT    ")] {
        for name in items(plan, field) {
            println!("{word}  {}", name.as_str().unwrap_or_default());
        }
    }
    println!(
        "{} oplog entries are replayed; about {} s",
        whole(plan, "entries"),
        whole(plan, "estimatedSeconds")
    );
}
