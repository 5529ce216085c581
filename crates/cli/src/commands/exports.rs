//! `tidemark snapshots export|download|import`: snapshots as files, and files as snapshots.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};
use tidemark_model::{DUMP_FOLDER, ExportFormat};

use super::one_snapshot::{describe, wait_over};
use super::points::{namespaces_of, point_of};
use crate::answers::{Exported, RestoreJob};
use crate::client::{Method, percent_encode};
use crate::command::{given, instance, namespaces, text};
use crate::error::{CliError, Exit};
use crate::progress::Watch;
use crate::session::Session;
use crate::table::bytes;
use crate::when::Moment;

/// What the server answers to whoever wants to upload a dump.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Allowed {
    id: String,
    upload_url: String,
}

pub(crate) fn export_command() -> Command {
    with_what(Command::new("export").about("Write a snapshot or a moment to a file")).arg(
        text(
            "format",
            "FORMAT",
            "archive or directory for mongorestore, bson or ndjson of one namespace [archive]",
        )
        .value_parser(ExportFormat::ALL.map(ExportFormat::as_str)),
    )
}

pub(crate) fn download_command() -> Command {
    with_what(
        Command::new("download")
            .about("Write a snapshot or a moment as `mongorestore --gzip --archive` reads it"),
    )
}

fn with_what(command: Command) -> Command {
    command
        .arg(instance())
        .arg(Arg::new("snapshot").value_name("SNAPSHOT").help("The snapshot's id"))
        .arg(text("at", "WHEN", "A moment instead of a snapshot, as \"yesterday 18:00\""))
        .arg(namespaces())
        .arg(text("output", "FILE", "The file, or - for the standard output [named by the server]"))
}

pub(crate) fn import_command() -> Command {
    Command::new("import")
        .about("Make a snapshot of what mongodump wrote")
        .arg(instance())
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

/// Has a file made, waits for it, and copies it.
pub(crate) fn export(matches: &ArgMatches) -> Result<(), CliError> {
    write(matches, given(matches, "format"))
}

/// The same for what `mongorestore` reads.
pub(crate) fn download(matches: &ArgMatches) -> Result<(), CliError> {
    write(matches, None)
}

fn write(matches: &ArgMatches, format: Option<&str>) -> Result<(), CliError> {
    let body = body_of(matches, format)?;
    let session = Session::new(matches)?;
    let jobs = format!("/instances/{}/restoreJobs", percent_encode(session.required("instance")));
    let asked: RestoreJob = session.call(Method::Post, &jobs, Some(&body))?;
    let path = format!("{jobs}/{}", asked.id);
    Watch::new(session.output).until_over(|| session.get(&format!("{path}/progress")))?;
    let job: RestoreJob = session.get(&path)?;
    let Some(link) = job.download_url.as_deref().filter(|_| job.state == "completed") else {
        let reason = job.reason.unwrap_or_default();
        return Err(CliError::new(Exit::Unsuccessful, format!("nothing was exported: {reason}")));
    };
    let name = link.rsplit('/').next().unwrap_or("export");
    let output = session.given("output").unwrap_or(name);
    let count = if output == "-" {
        copy(session.client.download(link)?, &mut std::io::stdout().lock())?
    } else {
        save(session.client.download(link)?, Path::new(output))?
    };
    let exported =
        Exported { file: output.to_owned(), bytes: count, restore_job_id: asked.id.clone() };
    if output == "-" {
        return Ok(());
    }
    session
        .output
        .data(&exported, |exported| format!("{}: {}\n", exported.file, bytes(exported.bytes)))
}

fn body_of(matches: &ArgMatches, format: Option<&str>) -> Result<Value, CliError> {
    let mut body = serde_json::Map::new();
    body.insert("deliveryType".to_owned(), "download".into());
    if let Some(text) = given(matches, "at") {
        let now = crate::when::now();
        let moment = Moment::parse(text, &now).map_err(CliError::usage)?;
        crate::output::Output::new(matches).say(&format!("moment: {}", moment.describe(&now)));
        body.extend(point_of(&moment)?);
    } else if given(matches, "snapshot").is_none() {
        return Err(CliError::usage("it is not said what to export")
            .hint("give a snapshot's id, or --at \"yesterday 18:00\""));
    }
    let named = [
        ("snapshotId", given(matches, "snapshot").map(Value::from)),
        ("format", format.map(Value::from)),
        ("namespaces", namespaces_of(matches)),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    }
    Ok(Value::Object(body))
}

/// Uploads a dump, and waits for its snapshot.
pub(crate) fn import(matches: &ArgMatches) -> Result<(), CliError> {
    let dump: Box<dyn Read + Send> = match (given(matches, "archive"), given(matches, "dir")) {
        (Some("-"), None) => Box::new(std::io::stdin()),
        (Some(file), None) => Box::new(
            File::open(file)
                .map_err(|error| CliError::usage(format!("{file} cannot be read: {error}")))?,
        ),
        (None, Some(folder)) => Box::new(packed(Path::new(folder))?),
        _ => {
            return Err(CliError::usage("it is not said what to import")
                .hint("--archive FILE or --dir DIR"));
        }
    };
    let body = match matches.get_one::<u32>("retention-days") {
        Some(days) => json!({ "retentionInDays": days }),
        None => json!({}),
    };
    let session = Session::new(matches)?;
    let path = format!("/instances/{}", percent_encode(session.required("instance")));
    let wanted: Allowed = session.call(Method::Post, &format!("{path}/imports"), Some(&body))?;
    session.client.upload(&wanted.upload_url, dump)?;
    let found = wait_over(&session, &format!("{path}/snapshots"), &wanted.id)?;
    session.output.data(&found, |found| describe(found, &session))
}

/// The folder that `mongodump` wrote, as a tar, while it is read.
fn packed(folder: &Path) -> Result<impl Read + Send + use<>, CliError> {
    if !folder.is_dir() {
        return Err(CliError::usage(format!("{} is no folder", folder.display())));
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

/// Writes a file under another name first: one that is there under its own is whole. What is there and is
/// no file, as a device, is written to.
fn save(from: impl Read, path: &Path) -> Result<u64, CliError> {
    let told = |error: std::io::Error| {
        CliError::failed(format!("{} cannot be written: {error}", path.display()))
    };
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        let mut there = File::options().write(true).open(path).map_err(told)?;
        return copy(from, &mut there);
    }
    let mut temporary = PathBuf::from(path).into_os_string();
    temporary.push(".part");
    let temporary = PathBuf::from(temporary);
    let failed = |error: std::io::Error| {
        CliError::failed(format!("{} cannot be written: {error}", path.display()))
    };
    let mut file = File::create(&temporary).map_err(failed)?;
    let bytes = copy(from, &mut file)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)?;
    Ok(bytes)
}

fn copy(mut from: impl Read, to: &mut impl Write) -> Result<u64, CliError> {
    let bytes = std::io::copy(&mut from, to)?;
    to.flush()?;
    Ok(bytes)
}
