//! Questions before something is destroyed, and for secrets.

use std::io::{BufRead, IsTerminal, Write};

use clap::ArgMatches;
use tidemark_model::Secret;

use crate::error::{CliError, Exit};

/// Goes on if `--yes` was given or somebody at the terminal types `yes`.
pub(crate) fn confirm(matches: &ArgMatches, question: &str) -> Result<(), CliError> {
    if matches.get_flag("yes") {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(CliError::new(Exit::Declined, "nothing was done: nobody is here to say yes")
            .hint("look at the plan above, and give --yes"));
    }
    let answer = ask(&format!("{question} Type yes to go on: "))?;
    if answer.eq_ignore_ascii_case("yes") {
        Ok(())
    } else {
        Err(CliError::new(Exit::Declined, "nothing was done"))
    }
}

/// A line from who sits at the terminal.
pub(crate) fn ask(question: &str) -> Result<String, CliError> {
    eprint!("{question}");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// A secret: not shown while it is typed; a line of the standard input where that is no terminal.
pub(crate) fn ask_secret(question: &str) -> Result<Secret, CliError> {
    if !std::io::stdin().is_terminal() {
        return ask("").map(Secret::new);
    }
    let typed = rpassword::prompt_password(question);
    typed.map(|text| Secret::new(text.trim().to_owned())).map_err(CliError::from)
}
