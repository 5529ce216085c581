//! `tidemark schedule`: when snapshots are taken and drills done by themselves.

use std::fmt::Write;

use clap::{ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use crate::answers::Schedule;
use crate::client::{Method, percent_encode};
use crate::command::{given, group, instance, text, with_server, yes};
use crate::error::CliError;
use crate::lines;
use crate::session::Session;
use crate::when::local;

pub(crate) fn command() -> Command {
    let set = Command::new("set")
        .about("Say anew when snapshots are taken and drills done; what is not said is not done")
        .arg(instance())
        .arg(
            text("snapshots", "LINE", "As \"every 6 hours keep 7 days\", \"weekly on sunday keep 4 weeks\", \"cron 0 18 * * 1-5 keep 30 days\"; may be given again")
                .action(ArgAction::Append),
        )
        .arg(
            text("drills", "LINE", "As \"weekly on sunday\", \"monthly on 1 random\"; may be given again")
                .action(ArgAction::Append),
        )
        .arg(text("checks", "FILE", "Your own checks for the drills, as JSON").requires("drills"))
        .arg(text("time", "HH:MM", "The time of the day from which they count").default_value("00:00"))
        .arg(text("zone", "NAME", "Where it is that time, as Asia/Seoul").default_value("UTC"))
        .arg(
            text("window", "DAYS", "Every moment of so many days can be restored")
                .default_value("7")
                .value_parser(clap::value_parser!(u32).range(1..=3_650)),
        );
    let reset =
        "Take the schedule of its own from an instance: it is backed up as it was made then";
    group("schedule", "When snapshots are taken and drills done by themselves")
        .subcommand(with_server(Command::new("show").about("Show it").arg(instance())))
        .subcommand(with_server(set))
        .subcommand(with_server(Command::new("reset").about(reset).arg(instance()).arg(yes())))
}

pub(crate) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let Some((what, matches)) = matches.subcommand() else { return Ok(()) };
    // What is wrong with the lines is said before anybody is called.
    let body = (what == "set").then(|| body_of(matches)).transpose()?;
    let session = Session::new(matches)?;
    let path = format!("/instances/{}/schedule", percent_encode(session.required("instance")));
    let found: Schedule = match (what, &body) {
        ("set", Some(body)) => session.call(Method::Put, &path, Some(body))?,
        ("reset", _) => {
            crate::ask::confirm(matches, "Forget the schedule of its own?")?;
            session.call(Method::Delete, &path, None)?
        }
        _ => session.get(&path)?,
    };
    session.output.data(&found, |found| describe(found, &session))
}

fn body_of(matches: &ArgMatches) -> Result<Value, CliError> {
    type Read = fn(&str) -> Result<Value, String>;
    let lines = |name: &str, read: Read| -> Result<Vec<Value>, CliError> {
        let given = matches.get_many::<String>(name).into_iter().flatten();
        given.map(|line| read(line).map_err(CliError::usage)).collect()
    };
    let mut drills = lines("drills", lines::drills)?;
    if let Some(file) = given(matches, "checks") {
        let checks = super::drills::read_checks(file)?;
        for line in &mut drills {
            if let Some(fields) = line.as_object_mut() {
                fields.insert("checks".to_owned(), checks.clone());
            }
        }
    }
    Ok(json!({
        "drills": drills,
        "restoreWindowDays": matches.get_one::<u32>("window"),
        "snapshots": lines("snapshots", lines::snapshots)?,
        "time": given(matches, "time"),
        "timeZone": given(matches, "zone"),
    }))
}

fn describe(found: &Schedule, session: &Session<'_>) -> String {
    let mut out = String::new();
    let mut line = |word: &str, text: String| {
        let _ = writeln!(out, "{word:10}{text}");
    };
    if let Some(policy) = &found.policy {
        let hours = |seconds: i64| seconds / 3_600;
        line(
            "snapshots",
            format!(
                "every {} hours keep {} days, by the server's configuration",
                hours(policy.snapshot_interval),
                hours(policy.snapshot_retention) / 24
            ),
        );
        line("window", format!("{} hours", hours(policy.restore_window)));
        return out;
    }
    for snapshots in &found.snapshots {
        line("snapshots", lines::describe(snapshots));
    }
    if found.snapshots.is_empty() {
        line("snapshots", "none".to_owned());
    }
    for drills in &found.drills {
        line("drills", lines::describe(drills));
    }
    if let (Some(time), Some(days)) = (&found.time, found.restore_window_days) {
        line("time", format!("{time} {}", found.time_zone));
        line("window", format!("{days} days"));
    }
    for (word, next) in [("next", &found.next_snapshot), ("next drill", &found.next_drill)] {
        if let Some(next) = next {
            line(word, format!(" {}", local(next, &session.now)).trim_start().to_owned());
        }
    }
    out
}
