//! The vault key: one secret from which every other key is derived, and those that it takes the place of.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;
use tidemark_model::{Secret, from_hex, random_bytes, to_hex};

use crate::layout::holds_objects;
use crate::store::{self, Location, LocationError, Patience, sync_parent};

/// The word that a key in a key file begins with.
const KEY_MARK: &str = "tidemark-vault-key-1";
/// The word before the secret of the names of chunks, once that of a key that is gone is kept.
const NAMES_MARK: &str = "tidemark-vault-names-1";
/// What a key that others are to know first is marked with.
const PREPARED: &str = "prepared";
const SALT: &[u8] = b"tidemark vault 1";
/// The number of a vault's first key.
const FIRST: u32 = 1;

/// The keys of a vault: one seals, and all open what is sealed.
#[derive(Clone)]
pub struct VaultKey {
    sealing: MasterKey,
    /// Older ones, and one that is prepared.
    others: Vec<MasterKey>,
    /// The key under which chunks are named: it stays the same, so that equal chunks stay equal.
    names: [u8; 32],
}

/// One secret of 32 bytes.
#[derive(Clone)]
struct MasterKey {
    /// Each new one has the next number.
    number: u32,
    bytes: [u8; 32],
    /// Whether it only opens for now, until all nodes know it.
    is_prepared: bool,
}

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
    #[error(
        "{path} is not a vault key file; it must hold `{KEY_MARK}` and 64 hex digits, and once keys were rotated what `tidemark keys rotate` wrote"
    )]
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

impl MasterKey {
    fn random(number: u32, is_prepared: bool) -> Self {
        Self { number, bytes: random_bytes(), is_prepared }
    }

    /// Reads what follows the mark in a line: the digits, and for all but the first its number.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let bytes = from_hex(words.next()?)?.try_into().ok()?;
        let number = words.next().map_or(Some(FIRST), |number| number.parse().ok())?;
        let is_prepared = match words.next() {
            None => false,
            Some(word) if word == PREPARED => true,
            Some(_) => return None,
        };
        words.next().is_none().then_some(Self { number, bytes, is_prepared })
    }

    /// A key for one purpose and one object, by HKDF-SHA-256 (RFC 5869).
    fn derive(&self, purpose: &str, object: &[u8]) -> [u8; 32] {
        derive(&self.bytes, purpose, object)
    }

    fn cipher(&self, purpose: &str, object: &[u8]) -> LessSafeKey {
        let key = self.derive(purpose, object);
        #[expect(clippy::expect_used, reason = "the only error is a key of another length")]
        let key = UnboundKey::new(&AES_256_GCM, &key).expect("32 bytes are an AES-256 key");
        LessSafeKey::new(key)
    }

    /// A secret for one purpose, as hex digits.
    fn secret_for(&self, purpose: &str) -> Secret {
        Secret::new(to_hex(&self.derive("secret", purpose.as_bytes())))
    }

    /// The line of a key file.
    fn line(&self) -> String {
        let digits = to_hex(&self.bytes);
        match (self.number, self.is_prepared) {
            (FIRST, false) => format!("{KEY_MARK} {digits}\n"),
            (number, false) => format!("{KEY_MARK} {digits} {number}\n"),
            (number, true) => format!("{KEY_MARK} {digits} {number} {PREPARED}\n"),
        }
    }
}

/// A key for one purpose and one object.
fn derive(master: &[u8; 32], purpose: &str, object: &[u8]) -> [u8; 32] {
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(master);
    let mut derived = [0; 32];
    let info = [purpose.as_bytes(), b"/", object];
    let filled =
        secret.expand(&info, hkdf::HKDF_SHA256).and_then(|material| material.fill(&mut derived));
    // HKDF gives up to 255 blocks; this is one. Nothing may be sealed with another key.
    #[expect(clippy::expect_used, reason = "one block is less than HKDF's limit")]
    filled.expect("one block of HKDF");
    derived
}

impl VaultKey {
    /// The first key of a vault, with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let first = MasterKey { number: FIRST, bytes, is_prepared: false };
        Self { names: first.derive("chunk names", b""), sealing: first, others: Vec::new() }
    }

    /// Whether both seal with the same key.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.sealing.bytes == other.sealing.bytes
    }

    /// Reads a key file.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| KeyError::File { path: path.to_owned(), source })?;
        Self::parse(&text).ok_or_else(|| KeyError::Malformed { path: path.to_owned() })
    }

    /// Reads what a key file holds; nothing if it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut keys, mut names) = (Vec::new(), None);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.split_once(' ')? {
                (KEY_MARK, rest) => keys.push(MasterKey::parse(rest)?),
                (NAMES_MARK, rest) if names.is_none() => {
                    names = Some(from_hex(rest)?.try_into().ok()?);
                }
                _ => return None,
            }
        }
        keys.sort_unstable_by_key(|key| std::cmp::Reverse(key.number));
        let is_twice = keys.windows(2).any(|pair| match pair {
            [one, other] => one.number == other.number,
            _ => false,
        });
        let at = keys.iter().position(|key| !key.is_prepared).filter(|_| !is_twice)?;
        let sealing = keys.remove(at);
        let first = std::iter::once(&sealing).chain(&keys).find(|key| key.number == FIRST);
        // Without the first key only what is written down tells the names of chunks.
        let names = names.or_else(|| first.map(|first| first.derive("chunk names", b"")))?;
        Some(Self { sealing, others: keys, names })
    }

    /// What a key file holds.
    pub fn to_text(&self) -> Secret {
        if self.others.is_empty() && self.sealing.number == FIRST {
            return Secret::new(self.sealing.line());
        }
        let names = format!("{NAMES_MARK} {}\n", to_hex(&self.names));
        let lines: String = self.all().map(MasterKey::line).chain([names]).collect();
        Secret::new(lines)
    }

    /// With a new key that seals: one that was prepared, or else a random one.
    #[must_use]
    pub fn rotated(&self) -> Self {
        let prepared = self.others.iter().position(|key| key.is_prepared);
        let mut others = self.others.clone();
        let new = match prepared {
            Some(at) => MasterKey { is_prepared: false, ..others.remove(at) },
            None => MasterKey::random(self.sealing.number + 1, false),
        };
        others.insert(0, self.sealing.clone());
        Self { sealing: new, others, names: self.names }
    }

    /// With a new key that opens only, until all nodes know it; one that is prepared already stays.
    #[must_use]
    pub fn prepared(&self) -> Self {
        let mut prepared = self.clone();
        if !self.is_prepared() {
            prepared.others.insert(0, MasterKey::random(self.sealing.number + 1, true));
        }
        prepared
    }

    /// Whether there is a key that is prepared.
    pub fn is_prepared(&self) -> bool {
        self.others.iter().any(|key| key.is_prepared)
    }

    /// Whether there are keys that are older than the one that seals.
    pub fn has_old(&self) -> bool {
        self.others.iter().any(|key| key.number < self.sealing.number)
    }

    /// Without the keys that are older than the one that seals.
    #[must_use]
    pub fn without_old(&self) -> Self {
        let mut kept = self.clone();
        kept.others.retain(|key| key.number > self.sealing.number);
        kept
    }

    /// Whether no key was ever rotated.
    pub(crate) fn is_first(&self) -> bool {
        self.number() == FIRST
    }

    /// The number of the key that seals; each new one has the next.
    pub fn number(&self) -> u32 {
        self.sealing.number
    }

    /// Seals with another one of the keys from now on.
    pub(crate) fn seal_with(&mut self, number: u32) {
        if let Some(at) = self.others.iter().position(|key| key.number == number) {
            let before = std::mem::replace(&mut self.sealing, self.others.remove(at));
            self.sealing.is_prepared = false;
            self.others.insert(0, before);
        }
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
        let key = Self::from_bytes(random_bytes());
        key.write_new(path)
            .and_then(|()| sync_parent(path))
            .map_err(|source| KeyError::File { path: path.to_owned(), source })?;
        Self::load(path)
    }

    /// Puts these keys into a key file, in place of what it held; a crash leaves the one or the other.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        let mark = u32::from_le_bytes(random_bytes());
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{mark:08x}.tmp"));
        let temporary = PathBuf::from(temporary);
        // Whoever may read it may read it afterwards as well.
        let take_over = || -> std::io::Result<()> {
            let before = match std::fs::metadata(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                before => before?,
            };
            std::os::unix::fs::chown(&temporary, Some(before.uid()), Some(before.gid()))?;
            std::fs::set_permissions(&temporary, before.permissions())
        };
        let written = self
            .write_new(&temporary)
            .and_then(|()| take_over())
            .and_then(|()| std::fs::rename(&temporary, path))
            .and_then(|()| sync_parent(path));
        written.map_err(|source| {
            let _ = std::fs::remove_file(&temporary);
            KeyError::File { path: path.to_owned(), source }
        })
    }

    fn write_new(&self, path: &Path) -> std::io::Result<()> {
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(self.to_text().expose().as_bytes())?;
        file.sync_all()
    }

    fn all(&self) -> impl Iterator<Item = &MasterKey> {
        std::iter::once(&self.sealing).chain(&self.others)
    }

    /// The cipher that seals one object.
    pub(crate) fn cipher(&self, purpose: &str, object: &[u8]) -> LessSafeKey {
        self.sealing.cipher(purpose, object)
    }

    /// The ciphers that may have sealed one object, each with the number of its key; the one that seals is
    /// the first.
    pub(crate) fn ciphers(
        &self,
        purpose: &str,
        object: &[u8],
    ) -> impl Iterator<Item = (u32, LessSafeKey)> {
        self.all().map(move |key| (key.number, key.cipher(purpose, object)))
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
        to_hex(&[nonce.as_slice(), &body].concat())
    }

    /// Decrypts a text of `seal_text`; nothing if it was changed, belongs to another object or was
    /// sealed with another key.
    pub fn open_text(&self, object: &str, sealed: &str) -> Option<Secret> {
        self.open_with_number(object, sealed).map(|(text, _)| text)
    }

    /// Whether a text opens, but not with the key that seals.
    pub fn is_text_old(&self, object: &str, sealed: &str) -> bool {
        self.open_with_number(object, sealed).is_some_and(|(_, number)| number != self.number())
    }

    fn open_with_number(&self, object: &str, sealed: &str) -> Option<(Secret, u32)> {
        let bytes = from_hex(sealed)?;
        let (nonce, body) = bytes.split_at_checked(12)?;
        let nonce: [u8; 12] = nonce.try_into().ok()?;
        self.ciphers(KEPT_TEXT, object.as_bytes()).find_map(|(number, cipher)| {
            let mut body = body.to_vec();
            let nonce = Nonce::assume_unique_for_key(nonce);
            let opened = cipher.open_in_place(nonce, Aad::from(object.as_bytes()), &mut body);
            Some((Secret::new(std::str::from_utf8(opened.ok()?).ok()?), number))
        })
    }

    /// The secrets for one purpose that everybody has who has the keys, as hex digits, each with the number
    /// of its key; that of the key that seals is the first.
    pub fn secrets_for(&self, purpose: &str) -> Vec<(u32, Secret)> {
        self.all().map(|key| (key.number, key.secret_for(purpose))).collect()
    }

    /// What tells one vault's keys from another's, and stays the same when they are rotated. Whoever sees it
    /// learns nothing else.
    pub fn mark(&self) -> String {
        let mut mark = to_hex(&derive(&self.names, "mark", b""));
        mark.truncate(8);
        mark
    }

    /// The key under which chunks are named.
    pub(crate) fn chunk_naming_key(&self) -> [u8; 32] {
        self.names
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
        assert!(made.is_same(&loaded));
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

    #[test]
    fn keys_are_rotated_without_other_names_of_chunks() {
        let first = VaultKey::from_bytes([7; 32]);
        let names = first.chunk_naming_key();
        let text = first.seal_text("one", &Secret::new("kept"));
        let reread = |key: &VaultKey| VaultKey::parse(key.to_text().expose()).unwrap();
        assert!(first.to_text().expose().lines().count() == 1 && !first.has_old());
        // Another node knows the next one before anybody seals with it.
        let prepared = reread(&reread(&first.prepared()).prepared());
        assert!(prepared.is_same(&first) && prepared.is_prepared() && !prepared.has_old());
        let rotated = reread(&prepared.rotated());
        assert!((rotated.number(), rotated.has_old(), rotated.is_prepared()) == (2, true, false));
        let new = rotated.seal_text("one", &Secret::new("new"));
        assert!(
            prepared.open_text("one", &new).is_some() && first.open_text("one", &new).is_none()
        );
        assert!(rotated.is_text_old("one", &text) && !rotated.is_text_old("one", &new));
        let mut follower = prepared;
        follower.seal_with(2);
        assert!(follower.is_same(&rotated) && follower.has_old());
        // Without the first key the names are written down.
        let last = reread(&rotated.without_old().rotated().without_old());
        assert_eq!((last.number(), last.chunk_naming_key(), last.mark()), (3, names, first.mark()));
        assert!(last.open_text("one", &text).is_none());
        let digits = "ab".repeat(32);
        for broken in [
            String::new(),
            format!("{KEY_MARK} {digits} 2"),
            format!("{KEY_MARK} {digits} 1 prepared"),
            format!("{KEY_MARK} {digits} 1 other"),
            format!("{KEY_MARK} {digits}\n{KEY_MARK} {digits} 1"),
            format!("{KEY_MARK} {}", "ab".repeat(31)),
            format!("{NAMES_MARK} {digits}"),
        ] {
            assert!(VaultKey::parse(&broken).is_none(), "{broken}");
        }
    }

    #[test]
    fn a_key_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.key");
        let key = VaultKey::load_or_create(&path, &folder.path().join("vault")).unwrap();
        key.rotated().save(&path).unwrap();
        assert!(VaultKey::load(&path).unwrap().has_old());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(key.save(&folder.path().join("missing/vault.key")).is_err());
    }
}
