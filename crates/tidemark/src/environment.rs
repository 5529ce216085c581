//! `tidemark env`: the lines that each client needs in its environment.
//!
//! They are printed when they work: the server answers, and knows the credentials.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ArgMatches;
use tidemark_catalog::Catalog;
use tidemark_cli::Bootstrap;
use tidemark_model::Clock;

use crate::bootstrap;
use crate::config::find_catalog;
use crate::folder;

/// How long a server that was just started may take to have its data folder.
const STARTING: Duration = Duration::from_secs(10);
/// How long a server that has its data folder may take until it answers.
const ANSWERING: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(50);

/// Prints `export` lines for a shell.
pub(crate) fn run(matches: &ArgMatches) -> crate::Outcome {
    let text = |name: &str| matches.get_one::<String>(name).map_or("", String::as_str);
    let data_dir = Path::new(text("data-dir"));
    let bootstrap = wait_for_server(data_dir)?;
    if let Some(catalog) = find_catalog(matches)? {
        check_credentials(&catalog, (data_dir, &bootstrap), text("client"))?;
    }
    for (name, value) in lines(&bootstrap, text("client")) {
        println!("export {name}='{value}'");
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits for the server of a data folder, which may have been started a moment ago.
fn wait_for_server(data_dir: &Path) -> Result<Bootstrap, Box<dyn std::error::Error>> {
    let begun = Instant::now();
    loop {
        let is_running = folder::is_locked(data_dir);
        let answers = |bootstrap: &Bootstrap| is_running && answers(&bootstrap.base_url);
        let loaded = Bootstrap::load(data_dir);
        if let Ok(bootstrap) = &loaded
            && answers(bootstrap)
        {
            return Ok(loaded?);
        }
        let patience = if is_running { ANSWERING } else { STARTING };
        if begun.elapsed() < patience {
            std::thread::sleep(POLL);
            continue;
        }
        return Err(match (is_running, loaded) {
            (false, _) => format!(
                "no server runs on the data folder {0}; start it with `tidemark serve --data-dir {0}`",
                data_dir.display()
            )
            .into(),
            (true, Err(error)) => error.into(),
            (true, Ok(bootstrap)) => format!(
                "the server on {} does not answer at {}; look at its log",
                data_dir.display(),
                bootstrap.base_url
            )
            .into(),
        });
    }
}

/// Whether an HTTP server answers at an address. One behind TLS is taken to answer: a proxy does.
fn answers(base_url: &str) -> bool {
    let Some(host) = base_url.strip_prefix("http://") else { return true };
    let host = host.trim_end_matches('/');
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let ask = || -> std::io::Result<bool> {
        let address = address.to_socket_addrs()?.next();
        let address = address.ok_or_else(|| std::io::Error::other("it has no address"))?;
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(&head == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

/// Refuses to print credentials that do not work any more.
fn check_credentials(
    catalog: &Catalog,
    (data_dir, bootstrap): (&Path, &Bootstrap),
    client: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let working = bootstrap::check(bootstrap, catalog, Clock::system().now())?;
    let needs_account = client == "sdk";
    let needs_key = !needs_account;
    if needs_key && !working.key {
        return Err(format!(
            "the API key {} of bootstrap.json does not work any more; make another one with `tidemark keys create --data-dir {} --role ORG_OWNER`",
            bootstrap.public_key,
            data_dir.display()
        )
        .into());
    }
    if needs_account && !working.account {
        return Err(format!(
            "the secret of the service account {} of bootstrap.json does not work any more; make another one at /orgs/{}/serviceAccounts/{}/secrets",
            bootstrap.client_id, bootstrap.org_id, bootstrap.client_id
        )
        .into());
    }
    if client == "curl" && !working.account {
        eprintln!("tidemark: CLIENT_ID and CLIENT_SECRET do not work any more; the API key does");
    }
    Ok(())
}

fn lines<'a>(bootstrap: &'a Bootstrap, client: &str) -> Vec<(&'static str, &'a str)> {
    let b = bootstrap;
    match client {
        "curl" => vec![
            ("BASE_URL", b.base_url.as_str()),
            ("ORG_ID", b.org_id.as_str()),
            ("GROUP_ID", b.group_id.as_str()),
            ("PUBLIC_KEY", b.public_key.as_str()),
            ("PRIVATE_KEY", b.private_key.as_str()),
            ("CLIENT_ID", b.client_id.as_str()),
            ("CLIENT_SECRET", b.client_secret.as_str()),
        ],
        "atlas" => vec![
            ("MONGODB_ATLAS_OPS_MANAGER_URL", b.base_url.as_str()),
            ("MONGODB_ATLAS_ORG_ID", b.org_id.as_str()),
            ("MONGODB_ATLAS_PROJECT_ID", b.group_id.as_str()),
            ("MONGODB_ATLAS_PUBLIC_API_KEY", b.public_key.as_str()),
            ("MONGODB_ATLAS_PRIVATE_API_KEY", b.private_key.as_str()),
            ("MONGODB_ATLAS_SKIP_UPDATE_CHECK", "yes"),
            ("MONGODB_ATLAS_TELEMETRY_ENABLED", "false"),
        ],
        "terraform" => vec![
            ("MONGODB_ATLAS_BASE_URL", b.base_url.as_str()),
            ("MONGODB_ATLAS_PUBLIC_API_KEY", b.public_key.as_str()),
            ("MONGODB_ATLAS_PRIVATE_API_KEY", b.private_key.as_str()),
        ],
        _ => vec![
            ("MONGODB_ATLAS_BASE_URL", b.base_url.as_str()),
            ("MONGODB_ATLAS_CLIENT_ID", b.client_id.as_str()),
            ("MONGODB_ATLAS_CLIENT_SECRET", b.client_secret.as_str()),
        ],
    }
}
