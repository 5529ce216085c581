//! Which crate may use which: the table of `docs/architecture.md`, enforced.

use std::fs::DirEntry;
use std::path::PathBuf;

/// A crate, and the crates of the workspace that it may use outside of tests.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("wire", &[]),
    ("store", &[]),
    ("vault", &["model"]),
    ("catalog", &["model"]),
    ("docdb", &["model", "wire", "store"]),
    ("deployment", &["model", "wire"]),
    ("mover", &["model", "wire", "vault", "deployment"]),
    ("actions", &["model", "catalog"]),
    ("alerts", &["model"]),
    ("worker", &["model", "catalog", "actions", "mover", "vault", "deployment"]),
    ("atlas-api", &["model", "catalog", "actions"]),
    ("console", &["model", "catalog", "actions"]),
    ("cli", &["model", "atlas-api"]),
    ("testkit", &["model", "wire", "vault", "catalog", "docdb", "mover", "deployment"]),
    (
        "tidemark",
        &[
            "model",
            "wire",
            "vault",
            "catalog",
            "docdb",
            "deployment",
            "mover",
            "actions",
            "alerts",
            "worker",
            "atlas-api",
            "cli",
            "console",
        ],
    ),
];

/// Compares every manifest with the table.
pub(crate) fn check() -> Result<(), String> {
    let mut errors = Vec::new();
    for (name, folder) in crates()? {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml"))
            .map_err(|error| format!("the manifest of {name} cannot be read: {error}"))?;
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
            errors.push(format!("{name} has no place in the table of layers"));
            continue;
        };
        for used in uses(&manifest) {
            if !allowed.contains(&used.as_str()) {
                errors.push(format!("{name} must not use {used}"));
            }
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
}

/// The names and folders of all crates.
pub(crate) fn crates() -> Result<Vec<(String, PathBuf)>, String> {
    let folders =
        std::fs::read_dir("crates").map_err(|error| format!("crates cannot be listed: {error}"))?;
    let named =
        |folder: DirEntry| (folder.file_name().to_string_lossy().into_owned(), folder.path());
    Ok(folders.flatten().map(named).collect())
}

/// The crates of the workspace under `[dependencies]`.
fn uses(manifest: &str) -> Vec<String> {
    let section = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    section
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| {
            Some(line.strip_prefix("tidemark-")?.split(['.', ' ', '=']).next()?.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_and_those_of_tests_are_not() {
        let manifest = "[dependencies]\ntidemark-model.workspace = true\nbson.workspace = true\n\n[dev-dependencies]\ntidemark-vault.workspace = true\n";
        assert_eq!(uses(manifest), ["model"]);
    }
}
