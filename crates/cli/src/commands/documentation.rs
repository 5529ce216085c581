//! `tidemark schema`, `completions` and `man`: the command line about itself.

use clap::{Arg, ArgMatches, Command};
use clap_complete::Shell;

use crate::command::{given, positional, text};
use crate::error::CliError;
use crate::output::print;
use crate::schemas::{SCHEMAS, schema_of};

pub(crate) fn schema_command() -> Command {
    Command::new("schema").about("Print the JSON Schema of what a command prints with --json").arg(
        Arg::new("command")
            .value_name("COMMAND")
            .num_args(0..)
            .help("The command, as `restores list`; without one all are listed"),
    )
}

pub(crate) fn completions_command() -> Command {
    Command::new("completions").about("Print what a shell completes commands with").arg(
        positional("shell", "SHELL", "bash, zsh, fish, powershell or elvish")
            .value_parser(clap::value_parser!(Shell)),
    )
}

pub(crate) fn man_command() -> Command {
    Command::new("man").about("Write manual pages").arg(text(
        "dir",
        "DIR",
        "The folder [the current one]",
    ))
}

pub(crate) fn print_schema(matches: &ArgMatches) -> Result<(), CliError> {
    let words = matches.get_many::<String>("command").into_iter().flatten();
    let command = words.map(String::as_str).collect::<Vec<_>>().join(" ");
    if command.is_empty() {
        let names: Vec<&str> = SCHEMAS.iter().map(|(name, _)| *name).collect();
        return print(&(names.join("\n") + "\n"));
    }
    let schema = schema_of(&command).ok_or_else(|| {
        CliError::usage(format!("`{command}` prints no JSON of its own"))
            .hint("`tidemark schema` lists the commands that do")
    })?;
    print(&(serde_json::to_string_pretty(&schema)? + "\n"))
}

pub(crate) fn print_completions(mut root: Command, matches: &ArgMatches) -> Result<(), CliError> {
    let Some(shell) = matches.get_one::<Shell>("shell").copied() else { return Ok(()) };
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut root, "tidemark", &mut out);
    print(&String::from_utf8_lossy(&out))
}

pub(crate) fn write_man(root: Command, matches: &ArgMatches) -> Result<(), CliError> {
    let folder = given(matches, "dir").unwrap_or(".");
    let told = |error: std::io::Error| {
        CliError::failed(format!("the pages cannot be written to {folder}: {error}"))
    };
    std::fs::create_dir_all(folder).map_err(told)?;
    clap_mangen::generate_to(root, folder).map_err(told)
}
