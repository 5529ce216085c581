//! `tidemark ready`: whether a server answers and can do its work; what containers ask.

use std::time::{Duration, Instant};

use clap::{ArgMatches, Command};

use crate::client::{Agent, agent};
use crate::command::{given, text};
use crate::error::{CliError, Exit};
use crate::output::print;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(200);
/// Where a server listens unless it is said.
const HERE: &str = "http://127.0.0.1:8080";

pub(crate) fn command() -> Command {
    Command::new("ready")
        .about("Ask whether a server is ready; no credentials are needed")
        .arg(text("server", "URL", "Its address [$TIDEMARK_SERVER, or http://127.0.0.1:8080]"))
        .arg(
            text("wait", "SECONDS", "Ask again for so long until it is")
                .default_value("0")
                .value_parser(clap::value_parser!(u64)),
        )
}

/// Says what the server says, and ends with 3 unless that is that it is ready.
pub(crate) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let named = given(matches, "server").map(str::to_owned);
    let named = named.or_else(|| std::env::var("TIDEMARK_SERVER").ok());
    let server = named.as_deref().unwrap_or(HERE).trim_end_matches('/');
    let patience = Duration::from_secs(matches.get_one("wait").copied().unwrap_or_default());
    let (agent, began) = (agent(Some(PATIENCE), None)?, Instant::now());
    loop {
        match ask(&agent, server) {
            Ok(said) => return print(&said),
            Err(error) if began.elapsed() >= patience => return Err(error),
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

fn ask(agent: &Agent, server: &str) -> Result<String, CliError> {
    let unreachable = |error: ureq::Error| {
        CliError::new(Exit::Unreachable, format!("{server} does not answer: {error}"))
    };
    let mut answer = agent.get(format!("{server}/readyz")).call().map_err(unreachable)?;
    let said = answer.body_mut().read_to_string().map_err(unreachable)?;
    let said = format!("{}\n", said.trim_end());
    if answer.status().is_success() {
        return Ok(said);
    }
    let said = said.trim_end();
    Err(CliError::new(Exit::Unreachable, format!("{server} is not ready: {said}"))
        .hint("`tidemark doctor` on its machine says how to mend it"))
}
