//! What commands have in common: how they say which server, and how they speak.

use clap::{Arg, ArgAction, ArgMatches, Command};

/// A text that may be given.
pub(crate) fn text(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

/// Something that is on or off.
pub(crate) fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

/// What stands at its place and must be there.
pub(crate) fn positional(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).value_name(value).required(true).help(help)
}

/// The instance that a command is about.
pub(crate) fn instance() -> Arg {
    positional("instance", "INSTANCE", "Whose backups they are")
}

/// `--yes`.
pub(crate) fn yes() -> Arg {
    flag("yes", "Do not ask").short('y')
}

/// Namespaces that are meant.
pub(crate) fn namespaces() -> Arg {
    text("namespace", "FROM[=TO]", "Only this, `db.collection` or `db.*`; may be given again")
        .alias("ns")
        .action(ArgAction::Append)
}

/// A command of which one subcommand must be given.
pub(crate) fn group(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about).subcommand_required(true).arg_required_else_help(true)
}

/// How a command speaks.
pub(crate) fn with_output(command: Command) -> Command {
    command
        .arg(
            flag("json", "Print one JSON document; `tidemark schema` describes it")
                .help_heading("Output"),
        )
        .arg(flag("quiet", "Say nothing but data and errors").short('q').help_heading("Output"))
}

/// A command with what it needs to find a server.
pub(crate) fn with_server(command: Command) -> Command {
    let arguments = [
        text("profile", "NAME", "A profile of `tidemark login` [$TIDEMARK_PROFILE]"),
        text("server", "URL", "The server's address [$TIDEMARK_SERVER]"),
        text("public-key", "KEY", "The public part of an API key [$TIDEMARK_PUBLIC_KEY]"),
        text("private-key", "KEY", "The private part of an API key [$TIDEMARK_PRIVATE_KEY]"),
        text("client-id", "ID", "A service account instead [$TIDEMARK_CLIENT_ID]"),
        text("client-secret", "SECRET", "The secret of that [$TIDEMARK_CLIENT_SECRET]"),
        text("data-dir", "DIR", "The data folder of a server on this machine, instead of all that"),
        text("project", "ID|NAME", "The project [the profile's, or the only one]"),
    ];
    let command = arguments
        .into_iter()
        .fold(command, |command, argument| command.arg(argument.help_heading("Server")));
    with_output(command)
}

/// The text of a flag.
pub(crate) fn given<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches.try_get_one::<String>(name).ok().flatten().map(String::as_str)
}
