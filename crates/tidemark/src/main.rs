//! Backup and restore for MongoDB behind the Atlas Administration API.
//!
//! The binary: configuration, wiring, commands, instance hosting, download serving.

mod alerting;
mod attached;
mod audit_log;
mod bootstrap;
mod catalog_command;
mod config;
mod console_route;
mod dev;
mod doctor;
mod downloads;
mod engine;
mod environment;
mod folder;
mod hosting;
mod inspection;
mod keys;
mod listening;
mod metrics;
mod node;
mod one_user;
mod rehearsal;
mod rotation;
mod scratch;
mod seed;
mod serve;
mod service_manager;
mod sharing_out;
mod tls;
mod traces;
mod uploads;
mod users;
mod vault_command;
mod vault_look;

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use tidemark_vault::CopyOptions;

use crate::config::{Config, KEYS};
use crate::serve::Mode;

/// Gives memory back after a load; the system's allocator keeps what each thread once used.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let matches = command().get_matches();
    if let Some((name, matches)) = matches.subcommand()
        && let Some(outcome) = tidemark_cli::run(command, name, matches)
    {
        return match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                error.tell();
                error.exit().into()
            }
        };
    }
    let outcome = match matches.subcommand() {
        Some(("serve", matches)) => run_serve(matches),
        Some(("env", matches)) => environment::run(matches),
        Some(("keys", matches)) => run_keys(matches),
        Some(("catalog", matches)) => match matches.subcommand() {
            Some(("move", matches)) => catalog_command::move_records(matches),
            _ => Ok(ExitCode::FAILURE),
        },
        Some(("vault", matches)) => run_vault(matches),
        Some(("doctor", matches)) => load_config(matches)
            .map_err(Into::into)
            .and_then(|config| doctor::run(&config, matches)),
        Some(("engine", matches)) => engine::run(matches),
        _ => Ok(ExitCode::FAILURE),
    };
    outcome.unwrap_or_else(|error| {
        let mut said = error.to_string();
        eprintln!("tidemark: {said}");
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Some messages end with their cause.
            if !said.contains(&text) {
                eprintln!("  because: {text}");
                said.push_str(&text);
            }
            source = cause.source();
        }
        ExitCode::FAILURE
    })
}

fn command() -> Command {
    let dev = Arg::new("dev")
        .long("dev")
        .action(ArgAction::SetTrue)
        .help("Let organization owners move the clock and reset the server");
    let ours = Command::new("tidemark")
        .about("Backup and restore for MongoDB behind the Atlas Administration API")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_keys(Command::new("serve").about("Run the server").arg(dev)))
        .subcommand(env_command())
        .subcommand(keys_command())
        .subcommand(catalog_commands())
        .subcommand(vault_commands())
        .subcommand(with_keys(doctor_command()))
        .subcommand(engine::command());
    tidemark_cli::commands(ours)
}

/// A command with every key of the configuration.
fn with_keys(command: Command) -> Command {
    let config =
        Arg::new("config").long("config").value_name("FILE").help("A TOML file with the same keys");
    KEYS.iter().fold(command.arg(config), |command, key| {
        command.arg(Arg::new(key.flag).long(key.flag).value_name("VALUE").help(key.help))
    })
}

/// The folder of a server, for commands that need nothing else of its configuration.
fn data_dir() -> Arg {
    Arg::new("data-dir")
        .long("data-dir")
        .required(true)
        .value_name("DIR")
        .help("The server's data folder")
}

/// Where the records of a server are, if they are not in its folder.
fn catalog() -> Arg {
    Arg::new("catalog")
        .long("catalog")
        .value_name("URL")
        .help("Where its records are, if not there [TIDEMARK_CATALOG]")
}

fn env_command() -> Command {
    let client = Arg::new("client")
        .long("client")
        .required(true)
        .value_parser(["curl", "atlas", "terraform", "sdk"])
        .help("The client");
    Command::new("env")
        .about("Print the environment lines that a client needs")
        .arg(data_dir())
        .arg(catalog())
        .arg(client)
}

fn keys_command() -> Command {
    let role = Arg::new("role")
        .long("role")
        .required(true)
        .value_name("ROLE")
        .help("Its role in the organization, as ORG_OWNER");
    let org = Arg::new("org").long("org").value_name("ID").help("The organization [the first one]");
    let create = Command::new("create")
        .about("Make an API key of the organization in the data folder, and print it")
        .arg(data_dir())
        .arg(catalog())
        .arg(role)
        .arg(org);
    let prepare = Arg::new("prepare")
        .long("prepare")
        .action(ArgAction::SetTrue)
        .help("Only let it be known: copy the key file to all nodes before one of them uses it");
    let rotate = Command::new("rotate").about("Give the vault a new key").arg(prepare);
    let retire = Command::new("retire")
        .about("Remove the vault's older keys, once nothing needs them any more");
    Command::new("keys")
        .about("Look after API keys and the vault's key, on the machine itself")
        .subcommand_required(true)
        .subcommand(create)
        .subcommand(with_vault(rotate))
        .subcommand(with_vault(retire))
}

fn doctor_command() -> Command {
    let json =
        Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON document");
    Command::new("doctor")
        .about("Look at everything that a server on this machine needs, and say how to mend it")
        .arg(json)
}

fn catalog_commands() -> Command {
    let place = |name: &'static str, help| {
        Arg::new(name).long(name).required(true).value_name("PLACE").help(help)
    };
    let moving = Command::new("move")
        .about("Copy all records to another database, and compare them; no server may use either")
        .arg(place("from", "A file, sqlite:FILE, or postgres://USER@HOST/DATABASE"))
        .arg(place("to", "The same; it must be empty"));
    Command::new("catalog")
        .about("Look after the records")
        .subcommand_required(true)
        .subcommand(moving)
}

fn vault_commands() -> Command {
    let verify = Command::new("verify").about("Read everything back and name what is damaged");
    let rebuild = Command::new("rebuild")
        .about("Make the catalog's records of backups anew from the vault alone");
    let copy = Command::new("copy")
        .about("Copy the vault to a second place, whether a server runs or not")
        .arg(
            Arg::new("to")
                .long("to")
                .required(true)
                .value_name("PLACE")
                .help("A folder, s3://BUCKET/PREFIX, gs:// or az://"),
        )
        .arg(
            Arg::new("verify-after-copy")
                .long("verify-after-copy")
                .action(ArgAction::SetTrue)
                .help("Read back what was copied, and compare it"),
        )
        .arg(
            Arg::new("remove-gone")
                .long("remove-gone")
                .action(ArgAction::SetTrue)
                .help("Remove from the second place what the vault does not have any more"),
        );
    Command::new("vault")
        .about("Look after the vault: `show` asks a server, the others work on the machine itself")
        .subcommand_required(true)
        .subcommand(with_vault(copy))
        .subcommand(with_vault(verify))
        .subcommand(with_vault(rebuild))
}

/// A command about one vault, with every key of the configuration.
fn with_vault(command: Command) -> Command {
    let name = Arg::new("vault-name")
        .long("vault-name")
        .value_name("NAME")
        .help("A vault of the sections [[vaults]] instead of the common one");
    with_keys(command.arg(name))
}

/// The configuration, with the vault that was chosen.
fn load_vault_config(matches: &ArgMatches) -> Result<Config, config::ConfigError> {
    let config = load_config(matches)?;
    let Some(name) = matches.get_one::<String>("vault-name") else { return Ok(config) };
    let other = KEYS.iter().find(|key| {
        key.path.starts_with("vault.") && matches.get_one::<String>(key.flag).is_some()
    });
    match other {
        Some(key) => Err(config::ConfigError::Invalid(format!(
            "--vault-name takes all of its section [[vaults]]; --{} says something else",
            key.flag
        ))),
        None => config.for_vault(name),
    }
}

fn load_config(matches: &ArgMatches) -> Result<Config, config::ConfigError> {
    let file = matches.get_one::<String>("config").map(std::path::Path::new);
    // Variables that are not Unicode are not ours.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let flag = |name: &str| matches.get_one::<String>(name).cloned();
    Config::load(file, environment, flag)
}

fn run_serve(matches: &ArgMatches) -> Outcome {
    let mode = if matches.get_flag("dev") { Mode::Development } else { Mode::Production };
    serve::run(&load_config(matches)?, mode)?;
    Ok(ExitCode::SUCCESS)
}

fn run_keys(matches: &ArgMatches) -> Outcome {
    match matches.subcommand() {
        Some(("create", matches)) => keys::create(matches),
        Some(("rotate", matches)) => {
            rotation::rotate(&load_vault_config(matches)?, matches.get_flag("prepare"))
        }
        Some(("retire", matches)) => rotation::retire(&load_vault_config(matches)?),
        _ => Ok(ExitCode::FAILURE),
    }
}

fn run_vault(matches: &ArgMatches) -> Outcome {
    match matches.subcommand() {
        Some(("verify", matches)) => vault_command::verify(&load_vault_config(matches)?),
        Some(("copy", matches)) => {
            let options = CopyOptions {
                verify: matches.get_flag("verify-after-copy"),
                remove_gone: matches.get_flag("remove-gone"),
            };
            let to = matches.get_one::<String>("to").map_or("", String::as_str);
            vault_command::copy(&load_vault_config(matches)?, to, options)
        }
        Some(("rebuild", matches)) => vault_command::rebuild(&load_vault_config(matches)?),
        _ => Ok(ExitCode::FAILURE),
    }
}
