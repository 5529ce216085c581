//! `bootstrap.json`: what a server's first start wrote into its data folder for its owner.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const FILE: &str = "bootstrap.json";

/// What a client needs; the only place where these secrets stand in clear.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bootstrap {
    /// The server's address.
    pub base_url: String,
    /// The first organization.
    pub org_id: String,
    /// The first project; empty if there is none.
    pub group_id: String,
    /// An API key.
    pub public_key: String,
    /// Its private part.
    pub private_key: String,
    /// A service account.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapFileError {
    /// It is not there, or not for this user.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("{path} is not what a first start writes: {source}")]
    Malformed {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl Bootstrap {
    /// Where it is in a data folder.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(FILE)
    }

    /// Reads the file that the first start wrote.
    pub fn load(data_dir: &Path) -> Result<Self, BootstrapFileError> {
        let path = Self::path(data_dir);
        let text = std::fs::read_to_string(&path)
            .map_err(|source| BootstrapFileError::Unreadable { path: path.clone(), source })?;
        serde_json::from_str(&text).map_err(|source| BootstrapFileError::Malformed { path, source })
    }
}
