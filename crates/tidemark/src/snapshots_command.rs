//! `tidemark snapshots`: snapshots of a server, taken, listed, exported and imported.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use serde_json::{Map, Value, json};
use tidemark_model::ExportFormat;
use tidemark_mover::DUMP_FOLDER;

use crate::client::{Client, download, items, percent_encode, text, upload, with_server};

type Failure = Box<dyn std::error::Error>;

/// How often a snapshot or an export that is wanted is looked at.
const POLL: Duration = Duration::from_millis(500);

/// The command with all that it can do.
pub(crate) fn command() -> Command {
    let instance = || {
        Arg::new("instance").value_name("INSTANCE").required(true).help("Whose snapshots they are")
    };
    let snapshot = || Arg::new("snapshot").value_name("SNAPSHOT").help("The snapshot's id");
    Command::new("snapshots")
        .about("Look after snapshots")
        .subcommand_required(true)
        .subcommand(with_server(
            Command::new("list").about("List them, the newest first").arg(instance()),
        ))
        .subcommand(with_server(
            Command::new("show")
                .about("Show one, and how far it is")
                .arg(instance())
                .arg(snapshot().required(true)),
        ))
        .subcommand(with_server(export_command().arg(instance()).arg(snapshot())))
        .subcommand(with_server(import_command().arg(instance())))
}

fn export_command() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("export")
        .about("Write a snapshot or a moment to a file")
        .arg(
            text("at", "SECONDS", "A moment instead of a snapshot, in seconds since 1970")
                .value_parser(clap::value_parser!(u32)),
        )
        .arg(
            text(
                "format",
                "FORMAT",
                "archive or directory for mongorestore, bson or ndjson of one namespace [archive]",
            )
            .value_parser(ExportFormat::ALL.map(ExportFormat::as_str)),
        )
        .arg(
            text(
                "namespace",
                "FROM[=TO]",
                "Only this, `db.collection` or `db.*`; may be given again",
            )
            .action(clap::ArgAction::Append),
        )
        .arg(text("output", "FILE", "The file, or - for the standard output [named by the server]"))
}

fn import_command() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("import")
        .about("Make a snapshot of what mongodump wrote")
        .arg(text(
            "archive",
            "FILE",
            "What --archive wrote, or a .tgz of this command's export; - for the standard input",
        ))
        .arg(text("dir", "DIR", "What --out wrote").conflicts_with("archive"))
        .arg(
            text("retention-days", "DAYS", "How long it is kept [as snapshots by schedule]")
                .value_parser(clap::value_parser!(u32)),
        )
}

/// Runs it.
pub(crate) fn run(matches: &ArgMatches) -> crate::Outcome {
    let Some((what, matches)) = matches.subcommand() else { return Ok(ExitCode::FAILURE) };
    let flag = |name: &str| matches.try_get_one::<String>(name).ok().flatten().cloned();
    let path = format!("/instances/{}", percent_encode(&flag("instance").unwrap_or_default()));
    match what {
        "export" => return export(matches, &path),
        "import" => return import(matches, &path),
        _ => {}
    }
    let client = Client::new(matches)?;
    let answer = match what {
        "show" => {
            let id = percent_encode(&flag("snapshot").unwrap_or_default());
            let path = format!("{path}/snapshots/{id}");
            let mut found = client.call_own("GET", &path, None)?;
            let progress = client.call_own("GET", &format!("{path}/progress"), None)?;
            if let Some(found) = found.as_object_mut() {
                found.insert("progress".to_owned(), progress);
            }
            found
        }
        _ => client.call_own("GET", &format!("{path}/snapshots"), None)?,
    };
    if matches.get_flag("json") {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else if what == "list" {
        items(&answer, "results").iter().for_each(print_snapshot);
    } else {
        print_snapshot(&answer);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_snapshot(found: &Value) {
    let words = [text(found, "mode"), text(found, "reason")];
    println!(
        "{}  {}  {}  {}{}",
        text(found, "id"),
        text(found, "createdAt"),
        text(found, "kind"),
        text(found, "state"),
        words
            .iter()
            .filter(|word| !word.is_empty())
            .fold(String::new(), |line, word| line + "  " + word),
    );
    if let Some(comparison) = found.get("comparison") {
        for difference in items(comparison, "differences") {
            println!("  DIFFERS: {}", difference.as_str().unwrap_or_default());
        }
    }
}

/// Has a file made, waits for it, and copies it.
fn export(matches: &ArgMatches, path: &str) -> crate::Outcome {
    let body = export_body(matches)?;
    let client = Client::new(matches)?;
    let jobs = format!("{path}/restoreJobs");
    let asked = client.call_own("POST", &jobs, Some(&body))?;
    let id = text(&asked, "id");
    let job = wait_over(&client, &format!("{jobs}/{id}"))?;
    let link = text(&job, "downloadUrl");
    if text(&job, "state") != "completed" || link.is_empty() {
        return Err(format!("nothing was exported: {}", text(&job, "reason")).into());
    }
    let name = link.rsplit('/').next().unwrap_or("export");
    let output = matches.get_one::<String>("output").map_or(name, String::as_str);
    let bytes = if output == "-" {
        copy(download(link)?, &mut std::io::stdout().lock())?
    } else {
        save(download(link)?, Path::new(output))?
    };
    if matches.get_flag("json") {
        println!("{}", json!({ "bytes": bytes, "file": output, "restoreJobId": id }));
    } else if output != "-" {
        println!("{output}: {bytes} bytes");
    }
    Ok(ExitCode::SUCCESS)
}

/// Uploads a dump, and waits for its snapshot.
fn import(matches: &ArgMatches, path: &str) -> crate::Outcome {
    let flag = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let dump: Box<dyn Read + Send> = match (flag("archive"), flag("dir")) {
        (Some("-"), None) => Box::new(std::io::stdin()),
        (Some(file), None) => {
            Box::new(File::open(file).map_err(|error| format!("{file} cannot be read: {error}"))?)
        }
        (None, Some(folder)) => Box::new(packed(Path::new(folder))?),
        _ => return Err("say what to import: --archive FILE or --dir DIR".into()),
    };
    let body = match matches.get_one::<u32>("retention-days") {
        Some(days) => json!({ "retentionInDays": days }),
        None => json!({}),
    };
    let client = Client::new(matches)?;
    let wanted = client.call_own("POST", &format!("{path}/imports"), Some(&body))?;
    upload(text(&wanted, "uploadUrl"), dump)?;
    let found = wait_over(&client, &format!("{path}/snapshots/{}", text(&wanted, "id")))?;
    if text(&found, "state") == "failed" {
        return Err(text(&found, "reason").to_owned().into());
    }
    if matches.get_flag("json") {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        print_snapshot(&found);
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks for a snapshot or a restore job until nothing more becomes of it.
fn wait_over(client: &Client, path: &str) -> Result<Value, Failure> {
    loop {
        let found = client.call_own("GET", path, None)?;
        if ["completed", "failed", "cancelled"].contains(&text(&found, "state")) {
            return Ok(found);
        }
        std::thread::sleep(POLL);
    }
}

/// The folder that `mongodump` wrote, as a tar, while it is read.
fn packed(folder: &Path) -> Result<impl Read + Send + use<>, Failure> {
    if !folder.is_dir() {
        return Err(format!("{} is no folder", folder.display()).into());
    }
    let (reader, writer) = std::io::pipe()?;
    let folder = folder.to_owned();
    // Whoever reads finds a tar that ends early if this fails.
    std::thread::spawn(move || {
        let mut tar = tar::Builder::new(writer);
        let done = tar.append_dir_all(DUMP_FOLDER, &folder).and_then(|()| tar.finish());
        if let Err(error) = done {
            eprintln!("{} cannot be read: {error}", folder.display());
        }
    });
    Ok(reader)
}

fn export_body(matches: &ArgMatches) -> Result<Value, Failure> {
    let flag = |name: &str| matches.get_one::<String>(name).cloned();
    let at = matches.get_one::<u32>("at").copied();
    if flag("snapshot").is_none() && at.is_none() {
        return Err("say what to export: a snapshot's id, or --at SECONDS".into());
    }
    let mut body = Map::new();
    body.insert("deliveryType".to_owned(), "download".into());
    let given = [
        ("snapshotId", flag("snapshot").map(Value::from)),
        ("pointInTimeUTCSeconds", at.map(Value::from)),
        ("format", flag("format").map(Value::from)),
        ("namespaces", crate::restores_command::namespaces_of(matches)),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    }
    Ok(Value::Object(body))
}

/// Writes a file under another name first: one that is there under its own is whole.
fn save(from: impl Read, path: &Path) -> Result<u64, Failure> {
    let mut temporary = PathBuf::from(path).into_os_string();
    temporary.push(".part");
    let temporary = PathBuf::from(temporary);
    let failed = |error: std::io::Error| format!("{} cannot be written: {error}", path.display());
    let mut file = File::create(&temporary).map_err(failed)?;
    let bytes = copy(from, &mut file)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)?;
    Ok(bytes)
}

fn copy(mut from: impl Read, to: &mut impl Write) -> Result<u64, Failure> {
    let bytes = std::io::copy(&mut from, to)?;
    to.flush()?;
    Ok(bytes)
}
