//! Where a vault is, as people write it: a folder, or a bucket's address.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::object_lock::LockMode;

/// Where a vault is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder on a local disk.
    Folder(PathBuf),
    /// A part of a bucket.
    Bucket(Bucket),
}

/// A part of a bucket in an object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub(super) provider: Provider,
    pub(super) name: String,
    /// What the names of all objects begin with, without a `/` at its ends; may be empty.
    pub(super) prefix: String,
    pub(super) options: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Provider {
    S3,
    Google,
    Azure,
}

impl Provider {
    const ALL: [Self; 3] = [Self::S3, Self::Google, Self::Azure];

    fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }

    /// What may follow `?`.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::S3 => &["endpoint", "region", "profile", "pathStyle", "lock"],
            Self::Google => &["endpoint"],
            Self::Azure => &["endpoint", "account"],
        }
    }
}

/// Why a text names no place for a vault, or one that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    /// It begins with a scheme that is not offered.
    #[error(
        "`{0}` is no place for a vault; write a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
    )]
    Scheme(String),
    /// The bucket's name is missing or holds credentials.
    #[error(
        "`{0}` must be {1}://BUCKET/PREFIX; credentials belong into the environment or a profile"
    )]
    Name(String, &'static str),
    /// It has an option that is not known.
    #[error("`{0}` is no option of a vault in {1}://; there are {2}")]
    Option(String, &'static str, String),
    /// There is no such way to lock objects.
    #[error("`{0}` is no mode of object lock; there are compliance and governance")]
    Lock(String),
    /// What the environment or a profile says cannot be used.
    #[error("the vault's bucket cannot be used: {0}")]
    Unusable(String),
}

impl Location {
    /// Reads a folder's path, `file://PATH`, or `s3://`, `gs://`, `az://`, then the bucket, a prefix
    /// and options: `s3://backups/tidemark?endpoint=http://nas:9000&region=us-east-1`.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Folder(PathBuf::from(text)));
        };
        if scheme == "file" {
            return Ok(Self::Folder(PathBuf::from(rest)));
        }
        let provider = Provider::ALL.into_iter().find(|provider| provider.scheme() == scheme);
        let provider = provider.ok_or_else(|| LocationError::Scheme(text.to_owned()))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
        let is_name = !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        if !is_name {
            // What stands before an `@` may be a secret.
            let shown = text.rsplit_once('@').map_or(text, |(_, after)| after);
            return Err(LocationError::Name(shown.to_owned(), provider.scheme()));
        }
        let options = parse_options(provider, query)?;
        if let Some(mode) = options.get("lock").filter(|mode| LockMode::parse(mode).is_none()) {
            return Err(LocationError::Lock(mode.clone()));
        }
        Ok(Self::Bucket(Bucket {
            provider,
            name: name.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            options,
        }))
    }
}

fn parse_options(
    provider: Provider,
    query: &str,
) -> Result<BTreeMap<String, String>, LocationError> {
    let mut options = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !provider.options().contains(&name) {
            let known = provider.options().join(", ");
            return Err(LocationError::Option(name.to_owned(), provider.scheme(), known));
        }
        let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
        options.insert(name.to_owned(), value);
    }
    Ok(options)
}

impl Location {
    /// What tells this place from others: how it is reached does not count.
    pub fn identity(&self) -> String {
        match self {
            Self::Folder(_) => self.to_string(),
            Self::Bucket(bucket) => {
                let of = |option| bucket.option(option).unwrap_or_default();
                format!("{self} {} {}", of("endpoint"), of("account"))
            }
        }
    }

    /// Whether objects are to be locked by their store.
    pub fn has_lock(&self) -> bool {
        matches!(self, Self::Bucket(bucket) if bucket.lock().is_some())
    }
}

impl Bucket {
    /// How objects are to be locked by their store, if they are.
    pub(super) fn lock(&self) -> Option<LockMode> {
        LockMode::parse(self.option("lock")?)
    }

    pub(super) fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }
}

impl From<&Self> for Location {
    fn from(location: &Self) -> Self {
        location.clone()
    }
}

impl From<&Path> for Location {
    fn from(folder: &Path) -> Self {
        Self::Folder(folder.to_owned())
    }
}

impl From<&PathBuf> for Location {
    fn from(folder: &PathBuf) -> Self {
        Self::Folder(folder.clone())
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Bucket(Bucket { provider, name, prefix, .. }) if prefix.is_empty() => {
                write!(f, "{}://{name}", provider.scheme())
            }
            Self::Bucket(Bucket { provider, name, prefix, .. }) => {
                write!(f, "{}://{name}/{prefix}", provider.scheme())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_people_write_them() {
        for (text, shown) in [
            ("/var/vault", "/var/vault"),
            ("file:///var/vault", "/var/vault"),
            ("vault", "vault"),
            ("s3://b", "s3://b"),
            ("s3://b/", "s3://b"),
            ("gs://b/a/c/", "gs://b/a/c"),
            ("az://con-tainer/p?account=x", "az://con-tainer/p"),
            ("s3://b.c/p?endpoint=http%3A%2F%2Fh:1/x&region=eu&pathStyle=true", "s3://b.c/p"),
        ] {
            assert_eq!(Location::parse(text).unwrap().to_string(), shown);
        }
        let Location::Bucket(bucket) = Location::parse("s3://b?endpoint=http://h:1").unwrap()
        else {
            panic!()
        };
        assert_eq!(bucket.option("endpoint"), Some("http://h:1"));
    }

    #[test]
    fn what_is_no_place_is_told_without_secrets() {
        for text in ["sftp://h/p", "s3://", "s3:///p", "s3://key:secret@b/p", "s3://b?color=1"] {
            let told = Location::parse(text).unwrap_err().to_string();
            assert!(!told.contains("secret"), "{told}");
        }
    }
}
