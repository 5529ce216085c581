//! `~/.config/tidemark/config.toml`: which servers this user knows, for its owner only.
//!
//! ```toml
//! default = "home"
//!
//! [profiles.home]
//! server = "http://127.0.0.1:8080"
//! project = "6a17…"
//! public_key = "…"
//! private_key = "…"
//! ```
//!
//! A service account has `client_id` and `client_secret` instead; `ca_file` names certificates to trust.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::CliError;

/// The variable that names another file.
pub(crate) const FILE_VARIABLE: &str = "TIDEMARK_CLI_CONFIG";
/// The name that a first profile gets.
pub(crate) const FIRST: &str = "default";

/// All profiles of a user.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profiles {
    /// The one that is used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) default: Option<String>,
    #[serde(default)]
    pub(crate) profiles: BTreeMap<String, Profile>,
}

/// A server, and as whom it is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    pub(crate) server: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) public_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) private_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// Where the file is.
pub(crate) fn path() -> Result<PathBuf, CliError> {
    if let Some(path) = std::env::var_os(FILE_VARIABLE) {
        return Ok(path.into());
    }
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let folder = set("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| Path::new(&home).join(".config")));
    let folder = folder.ok_or_else(|| {
        CliError::failed("there is no home folder to keep profiles in")
            .hint(format!("set $HOME, or ${FILE_VARIABLE} to a file"))
    })?;
    Ok(folder.join("tidemark").join("config.toml"))
}

impl Profiles {
    /// Reads the file; without one there are none.
    pub(crate) fn load(path: &Path) -> Result<Self, CliError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(CliError::failed(format!(
                    "{} cannot be read: {error}",
                    path.display()
                )));
            }
        };
        toml::from_str(&text).map_err(|error| {
            let what = error.message();
            CliError::usage(format!("{} cannot be used: {what}", path.display()))
                .hint("mend it, or remove it and `tidemark login` again")
        })
    }

    /// Writes the file: whole or not at all, for its owner only.
    pub(crate) fn save(&self, path: &Path) -> Result<(), CliError> {
        let failed = |error: &dyn std::fmt::Display| {
            CliError::failed(format!("{} cannot be written: {error}", path.display()))
        };
        let text = toml::to_string_pretty(self).map_err(|error| failed(&error))?;
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let write = || -> std::io::Result<()> {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let _ = std::fs::remove_file(&temporary);
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)
        };
        write().map_err(|error| failed(&error))
    }

    /// The profile that is meant: the named one, or the one that is used when none is named.
    pub(crate) fn find(&self, name: Option<&str>) -> Result<Option<&Profile>, CliError> {
        let Some(name) = name.or(self.default.as_deref()) else { return Ok(None) };
        let known = || self.profiles.keys().cloned().collect::<Vec<_>>().join(", ");
        let found = self.profiles.get(name).ok_or_else(|| {
            let error = CliError::usage(format!("there is no profile {name}"));
            if self.profiles.is_empty() {
                error.hint(format!("make it with `tidemark login --profile {name}`"))
            } else {
                error.hint(format!("there are: {}", known()))
            }
        })?;
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_saved_is_found_again_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/config.toml");
        let profile = Profile {
            server: "http://one:8080".into(),
            public_key: Some("pub".into()),
            private_key: Some("priv".into()),
            ..Profile::default()
        };
        let mut profiles = Profiles { default: Some("one".into()), ..Profiles::default() };
        profiles.profiles.insert("one".into(), profile.clone());
        profiles.save(&path).unwrap();
        let loaded = Profiles::load(&path).unwrap();
        assert_eq!(loaded.find(None).unwrap(), Some(&profile));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let error = loaded.find(Some("two")).unwrap_err();
        assert_eq!(error.exit(), crate::error::Exit::Usage);
        assert!(Profiles::load(&folder.path().join("none")).unwrap().find(None).unwrap().is_none());
    }

    #[test]
    fn a_file_with_an_unknown_key_is_refused_without_showing_its_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, "[profiles.a]\nserver = \"x\"\nprivate_kee = \"geheim\"\n").unwrap();
        let error = Profiles::load(&path).unwrap_err().to_string();
        assert!(error.contains("private_kee") && !error.contains("geheim"), "{error}");
    }
}
