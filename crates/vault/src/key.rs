//! The vault key: one secret from which every other key is derived.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use ring::hkdf;
use tidemark_model::{Secret, random_bytes};

/// The word that a key file begins with.
const KEY_FILE_MARK: &str = "tidemark-vault-key-1";
const SALT: &[u8] = b"tidemark vault 1";

/// The master key of a vault.
#[derive(Clone)]
pub struct VaultKey([u8; 32]);

/// Why there is no usable key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("the vault key file {path} cannot be used: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{path} is not a vault key file; it must hold `{KEY_FILE_MARK}` and 64 hex digits")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

impl std::fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VaultKey(…)")
    }
}

impl VaultKey {
    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads a key file.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| KeyError::File { path: path.to_owned(), source })?;
        let malformed = || KeyError::Malformed { path: path.to_owned() };
        let (mark, digits) = text.trim().split_once(' ').ok_or_else(malformed)?;
        if mark != KEY_FILE_MARK || digits.len() != 64 {
            return Err(malformed());
        }
        let mut key = [0; 32];
        for (byte, pair) in key.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| malformed())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| malformed())?;
        }
        Ok(Self(key))
    }

    /// Reads a key file, or makes it with a new random key, readable by its owner only.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        if path.exists() {
            return Self::load(path);
        }
        let key = Secret::random::<32>();
        let write = || -> std::io::Result<()> {
            let mut file =
                std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            writeln!(file, "{KEY_FILE_MARK} {}", key.expose())?;
            file.sync_all()?;
            crate::folder::sync_parent(path)
        };
        write().map_err(|source| KeyError::File { path: path.to_owned(), source })?;
        Self::load(path)
    }

    /// A key for one purpose and one object, by HKDF-SHA-256 (RFC 5869).
    fn derive(&self, purpose: &str, object: &[u8]) -> [u8; 32] {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(&self.0);
        let mut derived = [0; 32];
        let info = [purpose.as_bytes(), b"/", object];
        let filled = secret
            .expand(&info, hkdf::HKDF_SHA256)
            .and_then(|material| material.fill(&mut derived));
        // HKDF gives up to 255 blocks; this is one. If it ever failed, a random key would make
        // the object unreadable rather than weakly sealed.
        if filled.is_err() { random_bytes() } else { derived }
    }

    /// The cipher for one object.
    pub(crate) fn cipher(&self, purpose: &str, object: &[u8]) -> LessSafeKey {
        let key = self.derive(purpose, object);
        #[expect(clippy::expect_used, reason = "the only error is a key of another length")]
        let key = UnboundKey::new(&AES_256_GCM, &key).expect("32 bytes are an AES-256 key");
        LessSafeKey::new(key)
    }

    /// The key under which chunks are named.
    pub(crate) fn chunk_naming_key(&self) -> [u8; 32] {
        self.derive("chunk names", b"")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.key");
        let made = VaultKey::load_or_create(&path).unwrap();
        let loaded = VaultKey::load_or_create(&path).unwrap();
        assert_eq!(made.0, loaded.0);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "something else").unwrap();
        assert!(matches!(VaultKey::load(&path), Err(KeyError::Malformed { .. })));
    }
}
