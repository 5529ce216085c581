//! The first start: an organization, a project, an API key, a service account.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tidemark_atlas_api::{account_of, ha1, hash_secret};
use tidemark_catalog::{Catalog, CatalogError};
use tidemark_cli::Bootstrap;
use tidemark_model::Clock;

use crate::seed::{Planted, Seed, SeedError};

/// The catalog's file in the data folder.
pub(crate) const CATALOG: &str = "catalog.sqlite";

/// Why the first start failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootstrapError {
    #[error("{path} cannot be written or read: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{path} is not what a first start writes: {source}")]
    Malformed { path: PathBuf, source: serde_json::Error },
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("the seed cannot be used: {0}")]
    Seed(#[from] SeedError),
}

fn of_planted(base_url: &str, planted: &Planted) -> Bootstrap {
    let text = Option::unwrap_or_default;
    Bootstrap {
        base_url: base_url.to_owned(),
        org_id: planted.org_id.clone(),
        group_id: text(planted.group_id.clone()),
        public_key: text(planted.public_key.clone()),
        private_key: text(planted.private_key.clone()),
        client_id: text(planted.client_id.clone()),
        client_secret: text(planted.client_secret.clone()),
    }
}

/// Which credentials of a file of first credentials work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Working {
    pub(crate) key: bool,
    pub(crate) account: bool,
}

/// Asks the catalog which of the credentials work.
pub(crate) fn check(
    found: &Bootstrap,
    catalog: &Catalog,
    now: Timestamp,
) -> Result<Working, CatalogError> {
    let expected = ha1(&found.public_key, &found.private_key);
    let key = catalog.find_api_key(&found.public_key)?;
    let hash = hash_secret(&found.client_secret);
    let account = match account_of(&found.client_id) {
        Some(account) => catalog.has_account_secret(account, &hash, now)?,
        None => false,
    };
    Ok(Working { key: key.is_some_and(|key| key.ha1 == expected), account })
}

/// Puts a new key into the file of first credentials, if the one in it does not work any more.
pub(crate) fn replace_dead_key(
    catalog: &Catalog,
    data_dir: &Path,
    (public_key, private_key): (&str, &str),
) -> Result<(), BootstrapError> {
    // Whoever removed the file has put the secrets elsewhere.
    let Ok(bootstrap) = Bootstrap::load(data_dir) else { return Ok(()) };
    if check(&bootstrap, catalog, Clock::system().now())?.key {
        return Ok(());
    }
    let (public_key, private_key) = (public_key.to_owned(), private_key.to_owned());
    write(data_dir, &Bootstrap { public_key, private_key, ..bootstrap })
}

/// Sets an empty server up; later only keeps the address in the file true.
pub(crate) fn run(
    catalog: &Catalog,
    clock: &Clock,
    (data_dir, base_url): (&Path, &str),
    seed: &Seed,
) -> Result<(), BootstrapError> {
    if catalog.find_first_org()?.is_some() {
        return match Bootstrap::load(data_dir) {
            Ok(bootstrap) if bootstrap.base_url != base_url => {
                write(data_dir, &Bootstrap { base_url: base_url.to_owned(), ..bootstrap })
            }
            // Whoever removed the file has put the secrets elsewhere.
            _ => Ok(()),
        };
    }
    let now = clock.now();
    let (records, planted) = seed.grow(now)?;
    // The file comes first: the organization, which marks the end, comes last.
    write(data_dir, &of_planted(base_url, &planted))?;
    if !records.store_first(catalog, now)? {
        // Another node has written down what works.
        let path = Bootstrap::path(data_dir);
        return std::fs::remove_file(&path).map_err(|source| BootstrapError::File { path, source });
    }
    tracing::info!(file = %Bootstrap::path(data_dir).display(), "the server was set up; the file holds its credentials");
    Ok(())
}

/// Replaces every record by a seed, and writes the file of its first credentials.
pub(crate) fn plant(
    catalog: &Catalog,
    clock: &Clock,
    (data_dir, base_url): (&Path, &str),
    seed: &Seed,
) -> Result<Bootstrap, BootstrapError> {
    let now = clock.now();
    let (records, planted) = seed.grow(now)?;
    let bootstrap = of_planted(base_url, &planted);
    // The file comes first: the organization, which marks the end, comes last.
    write(data_dir, &bootstrap)?;
    records.store(catalog, now)?;
    Ok(bootstrap)
}

fn write(data_dir: &Path, bootstrap: &Bootstrap) -> Result<(), BootstrapError> {
    let path = Bootstrap::path(data_dir);
    let temporary = path.with_extension("json.tmp");
    let text = serde_json::to_string_pretty(bootstrap)
        .map_err(|source| BootstrapError::Malformed { path: path.clone(), source })?;
    let save = || -> std::io::Result<()> {
        let _ = std::fs::remove_file(&temporary);
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        std::fs::File::open(data_dir)?.sync_all()
    };
    save().map_err(|source| BootstrapError::File { path, source })
}
