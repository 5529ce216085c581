//! The first start: an organization, a project, an API key, a service account.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use tidemark_atlas_api::{client_id_of, ha1, hash_secret};
use tidemark_catalog::{ApiKey, Catalog, CatalogError, NewSecret, Org, Project, ServiceAccount};
use tidemark_model::{
    ApiKeyId, Clock, OrgId, ProjectId, Role, Roles, Secret, ServiceAccountId, random_bytes,
};

/// How long the first secret of the service account works.
const SECRET_LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
const FILE: &str = "bootstrap.json";

/// What a client needs; the only place where these secrets stand in clear.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bootstrap {
    pub(crate) base_url: String,
    pub(crate) org_id: String,
    pub(crate) group_id: String,
    pub(crate) public_key: String,
    pub(crate) private_key: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
}

/// Why the first start failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootstrapError {
    #[error("{path} cannot be written or read: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{path} is not what a first start writes: {source}")]
    Malformed { path: PathBuf, source: serde_json::Error },
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Reads the file that the first start wrote.
pub(crate) fn load(data_dir: &Path) -> Result<Bootstrap, BootstrapError> {
    let path = data_dir.join(FILE);
    let text = std::fs::read_to_string(&path)
        .map_err(|source| BootstrapError::File { path: path.clone(), source })?;
    serde_json::from_str(&text).map_err(|source| BootstrapError::Malformed { path, source })
}

/// Sets an empty server up; later only keeps the address in the file true.
pub(crate) fn run(
    catalog: &Catalog,
    clock: &Clock,
    data_dir: &Path,
    base_url: &str,
) -> Result<(), BootstrapError> {
    if catalog.find_first_org()?.is_some() {
        return match load(data_dir) {
            Ok(bootstrap) if bootstrap.base_url != base_url => {
                write(data_dir, &Bootstrap { base_url: base_url.to_owned(), ..bootstrap })
            }
            // Whoever removed the file has put the secrets elsewhere.
            _ => Ok(()),
        };
    }
    let now = clock.now();
    let org = Org { id: OrgId::new(now), name: "Tidemark".to_owned(), created_at: now };
    let project = Project {
        id: ProjectId::new(now),
        org: org.id,
        name: "Project 0".to_owned(),
        created_at: now,
        tags: Vec::new(),
    };
    let owner = Roles { org: vec![Role::OrgOwner], projects: Vec::new() };
    let (public_key, private_key) = (new_public_key(), new_private_key());
    let key = ApiKey {
        id: ApiKeyId::new(now),
        org: org.id,
        ha1: ha1(&public_key, &private_key),
        masked_private_key: mask(&private_key),
        public_key: public_key.clone(),
        description: "First API key".to_owned(),
        roles: owner.clone(),
    };
    let account = ServiceAccount {
        id: ServiceAccountId::new(now),
        org: org.id,
        name: "first-service-account".to_owned(),
        description: "First service account".to_owned(),
        roles: owner,
    };
    let client_secret = format!("mdb_sa_sk_{}", Secret::random::<32>().expose());
    let bootstrap = Bootstrap {
        base_url: base_url.to_owned(),
        org_id: org.id.to_string(),
        group_id: project.id.to_string(),
        public_key,
        private_key,
        client_id: client_id_of(account.id),
        client_secret: client_secret.clone(),
    };
    // The file comes first: the organization, which marks the end, comes last.
    write(data_dir, &bootstrap)?;
    let expires_at = now.saturating_add(SECRET_LIFETIME).unwrap_or(now);
    let hash = hash_secret(&client_secret);
    let secret = NewSecret { hash: &hash, created_at: now, expires_at };
    catalog.set_up(&org, &project, (&key, &account), &secret)?;
    tracing::info!(file = %data_dir.join(FILE).display(), "the server was set up; the file holds its credentials");
    Ok(())
}

fn write(data_dir: &Path, bootstrap: &Bootstrap) -> Result<(), BootstrapError> {
    let path = data_dir.join(FILE);
    let temporary = data_dir.join(format!("{FILE}.tmp"));
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

/// Eight lower-case letters, as the real service makes them.
fn new_public_key() -> String {
    random_bytes::<8>().iter().map(|byte| char::from(b'a' + byte % 26)).collect()
}

/// A random UUID.
fn new_private_key() -> String {
    let text = Secret::random::<16>();
    let digits = text.expose();
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    format!("{}-{}-4{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

fn mask(private_key: &str) -> String {
    let end = private_key.rsplit('-').next().unwrap_or_default();
    format!("********-****-****-{end}")
}
