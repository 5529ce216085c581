//! `tidemark restores`: bringing back what was.

use std::fmt::Write;

use clap::{ArgAction, ArgMatches, Command};
use serde_json::{Map, Value, json};
use tidemark_model::OnConflict;

use super::instances;
use super::points::{filter_of, ids_of, namespaces_of, point_of};
use crate::answers::{Plan, Progress, RestoreJob, RestoreJobs};
use crate::ask::confirm;
use crate::client::{Method, percent_encode};
use crate::command::{flag, group, instance, namespaces, positional, text, with_server, yes};
use crate::error::{CliError, Exit};
use crate::output::state;
use crate::progress::{Watch, is_over};
use crate::session::Session;
use crate::table::{Table, bytes, count};
use crate::when::{Moment, local};

/// How the server refuses a moment that cannot be restored.
const OUTSIDE: &str = "INVALID_PIT_RESTORE_TIME";

pub(crate) fn command() -> Command {
    let job = || positional("job", "JOB", "The job's id");
    let one = |name: &'static str, about: &'static str| {
        Command::new(name).about(about).arg(instance()).arg(job())
    };
    group("restores", "Restores: of a snapshot or a moment, all of it or selected namespaces")
        .subcommand(with_server(create_command()))
        .subcommand(with_server(with_what(
            Command::new("plan").about("Say what a restore would do, and do nothing"),
        )))
        .subcommand(with_server(
            Command::new("list").about("List them, the newest first").arg(instance()),
        ))
        .subcommand(with_server(one("show", "Show one, and how far it is")))
        .subcommand(with_server(one("watch", "Watch one until it is over")))
        .subcommand(with_server(one("cancel", "Stop one; its target stays as it was").arg(yes())))
}

fn create_command() -> Command {
    with_what(Command::new("create").about("Show what a restore would do, ask, and restore"))
        .arg(flag("dry-run", "Only say what would be done, as `plan` does"))
        .arg(flag("wait", "Watch it until it is over"))
        .arg(yes())
}

/// A command with what says what is restored, and where.
fn with_what(command: Command) -> Command {
    command
        .arg(instance())
        .arg(text("snapshot", "ID", "The snapshot; of a moment, the one to begin with"))
        .arg(
            text("to", "WHEN", "The moment, as \"yesterday 18:00\" or \"2 hours ago\"").alias("at"),
        )
        .arg(text("target", "INSTANCE", "Where to [the instance itself]"))
        .arg(text("target-project", "ID", "The project of that instance [the same]"))
        .arg(namespaces())
        .arg(flag(
            "replace-in-place",
            "Where the target cannot rename, replace documents where they are",
        ))
        .arg(
            text("documents", "NS", "Only documents of this collection, into the target's as it is")
                .conflicts_with_all(["namespace", "replace-in-place"]),
        )
        .arg(
            text("where", "FILTER", "Of those, the ones of a filter in Extended JSON [all]")
                .requires("documents"),
        )
        .arg(
            text("id", "ID", "Of those, the one of this _id; may be given again")
                .action(ArgAction::Append)
                .requires("documents")
                .conflicts_with("where"),
        )
        .arg(text("into", "NS", "The collection that they go into [the same]").requires("documents"))
        .arg(
            text("on-conflict", "WHAT", "Where the target has another of an _id: write nothing at all (insert), replace it, or skip it")
                .value_parser(OnConflict::WORDS)
                .requires("documents"),
        )
}

pub(crate) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let Some((what, matches)) = matches.subcommand() else { return Ok(()) };
    let now = crate::when::now();
    // What is wrong with the flags is said before anybody is called.
    let wanted = matches!(what, "create" | "plan").then(|| Wanted::new(matches, &now));
    let wanted = wanted.transpose()?;
    let session = Session::new(matches)?;
    let path = format!("/instances/{}/restoreJobs", percent_encode(session.required("instance")));
    match (what, wanted) {
        ("plan", Some(wanted)) => show_plan(&session, &path, &wanted),
        ("create", Some(wanted)) if matches.get_flag("dry-run") => {
            show_plan(&session, &path, &wanted)
        }
        ("create", Some(wanted)) => create(&session, &path, &wanted),
        ("show", _) => {
            let job = load(&session, &path, session.required("job"))?;
            session.output.data(&job, |job| describe(job, &session))
        }
        ("watch", _) => watch(&session, &path, session.required("job")),
        ("cancel", _) => cancel(&session, &path),
        _ => list(&session, &path),
    }
}

/// What is asked for.
struct Wanted {
    body: Map<String, Value>,
    /// Exactly which moment it is.
    said: Option<String>,
    target: String,
}

impl Wanted {
    fn new(matches: &ArgMatches, now: &jiff::Zoned) -> Result<Self, CliError> {
        let given = |name: &str| crate::command::given(matches, name);
        let mut body = Map::new();
        let moment = given("to").map(|text| Moment::parse(text, now).map_err(CliError::usage));
        let moment = moment.transpose()?;
        if moment.is_none() && given("snapshot").is_none() {
            return Err(CliError::usage("it is not said what to restore")
                .hint("--to \"yesterday 18:00\" for a moment, or --snapshot ID"));
        }
        if let Some(moment) = &moment {
            body.extend(point_of(moment)?);
        }
        for (flag, attribute) in [
            ("snapshot", "snapshotId"),
            ("target", "targetClusterName"),
            ("target-project", "targetGroupId"),
        ] {
            if let Some(value) = given(flag) {
                body.insert(attribute.to_owned(), value.into());
            }
        }
        if matches.get_flag("replace-in-place") {
            body.insert("replaceInPlace".to_owned(), true.into());
        }
        if let Some(rules) = namespaces_of(matches) {
            body.insert("namespaces".to_owned(), rules);
        }
        if let Some(namespace) = given("documents") {
            body.insert("documents".to_owned(), documents_of(matches, namespace)?);
        }
        let target = given("target").or(given("instance")).unwrap_or_default().to_owned();
        Ok(Self { body, said: moment.map(|moment| moment.describe(now)), target })
    }
}

/// The documents that the flags name.
fn documents_of(matches: &ArgMatches, namespace: &str) -> Result<Value, CliError> {
    let given = |name: &str| crate::command::given(matches, name);
    let ids = ids_of(matches);
    let filter =
        if ids.is_empty() { filter_of(matches)? } else { json!({ "_id": { "$in": ids } }) };
    Ok(json!({
        "filter": filter,
        "namespace": namespace,
        "onConflict": given("on-conflict").unwrap_or(OnConflict::default().as_str()),
        "to": given("into").unwrap_or(namespace),
    }))
}

fn plan(session: &Session<'_>, path: &str, wanted: &Wanted) -> Result<Plan, CliError> {
    let mut body = wanted.body.clone();
    body.insert("dryRun".to_owned(), true.into());
    let planned = session.call(Method::Post, path, Some(&Value::Object(body)));
    planned.map_err(|error| if error.is(OUTSIDE) { with_restorable(session, error) } else { error })
}

/// The refusal of a moment that cannot be restored, with those that can.
fn with_restorable(session: &Session<'_>, error: CliError) -> CliError {
    let Ok(found) = instances::load(session, session.required("instance")) else { return error };
    let said = found.restorable.iter().map(|span| {
        let (from, through) = (&span.from.date, &span.through.date);
        format!("{} to {}", local(from, &session.now), local(through, &session.now))
    });
    let said = said.collect::<Vec<_>>().join("; ");
    error.hint(if said.is_empty() {
        "no moment of it can be restored yet, only its snapshots".to_owned()
    } else {
        format!("say a moment that can be restored: {said}")
    })
}

fn show_plan(session: &Session<'_>, path: &str, wanted: &Wanted) -> Result<(), CliError> {
    let plan = plan(session, path, wanted)?;
    session.output.data(&plan, |plan| describe_plan(plan, wanted))
}

/// Shows the plan, asks, and has it done.
fn create(session: &Session<'_>, path: &str, wanted: &Wanted) -> Result<(), CliError> {
    let plan = plan(session, path, wanted)?;
    session.output.say(describe_plan(&plan, wanted).trim_end());
    if let Some(obstacle) = plan.obstacles.first() {
        return Err(CliError::new(Exit::Conflict, format!("nothing was done: {obstacle}")).hint(
            if plan.documents_there.is_some() {
                "say --on-conflict replace or skip, or write them --into another collection"
            } else {
                "take the obstacles away, or restore to another instance with --target"
            },
        ));
    }
    confirm(session.matches, &format!("Restore to {}?", wanted.target))?;
    let body = Value::Object(wanted.body.clone());
    let job: RestoreJob = session.call(Method::Post, path, Some(&body))?;
    if session.matches.get_flag("wait") {
        session.output.say(&format!("restore job {}", job.id));
        return watch(session, path, &job.id);
    }
    let name = session.required("instance");
    session.output.say(&format!("`tidemark restores watch {name} {}` shows how far it is", job.id));
    session.output.data(&job, |job| describe(job, session))
}

fn list(session: &Session<'_>, path: &str) -> Result<(), CliError> {
    let jobs: RestoreJobs = session.get(path)?;
    let mut table = Table::new(&["ID", "KIND", "STATE", "TARGET", "CREATED", "REASON"]);
    for job in &jobs.results {
        table.row([
            job.id.clone(),
            job.delivery_type.clone(),
            job.state.clone(),
            job.target_cluster_name.clone(),
            local(&job.created_at, &session.now),
            job.reason.clone().unwrap_or_default(),
        ]);
    }
    let otherwise = "nothing was restored yet";
    session.output.list(&jobs, (table, jobs.results.is_empty(), otherwise))
}

/// A job, with how far it is.
fn load(session: &Session<'_>, path: &str, id: &str) -> Result<RestoreJob, CliError> {
    let path = format!("{path}/{}", percent_encode(id));
    let mut job: RestoreJob = session.get(&path)?;
    job.progress = Some(session.get::<Progress>(&format!("{path}/progress"))?);
    Ok(job)
}

fn watch(session: &Session<'_>, path: &str, id: &str) -> Result<(), CliError> {
    let progress = format!("{path}/{}/progress", percent_encode(id));
    Watch::new(session.output).until_over(|| session.get(&progress))?;
    let job = load(session, path, id)?;
    session.output.data(&job, |job| describe(job, session))?;
    if job.state == "completed" {
        return Ok(());
    }
    let reason = job.reason.as_deref().unwrap_or("it was cancelled");
    Err(CliError::new(Exit::Unsuccessful, format!("the restore is {}: {reason}", job.state)).hint(
        if job.documents.is_some() {
            "what was written stays; create it again and it goes on with what is missing"
        } else {
            "the target is as it was before"
        },
    ))
}

fn cancel(session: &Session<'_>, path: &str) -> Result<(), CliError> {
    let id = session.required("job");
    let job = load(session, path, id)?;
    if is_over(&job.state) {
        return Err(CliError::new(Exit::Conflict, format!("the restore is {} already", job.state)));
    }
    session.output.say(describe(&job, session).trim_end());
    confirm(session.matches, "Stop it? Its target stays as it was.")?;
    let path_of_job = format!("{path}/{}", percent_encode(id));
    let _: Value = session.call(Method::Delete, &path_of_job, None)?;
    let job = load(session, path, id)?;
    session.output.data(&job, |job| describe(job, session))
}

fn describe(job: &RestoreJob, session: &Session<'_>) -> String {
    let mut out = format!(
        "{}  {}  {}  to {}\n",
        job.id,
        job.delivery_type,
        state(&job.state),
        job.target_cluster_name
    );
    let mut line = |text: String| {
        let _ = writeln!(out, "  {text}");
    };
    if let Some(reason) = &job.reason {
        line(reason.clone());
    }
    if let Some(notice) = job.notice.as_ref().filter(|_| job.finished_at.is_none()) {
        line(notice.clone());
    }
    line(format!("asked for {}", local(&job.created_at, &session.now)));
    if let Some(at) = &job.finished_at {
        line(format!("over since {}", local(at, &session.now)));
    }
    if let Some(progress) = &job.progress {
        let total = progress.bytes_total.filter(|_| job.finished_at.is_none());
        line(format!(
            "{} documents, {}{}{}",
            count(progress.documents_done),
            bytes(progress.bytes_done),
            total.map_or(String::new(), |total| format!(" of {}", bytes(total))),
            progress
                .estimated_seconds_left
                .filter(|_| total.is_some())
                .map_or(String::new(), |left| format!(", {left} s left")),
        ));
    }
    if let Some(link) = &job.download_url {
        line(link.clone());
    }
    out
}

fn describe_plan(plan: &Plan, wanted: &Wanted) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    if let Some(moment) = &wanted.said {
        line(format!("moment    {moment}"));
    }
    line(format!("snapshot  {}", plan.snapshot_id));
    line(format!("target    {}", wanted.target));
    for found in &plan.namespaces {
        line(format!(
            "{}  {}  {} documents, {}",
            match (found.replaces, found.kind.as_str()) {
                (true, _) => "replace ",
                (false, "documents") => "into    ",
                (false, _) => "create  ",
            },
            if found.from == found.to {
                found.to.clone()
            } else {
                format!("{} -> {}", found.from, found.to)
            },
            count(found.documents),
            bytes(found.bytes)
        ));
    }
    if let Some(there) = &plan.documents_there {
        line(format!(
            "there     {} of them as they are, {} different",
            count(there.equal),
            count(there.different)
        ));
    }
    for (names, word) in
        [(&plan.dropped, "drop    "), (&plan.kept, "keep    "), (&plan.obstacles, "BUT     ")]
    {
        for name in names {
            line(format!("{word}  {name}"));
        }
    }
    line(format!(
        "{} documents, {}, {} oplog entries; about {} s",
        count(plan.documents),
        bytes(plan.bytes),
        count(plan.entries),
        plan.estimated_seconds
    ));
    out
}
