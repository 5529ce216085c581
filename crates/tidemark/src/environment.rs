//! `tidemark env`: the lines that each client needs in its environment.

use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;

use crate::bootstrap::{self, Bootstrap};

/// Prints `export` lines for a shell.
pub(crate) fn run(matches: &ArgMatches) -> crate::Outcome {
    let text = |name: &str| matches.get_one::<String>(name).map_or("", String::as_str);
    let bootstrap = bootstrap::load(Path::new(text("data-dir")))?;
    for (name, value) in lines(&bootstrap, text("client")) {
        println!("export {name}='{value}'");
    }
    Ok(ExitCode::SUCCESS)
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
