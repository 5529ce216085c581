//! `tidemark doctor`: looks at everything that a server on this machine needs, and says how to mend what is
//! not well. It changes nothing, whether the server runs or not.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;
use serde::Serialize;
use tidemark_catalog::{Backing, Catalog};
use tidemark_cli::{Bootstrap, Exit};
use tidemark_model::{Clock, Condition};
use tidemark_vault::{Location, Vault};

use crate::config::Config;
use crate::folder;

/// Less free disk than this is too little for anything.
const LEAST_FREE_BYTES: u64 = 1 << 30;
/// Less than this part of it is little.
const LEAST_FREE_PART: u64 = 10;
/// No machine's clock is before this release: 2026-11-01.
const RELEASED_AT: i64 = 1_793_491_200;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
enum Verdict {
    /// As it should be.
    Well,
    /// It works, and should be looked at.
    Doubtful,
    /// It does not work.
    Ill,
}

/// Something that was looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    about: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

fn well(about: &'static str, found: impl Into<String>) -> Finding {
    Finding { about, verdict: Verdict::Well, found: found.into(), mend: None }
}

fn doubtful(about: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Finding {
    let mend = Some(mend.into());
    Finding { about, verdict: Verdict::Doubtful, found: found.into(), mend }
}

fn ill(about: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Ill, ..doubtful(about, found, mend) }
}

/// Looks at everything; the exit code tells whether something does not work.
pub(crate) fn run(config: &Config, matches: &ArgMatches) -> crate::Outcome {
    let findings = examine(config);
    if matches.get_flag("json") {
        let all = serde_json::json!({ "findings": findings });
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        findings.iter().for_each(print);
    }
    let is_ill = findings.iter().any(|finding| finding.verdict == Verdict::Ill);
    Ok(if is_ill { Exit::Differs.into() } else { ExitCode::SUCCESS })
}

fn print(finding: &Finding) {
    let mark = match finding.verdict {
        Verdict::Well => "ok  ",
        Verdict::Doubtful => "look",
        Verdict::Ill => "ILL ",
    };
    println!("{mark}  {:12} {}", finding.about, finding.found);
    if let Some(mend) = &finding.mend {
        println!("      {:12} {mend}", "");
    }
}

fn examine(config: &Config) -> Vec<Finding> {
    let is_running = folder::is_locked(&config.data_dir);
    let mut findings = vec![well(
        "server",
        if is_running { "it runs" } else { "it does not run; what only it can say is left out" },
    )];
    findings.extend(look_at_folder(&config.data_dir));
    findings.push(look_at_space("space", &config.data_dir));
    findings.push(look_at_clock());
    findings.push(look_at_key(config));
    findings.extend(look_at_vault(config));
    match config.find_catalog() {
        Ok(Some(catalog)) => findings.extend(look_at_catalog(&catalog)),
        Ok(None) => findings.push(doubtful(
            "catalog",
            "there is none yet",
            "the first `tidemark serve` makes it; if there was one, look at --data-dir and --catalog",
        )),
        Err(error) => findings.push(ill(
            "catalog",
            format!("it cannot be opened: {error}"),
            "mend the database, or `tidemark vault rebuild` makes the records anew from the vault",
        )),
    }
    findings.push(look_at_ports(config, is_running));
    findings
}

fn look_at_folder(folder: &Path) -> Vec<Finding> {
    let shown = folder.display();
    let Ok(metadata) = std::fs::metadata(folder) else {
        let mend = "start the server once, or look at --data-dir";
        return vec![doubtful("folder", format!("{shown} is not there"), mend)];
    };
    let mut findings = Vec::new();
    let probe = folder.join(format!(".doctor-{}", std::process::id()));
    match std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)) {
        Ok(()) => findings.push(well("folder", format!("{shown} can be written"))),
        Err(error) => findings.push(ill(
            "folder",
            format!("{shown} cannot be written: {error}"),
            format!("give it to the user of the server: chown -R USER {shown}"),
        )),
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        findings.push(doubtful(
            "rights",
            format!("{shown} is open to others (mode {mode:o})"),
            format!("chmod 700 {shown}"),
        ));
    }
    let secrets = Bootstrap::path(folder);
    if let Ok(found) = std::fs::metadata(&secrets)
        && found.mode() & 0o077 != 0
    {
        let shown = secrets.display();
        findings.push(ill(
            "rights",
            format!("{shown} holds credentials and is open to others"),
            format!("chmod 600 {shown}, and make new keys: others may have read it"),
        ));
    }
    findings
}

fn look_at_space(about: &'static str, folder: &Path) -> Finding {
    let Ok(disk) = rustix::fs::statvfs(folder) else {
        return well(about, "there is no folder to look at yet");
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let all = disk.f_blocks.saturating_mul(disk.f_frsize);
    let said = format!("{} MB of {} MB are free", free / 1_000_000, all / 1_000_000);
    let mend =
        "free some, or move the folder to a larger disk; see also the retention of snapshots";
    if free < LEAST_FREE_BYTES {
        ill(about, said, mend)
    } else if free < all / LEAST_FREE_PART {
        doubtful(about, said, mend)
    } else {
        well(about, said)
    }
}

fn look_at_clock() -> Finding {
    let now = Clock::system().now();
    if now.as_second() < RELEASED_AT {
        return ill("clock", format!("it says {now}"), "set it, and have it kept by NTP");
    }
    well("clock", format!("it says {}", tidemark_model::format_instant(now)))
}

fn look_at_key(config: &Config) -> Finding {
    let file = config.vault_key_file();
    match config.present_vault_key() {
        Err(error) => ill(
            "key",
            error.to_string(),
            "put the copy of the key back: without it no snapshot can be read",
        ),
        Ok(key) => match std::fs::metadata(&file) {
            Ok(found) if !is_private(&found) => ill(
                "key",
                format!("{} is open to others", file.display()),
                format!("chmod 600 {0}, then `tidemark keys rotate`", file.display()),
            ),
            _ => well("key", format!("key {} is there; keep a copy elsewhere", key.mark())),
        },
    }
}

/// Whether nobody else reads it. A Secret of Kubernetes belongs to root and is read by the group of the server alone.
fn is_private(found: &std::fs::Metadata) -> bool {
    let others = if found.uid() == 0 { 0o037 } else { 0o077 };
    found.mode() & others == 0
}

fn look_at_vault(config: &Config) -> Vec<Finding> {
    let mut findings = vec![look_at_one_vault(config)];
    for name in config.other_vaults() {
        findings.push(match config.for_vault(name) {
            Ok(config) => look_at_one_vault(&config),
            Err(error) => ill("vault", format!("{name}: {error}"), "mend its section [[vaults]]"),
        });
    }
    findings
}

fn look_at_one_vault(config: &Config) -> Finding {
    let location = match config.vault_location() {
        Ok(location) => location,
        Err(error) => return ill("vault", error.to_string(), "look at --vault"),
    };
    if matches!(&location, Location::Folder(folder) if !folder.exists()) {
        let mend = "the first `tidemark serve` makes it; if there was one, look at --vault";
        return doubtful("vault", format!("there is none in {location} yet"), mend);
    }
    let opened = config
        .present_vault_key()
        .map_err(|error| error.to_string())
        .and_then(|key| Vault::open_to_read(&location, key).map_err(|error| error.to_string()))
        .and_then(|vault| vault.snapshots().map_err(|error| error.to_string()));
    let is_beside =
        matches!(&location, Location::Folder(folder) if is_one_disk(folder, &config.data_dir));
    match opened {
        Err(error) => ill(
            "vault",
            format!("{location}: {error}"),
            "look at the place, its credentials and the key; `tidemark vault verify` says more",
        ),
        Ok(snapshots) if is_beside => doubtful(
            "vault",
            format!(
                "{location} has {} snapshots, on one disk with the databases: that disk takes both with it",
                snapshots.len()
            ),
            "keep it in a bucket (--vault s3://…), or copy it regularly: `tidemark vault copy --to PLACE`",
        ),
        Ok(snapshots) => well("vault", format!("{location} has {} snapshots", snapshots.len())),
    }
}

fn is_one_disk(a: &Path, b: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
    device(a).is_some() && device(a) == device(b)
}

fn look_at_catalog(catalog: &Catalog) -> Vec<Finding> {
    let unreadable = |error: tidemark_catalog::CatalogError| {
        vec![ill("catalog", error.to_string(), "the server's log and /readyz say more")]
    };
    let instances = match catalog.list_all_instances() {
        Ok(instances) => instances,
        Err(error) => return unreadable(error),
    };
    let mut findings = vec![well("catalog", format!("it has {} instances", instances.len()))];
    match catalog.list_quarantined() {
        Ok(rows) if rows.is_empty() => {}
        Ok(rows) => findings.push(ill(
            "catalog",
            format!("{} rows cannot be read", rows.len()),
            "GET /readyz names them; restore a copy of the catalog, or `tidemark vault rebuild`",
        )),
        Err(error) => return unreadable(error),
    }
    for instance in instances {
        let name = &instance.name;
        if let Some(trouble) = &instance.trouble {
            findings.push(ill(
                "instances",
                format!("{name} is not served: {trouble:?}"),
                format!("look at the log; if its data is gone: `tidemark instances rehost {name}`"),
            ));
        }
        if instance.backing != Backing::Attached {
            continue;
        }
        match catalog.find_deployment(instance.id) {
            Ok(Some(found)) => match found.condition {
                Condition::Reachable | Condition::Unknown => {}
                other => findings.push(doubtful(
                    "deployments",
                    format!(
                        "{name} is {}: {}",
                        other.as_str(),
                        other.reasons().replace('\n', "; ")
                    ),
                    format!(
                        "`tidemark deployments probe {name}` looks at it now and says what it needs"
                    ),
                )),
            },
            Ok(None) => {}
            Err(error) => return unreadable(error),
        }
    }
    findings
}

fn look_at_ports(config: &Config, is_running: bool) -> Finding {
    let listen = config.server.listen;
    if is_running {
        return match std::net::TcpStream::connect_timeout(
            &listen,
            std::time::Duration::from_secs(2),
        ) {
            Ok(_) => well("ports", format!("somebody answers at {listen}")),
            Err(error) => doubtful(
                "ports",
                format!("nobody answers at {listen}: {error}"),
                "give doctor the same --listen or --config as the server, or look at its log",
            ),
        };
    }
    if let Err(error) = TcpListener::bind(listen) {
        return ill(
            "ports",
            format!("{listen} cannot be used: {error}"),
            "end who uses it, or choose another with --listen",
        );
    }
    let (host, ports) =
        (config.instances.host, config.instances.first_port..=config.instances.last_port);
    let free = ports.clone().filter(|port| TcpListener::bind((host, *port)).is_ok()).count();
    let said = format!("{listen} is free, and {free} of {} ports for instances", ports.count());
    if free == 0 {
        return ill(
            "ports",
            said,
            "choose others with --instances-first-port and --instances-last-port",
        );
    }
    well("ports", said)
}
