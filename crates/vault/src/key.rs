//! The vault key: one secret from which every other key is derived.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;
use tidemark_model::{Secret, random_bytes};

use crate::layout::holds_objects;
use crate::store::{self, Location, LocationError, Patience, sync_parent};

/// The word that a key file begins with.
const KEY_FILE_MARK: &str = "tidemark-vault-key-1";
const SALT: &[u8] = b"tidemark vault 1";

/// The master key of a vault.
#[derive(Clone)]
pub struct VaultKey([u8; 32]);

/// What a key is for that encrypts a text outside of the vault.
const KEPT_TEXT: &str = "kept text";

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
    /// It cannot be seen whether there is a vault.
    #[error("the vault in {vault} cannot be read: {source}")]
    Vault {
        /// The vault's place.
        vault: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The place of the vault cannot be used.
    #[error("{0}")]
    Location(#[from] LocationError),
    /// There is a vault, but not its key.
    #[error(
        "the vault in {vault} exists, but its key file {path} does not; nothing was changed. Copy the key file back, or name it with --vault-key-file; a new key cannot open this vault"
    )]
    Lost {
        /// The key file.
        path: PathBuf,
        /// The vault's folder.
        vault: PathBuf,
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

    /// Whether it is the same key.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Reads a key file.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| KeyError::File { path: path.to_owned(), source })?;
        Self::parse(&text).ok_or_else(|| KeyError::Malformed { path: path.to_owned() })
    }

    /// Reads what a key file holds; nothing if it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let (mark, digits) = text.trim().split_once(' ')?;
        if mark != KEY_FILE_MARK || digits.len() != 64 {
            return None;
        }
        let mut key = [0; 32];
        for (byte, pair) in key.iter_mut().zip(digits.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(key))
    }

    /// Reads a key file, or makes it with a new random key, readable by its owner only.
    ///
    /// Where the vault in `vault` has objects already, their key is lost and nothing is made.
    pub fn load_or_create(path: &Path, vault: impl Into<Location>) -> Result<Self, KeyError> {
        let vault = vault.into();
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            _ => return Self::load(path),
        }
        let shown = PathBuf::from(vault.to_string());
        let found = holds_objects(store::open(&vault, Patience::FIRST)?.as_ref());
        if found.map_err(|source| KeyError::Vault { vault: shown.clone(), source })? {
            return Err(KeyError::Lost { path: path.to_owned(), vault: shown });
        }
        let key = Secret::random::<32>();
        let write = || -> std::io::Result<()> {
            let mut file =
                std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            writeln!(file, "{KEY_FILE_MARK} {}", key.expose())?;
            file.sync_all()?;
            sync_parent(path)
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
        // HKDF gives up to 255 blocks; this is one. Nothing may be sealed with another key.
        #[expect(clippy::expect_used, reason = "one block is less than HKDF's limit")]
        filled.expect("one block of HKDF");
        derived
    }

    /// The cipher for one object.
    pub(crate) fn cipher(&self, purpose: &str, object: &[u8]) -> LessSafeKey {
        let key = self.derive(purpose, object);
        #[expect(clippy::expect_used, reason = "the only error is a key of another length")]
        let key = UnboundKey::new(&AES_256_GCM, &key).expect("32 bytes are an AES-256 key");
        LessSafeKey::new(key)
    }

    /// Encrypts a text that belongs to an object and is kept outside of the vault, for `open_text`.
    ///
    /// # Panics
    ///
    /// For a text above 64 GiB.
    pub fn seal_text(&self, object: &str, text: &Secret) -> String {
        let nonce = random_bytes::<12>();
        let mut body = text.expose().as_bytes().to_vec();
        #[expect(clippy::expect_used, reason = "sealing fails only beyond 64 GiB")]
        self.cipher(KEPT_TEXT, object.as_bytes())
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(object.as_bytes()),
                &mut body,
            )
            .expect("a text below 64 GiB");
        let sealed = [nonce.as_slice(), &body].concat();
        sealed.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    /// Decrypts a text of `seal_text`; nothing if it was changed, belongs to another object or was
    /// sealed with another key.
    pub fn open_text(&self, object: &str, sealed: &str) -> Option<Secret> {
        let bytes: Option<Vec<u8>> = (0..sealed.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(sealed.get(at..at + 2)?, 16).ok())
            .collect();
        let bytes = bytes?;
        let (nonce, body) = bytes.split_at_checked(12)?;
        let nonce = Nonce::assume_unique_for_key(nonce.try_into().ok()?);
        let mut body = body.to_vec();
        let cipher = self.cipher(KEPT_TEXT, object.as_bytes());
        let opened = cipher.open_in_place(nonce, Aad::from(object.as_bytes()), &mut body).ok()?;
        Some(Secret::new(std::str::from_utf8(opened).ok()?))
    }

    /// A secret for one purpose that everybody has who has the key, as hex digits.
    pub fn secret_for(&self, purpose: &str) -> Secret {
        let derived = self.derive("secret", purpose.as_bytes());
        Secret::new(derived.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
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
    fn a_text_opens_only_for_its_object_and_with_its_key() {
        let key = VaultKey::from_bytes([7; 32]);
        let sealed = key.seal_text("one", &Secret::new("mongodb://u:p@h"));
        assert!(!sealed.contains("mongodb"));
        assert_ne!(sealed, key.seal_text("one", &Secret::new("mongodb://u:p@h")));
        let opened = |key: &VaultKey, object: &str, sealed: &str| {
            key.open_text(object, sealed).map(|text| text.expose().to_owned())
        };
        assert_eq!(opened(&key, "one", &sealed).as_deref(), Some("mongodb://u:p@h"));
        assert_eq!(opened(&key, "two", &sealed), None);
        assert_eq!(opened(&VaultKey::from_bytes([8; 32]), "one", &sealed), None);
        for broken in ["", "00", "zz", &sealed[2..], &sealed[..sealed.len() - 2], "é"] {
            assert_eq!(opened(&key, "one", broken), None, "{broken}");
        }
    }

    #[test]
    fn a_key_file_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.key");
        let vault = folder.path().join("vault");
        let made = VaultKey::load_or_create(&path, &vault).unwrap();
        let loaded = VaultKey::load_or_create(&path, &vault).unwrap();
        assert_eq!(made.0, loaded.0);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "something else").unwrap();
        assert!(matches!(VaultKey::load(&path), Err(KeyError::Malformed { .. })));
    }

    #[test]
    fn a_lost_key_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, root) = (folder.path().join("vault.key"), folder.path().join("vault"));
        let key = VaultKey::load_or_create(&path, &root).unwrap();
        drop(crate::Vault::open(&root, key).unwrap());
        let saved = folder.path().join("saved");
        std::fs::rename(&path, &saved).unwrap();
        let lost = VaultKey::load_or_create(&path, &root).unwrap_err();
        assert!(lost.to_string().contains("vault.key"), "{lost}");
        assert!(!path.exists());
        // And a vault without its configuration is not made anew with whatever key is given.
        std::fs::remove_file(root.join("config")).unwrap();
        std::fs::create_dir_all(root.join("packs")).unwrap();
        std::fs::write(root.join("packs/0123"), "x").unwrap();
        let refused = crate::Vault::open(&root, VaultKey::load(&saved).unwrap());
        assert!(matches!(refused, Err(crate::VaultError::NoConfiguration { .. })));
        assert!(!root.join("config").exists());
    }
}
