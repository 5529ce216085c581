//! The nouns, and what each can do; one file each.

pub(crate) mod accounts;
pub(crate) mod alerts;
pub(crate) mod deployments;
pub(crate) mod documentation;
pub(crate) mod drills;
pub(crate) mod exports;
pub(crate) mod inspection;
pub(crate) mod instances;
pub(crate) mod keys;
pub(crate) mod login;
pub(crate) mod one_snapshot;
pub(crate) mod opening;
pub(crate) mod points;
pub(crate) mod projects;
pub(crate) mod ready;
pub(crate) mod restores;
pub(crate) mod schedule;
pub(crate) mod snapshots;
pub(crate) mod users;
pub(crate) mod vault;

use clap::{ArgMatches, Command};

use crate::error::CliError;

/// The commands that ask a server. The verbs of `keys` and `vault` are added to what the machine itself
/// can do.
pub fn commands(mut root: Command) -> Command {
    let ours = [
        login::command(),
        login::logout_command(),
        login::profiles_command(),
        ready::command(),
        projects::command(),
        instances::command(),
        deployments::command(),
        snapshots::command(),
        restores::command(),
        schedule::command(),
        alerts::command(),
        drills::command(),
        users::command(),
        accounts::command(),
        documentation::schema_command(),
        documentation::completions_command(),
        documentation::man_command(),
    ];
    for command in ours {
        root = root.subcommand(command);
    }
    if root.find_subcommand("keys").is_some() {
        root = root.mut_subcommand("keys", keys::add_verbs);
    }
    if root.find_subcommand("vault").is_some() {
        root = root.mut_subcommand("vault", vault::add_verbs);
    }
    root
}

/// Runs a command, if it is one of these; `root` is the whole command line.
pub fn run(
    root: impl Fn() -> Command,
    name: &str,
    matches: &ArgMatches,
) -> Option<Result<(), CliError>> {
    Some(match name {
        "login" => login::login(matches),
        "logout" => login::logout(matches),
        "profiles" => login::profiles(matches),
        "ready" => ready::run(matches),
        "projects" => projects::run(matches),
        "instances" => instances::run(matches),
        "deployments" => deployments::run(matches),
        "snapshots" => snapshots::run(matches),
        "restores" => restores::run(matches),
        "schedule" => schedule::run(matches),
        "alerts" => alerts::run(matches),
        "drill" => drills::run(matches),
        "users" => users::run(matches),
        "accounts" => accounts::run(matches),
        "keys" => return keys::run(matches),
        "vault" => return vault::run(matches),
        "schema" => documentation::print_schema(matches),
        "completions" => documentation::print_completions(root(), matches),
        "man" => documentation::write_man(root(), matches),
        _ => return None,
    })
}
