//! `tidemark engine`: the embedded engine on its own, without anything of Tidemark around it.
//!
//! For tests of deployments, and for whoever wants a database that the dump tools and drivers know.
//! It has one user, and behaves on demand as if it lacked some abilities.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Arg, ArgMatches, Command};
use tidemark_docdb::{Server, ServerConfig, ServerTls, Withheld};
use tidemark_model::{Clock, Secret};
use tokio::signal::unix::{SignalKind, signal};

use crate::folder;
use crate::one_user::{FewUsers, OneUser};
use crate::tls::{CertificateFiles, Certificates};

/// The variable that holds the user's password.
const PASSWORD: &str = "TIDEMARK_ENGINE_PASSWORD";

/// The command with its flags.
pub(crate) fn command() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("engine")
        .about("Run the embedded engine on its own")
        .arg(text("folder", "DIR", "Where its data is").required(true))
        .arg(
            text("listen", "ADDRESS", "Where it listens [127.0.0.1:27017]")
                .value_parser(clap::value_parser!(SocketAddr)),
        )
        .arg(text(
            "user",
            "NAME",
            "Its only user, who may do everything; the password is in $TIDEMARK_ENGINE_PASSWORD",
        ).required(true))
        .arg(text("tls-certificate-key-file", "FILE", "Its certificate and key, as PEM: it speaks TLS"))
        .arg(
            text("tls-ca-file", "FILE", "Who must have signed the certificates of clients")
                .requires("tls-certificate-key-file"),
        )
        .arg(
            text("without", "NAMES", "Abilities and commands that it behaves as if it lacked")
                .value_parser(|text: &str| text.parse::<Withheld>()),
        )
}

/// Runs it until it is told to stop.
pub(crate) fn run(matches: &ArgMatches) -> crate::Outcome {
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let password = std::env::var(PASSWORD)
        .map_err(|_| format!("set {PASSWORD} to the password of the user {}", text("user")))?;
    let password = Secret::new(password);
    let folder = PathBuf::from(text("folder"));
    let _lock = folder::lock(&folder)?;
    let default = SocketAddr::from(([127, 0, 0, 1], 27_017));
    let listen = matches.get_one::<SocketAddr>("listen").copied().unwrap_or(default);
    let key_file = matches.get_one::<String>("tls-certificate-key-file").map(PathBuf::from);
    let ca_file = matches.get_one::<String>("tls-ca-file").map(PathBuf::from);
    let tls = key_file
        .map(|certificate_key| {
            Certificates::load(CertificateFiles { certificate_key, client_ca: ca_file })
        })
        .transpose()?;
    let kind = if tls.is_some() { ", with TLS" } else { "" };
    let mut server = Server::start(ServerConfig {
        folder: folder.join("data"),
        listen,
        advertised_host: listen.ip().to_string(),
        advertised_port: None,
        users: Arc::new(FewUsers(vec![OneUser::new(text("user"), &password, "root")])),
        clock: Clock::system(),
        withheld: matches.get_one::<Withheld>("without").cloned().unwrap_or_default(),
        tls: tls.map(|tls| tls as Arc<dyn ServerTls>),
    })?;
    eprintln!("tidemark: the engine listens at {}{kind}", server.address());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            interrupted = tokio::signal::ctrl_c() => interrupted,
        }
    })?;
    server.stop();
    Ok(ExitCode::SUCCESS)
}
