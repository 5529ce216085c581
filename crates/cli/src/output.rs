//! Where things are said: data on the standard output, everything else on the standard error.

use std::io::{IsTerminal, Write};

use clap::ArgMatches;
use console::Style;
use serde::Serialize;

use crate::error::CliError;
use crate::table::Table;

/// How a command speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Output {
    /// Whether data is printed as one JSON document.
    pub(crate) is_json: bool,
    /// Whether nothing is said but data and errors.
    pub(crate) is_quiet: bool,
}

impl Output {
    pub(crate) fn new(matches: &ArgMatches) -> Self {
        Self { is_json: matches.get_flag("json"), is_quiet: matches.get_flag("quiet") }
    }

    /// Prints data: as JSON, or as `people` writes it.
    pub(crate) fn data<T: Serialize>(
        self,
        data: &T,
        people: impl FnOnce(&T) -> String,
    ) -> Result<(), CliError> {
        let text =
            if self.is_json { serde_json::to_string_pretty(data)? + "\n" } else { people(data) };
        print(&text)
    }

    /// Prints a list: as JSON, or as a table, or what to do where it is empty.
    pub(crate) fn list<T: Serialize>(
        self,
        data: &T,
        (table, is_empty, otherwise): (Table, bool, &str),
    ) -> Result<(), CliError> {
        if is_empty && !self.is_json {
            self.say(otherwise);
            return Ok(());
        }
        self.data(data, |_| table.render())
    }

    /// Says what is no data.
    pub(crate) fn say(self, text: &str) {
        if !self.is_quiet {
            eprintln!("{text}");
        }
    }

    /// Whether somebody watches what is said.
    pub(crate) fn is_watched(self) -> bool {
        !self.is_quiet && std::io::stderr().is_terminal()
    }
}

/// Prints to the standard output.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has enough, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// A state in its colour, where the terminal has some and `NO_COLOR` is not set.
pub(crate) fn state(word: &str) -> String {
    let word = word.to_lowercase();
    let style = match word.as_str() {
        "completed" | "idle" | "attached" | "proven" | "whole" => Style::new().green(),
        "failed" | "repairing" | "unreachable" | "damaged" => Style::new().red(),
        "queued" | "running" | "inProgress" | "creating" | "updating" => Style::new().cyan(),
        _ => Style::new().dim(),
    };
    style.apply_to(word).to_string()
}
