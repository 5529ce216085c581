//! What of the backups is meant, as flags say it and as a request does.

use clap::{ArgMatches, Command};
use serde_json::{Map, Value, json};
use tidemark_model::PointInTime;

use crate::command::{given, instance, text};
use crate::error::CliError;
use crate::session::Session;
use crate::when::Moment;

/// A command that looks at a snapshot or a moment.
pub(crate) fn with_point(command: Command) -> Command {
    command
        .arg(instance())
        .arg(clap::Arg::new("snapshot").value_name("SNAPSHOT").help("The snapshot's id"))
        .arg(text("at", "WHEN", "A moment instead, as \"yesterday 18:00\""))
}

/// A moment as a request says it.
pub(crate) fn point_of(moment: &Moment) -> Result<Map<String, Value>, CliError> {
    let point = moment.point().map_err(CliError::usage)?;
    let body = match point {
        PointInTime::Second(second) => json!({ "pointInTimeUTCSeconds": second }),
        PointInTime::Entry(entry) => {
            json!({ "oplogTs": entry.seconds, "oplogInc": entry.increment })
        }
    };
    Ok(body.as_object().cloned().unwrap_or_default())
}

/// What of the backups is meant; a moment is said back exactly.
pub(crate) fn point(session: &Session<'_>, said: &str) -> Result<Map<String, Value>, CliError> {
    let is_id = said.len() == 24 && said.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id {
        return Ok(Map::from_iter([("snapshotId".to_owned(), said.into())]));
    }
    let moment = Moment::parse(said, &session.now).map_err(CliError::usage)?;
    session.output.say(&format!("moment: {}", moment.describe(&session.now)));
    point_of(&moment)
}

pub(crate) fn point_of_flags(session: &Session<'_>) -> Result<Map<String, Value>, CliError> {
    match (session.given("at"), session.given("snapshot")) {
        (Some(said), _) | (None, Some(said)) => point(session, said),
        (None, None) => Err(CliError::usage("it is not said where to look")
            .hint("give a snapshot's id, or --at \"yesterday 18:00\"")),
    }
}

/// The filter of `--where`.
pub(crate) fn filter_of(matches: &ArgMatches) -> Result<Value, CliError> {
    let Some(text) = given(matches, "where") else { return Ok(json!({})) };
    serde_json::from_str(text).map_err(|error| {
        CliError::usage(format!("--where is no Extended JSON: {error}"))
            .hint("write it as '{\"_id\": 5}' or '{\"qty\": {\"$gt\": 3}}'")
    })
}

/// The `_id`s that are named; what is no JSON is a text.
pub(crate) fn ids_of(matches: &ArgMatches) -> Vec<Value> {
    let ids = matches.get_many::<String>("id").into_iter().flatten();
    ids.map(|id| serde_json::from_str(id).unwrap_or_else(|_| id.as_str().into())).collect()
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
