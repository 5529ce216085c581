//! One snapshot: looked at, waited for, described.

use crate::answers::{Progress, Snapshot};
use crate::client::percent_encode;
use crate::error::{CliError, Exit};
use crate::output::state;
use crate::progress::Watch;
use crate::session::Session;
use crate::table::bytes;
use crate::when::local;

/// A snapshot, with how far it is.
pub(crate) fn load(session: &Session<'_>, path: &str, id: &str) -> Result<Snapshot, CliError> {
    let path = format!("{path}/{}", percent_encode(id));
    let mut found: Snapshot = session.get(&path)?;
    found.progress = Some(session.get::<Progress>(&format!("{path}/progress"))?);
    Ok(found)
}

/// Watches a snapshot until it is complete.
pub(crate) fn wait_over(session: &Session<'_>, path: &str, id: &str) -> Result<Snapshot, CliError> {
    let progress = format!("{path}/{}/progress", percent_encode(id));
    Watch::new(session.output).until_over(|| session.get(&progress))?;
    let found = load(session, path, id)?;
    if found.state == "completed" {
        return Ok(found);
    }
    let reason = found.reason.unwrap_or_default();
    Err(CliError::new(Exit::Unsuccessful, format!("the snapshot failed: {reason}")))
}

/// A line for people.
pub(crate) fn describe(found: &Snapshot, session: &Session<'_>) -> String {
    let shown = found.shows.as_ref().map_or(&found.created_at, |at| &at.date);
    let mut words =
        vec![found.id.clone(), local(shown, &session.now), found.kind.clone(), state(&found.state)];
    words.extend(found.size_bytes.map(bytes));
    words.extend(found.mode.clone());
    words.extend(found.reason.clone());
    let mut out = words.join("  ") + "\n";
    for difference in found.comparison.iter().flat_map(|comparison| &comparison.differences) {
        out.push_str("  DIFFERS: ");
        out.push_str(difference);
        out.push('\n');
    }
    out
}
