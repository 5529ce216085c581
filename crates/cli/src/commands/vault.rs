//! `tidemark vault show`: where a project's backups are, and whether all of it is whole, through the server.
//! What `vault` does beside that is done on the server's machine.

use clap::{ArgMatches, Command};

use crate::answers::{Vault, Vaults};
use crate::command::with_server;
use crate::error::{CliError, Exit};
use crate::output::state;
use crate::session::Session;
use crate::table::{Table, bytes, count};
use crate::when::local;

/// The verb that asks a server.
pub(crate) fn add_verbs(vault: Command) -> Command {
    let show = Command::new("show")
        .about("Show where the project's backups are, and whether all of it is whole");
    vault.subcommand(with_server(show))
}

/// Runs it; nothing if it is another one.
pub(crate) fn run(matches: &ArgMatches) -> Option<Result<(), CliError>> {
    match matches.subcommand()? {
        ("show", matches) => Some(Session::new(matches).and_then(|session| show(&session))),
        _ => None,
    }
}

fn show(session: &Session<'_>) -> Result<(), CliError> {
    let vaults: Vaults = session.get("/vaults")?;
    let mut table = Table::new(&["VAULT", "STATE", "STORED", "PACKS", "READ BACK", "INSTANCES"]);
    for vault in &vaults.results {
        table.row([
            vault.name.clone().unwrap_or_else(|| "(common)".to_owned()),
            state(&vault.state),
            vault.stored_bytes.map(bytes).unwrap_or_default(),
            vault.packs.map(count).unwrap_or_default(),
            read_back(vault, session),
            count(vault.instances),
        ]);
    }
    session.output.list(&vaults, (table, vaults.results.is_empty(), "there is no vault"))?;
    let wrong: Vec<String> = vaults.results.iter().filter_map(what_is_wrong).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(CliError::new(Exit::Differs, wrong.join("; ")).hint(
        "`tidemark vault verify` on the server's machine reads everything and names what is damaged; a new snapshot stores what is missing if the data is still there",
    ))
}

/// Since when everything was read back at least once.
fn read_back(vault: &Vault, session: &Session<'_>) -> String {
    let unread = vault.packs_unread.unwrap_or_default();
    match (&vault.read_since, unread) {
        (Some(since), 0) => format!("all since {}", local(since, &session.now)),
        (Some(_), unread) => format!("all but {}", count(unread)),
        (None, 0) => String::new(),
        (None, _) => "not yet".to_owned(),
    }
}

/// What is wrong with a vault, if something is.
fn what_is_wrong(vault: &Vault) -> Option<String> {
    let name = vault
        .name
        .as_ref()
        .map_or_else(|| "the common vault".to_owned(), |name| format!("the vault {name}"));
    if let Some(reason) = &vault.reason {
        return Some(format!("{name} cannot be looked at: {reason}"));
    }
    if vault.state == "WHOLE" {
        return None;
    }
    let mut parts = Vec::new();
    let of = |number: Option<u64>, what: &str| {
        number.filter(|n| *n > 0).map(|n| format!("{} {what}", count(n)))
    };
    parts.extend(of(vault.unreadable_packs, "packs cannot be read"));
    for damaged in &vault.damaged_snapshots {
        let chunks = count(damaged.missing_chunks);
        parts.push(format!("snapshot {} lacks {chunks} chunks", damaged.id));
    }
    parts.extend(of(vault.damaged_elsewhere, "snapshots of other projects lack chunks"));
    Some(format!("{name} is damaged: {}", parts.join(", ")))
}
