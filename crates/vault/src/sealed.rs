//! Small objects, encrypted as a whole: the configuration, manifests, oplog segments, checks.
//!
//! `magic (8) ‖ kind (1) ‖ object id (16) ‖ AES-256-GCM ciphertext`. Every object has a key of
//! its own, derived from its kind and id, so the nonce is constant. The header and the object's
//! name in the vault are authenticated: one that is copied to another name does not open.

use ring::aead::{Aad, Nonce};
use tidemark_model::random_bytes;

use crate::key::VaultKey;

const MAGIC: &[u8; 8] = b"TMSEAL02";
/// What objects of the first release began with; they were not bound to their names.
const FIRST_MAGIC: &[u8; 8] = b"TMSEAL01";
const HEADER_BYTES: usize = 25;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Configuration = 1,
    Manifest = 2,
    Segment = 3,
    Checks = 4,
    Draft = 5,
    Index = 6,
    Writer = 7,
    Removal = 8,
    FilePart = 9,
    FileEnd = 10,
    Keeping = 11,
}

/// Why bytes are not the object that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealError {
    /// Too short, or something else.
    #[error("it is not a sealed object of this format")]
    Format,
    /// The first release wrote it.
    #[error("it has the format of the first release")]
    FirstFormat,
    /// Changed since it was written, moved, or sealed with another key.
    #[error(
        "it was changed since it was written, belongs at another place, or to another vault key"
    )]
    Tampered,
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Seals an object that will have this name.
pub(crate) fn seal(key: &VaultKey, (kind, name): (Kind, &str), plaintext: &[u8]) -> Vec<u8> {
    let id = random_bytes::<16>();
    let mut out = Vec::with_capacity(HEADER_BYTES + plaintext.len() + 16);
    out.extend_from_slice(MAGIC);
    out.push(kind as u8);
    out.extend_from_slice(&id);
    let cipher = key.cipher("object", out.get(8..).unwrap_or_default());
    let associated = [out.as_slice(), name.as_bytes()].concat();
    let mut body = plaintext.to_vec();
    #[expect(clippy::expect_used, reason = "sealing fails only beyond 64 GiB")]
    cipher
        .seal_in_place_append_tag(nonce(), Aad::from(&associated), &mut body)
        .expect("an object below 64 GiB");
    out.extend_from_slice(&body);
    out
}

/// Opens an object that has this name.
pub(crate) fn open(
    key: &VaultKey,
    place: (Kind, &str),
    sealed: &[u8],
) -> Result<Vec<u8>, SealError> {
    open_with_number(key, place, sealed).map(|(body, _)| body)
}

/// The same, with the number of the key that sealed it.
pub(crate) fn open_with_number(
    key: &VaultKey,
    (kind, name): (Kind, &str),
    sealed: &[u8],
) -> Result<(Vec<u8>, u32), SealError> {
    let (header, body) = sealed.split_at_checked(HEADER_BYTES).ok_or(SealError::Format)?;
    if header.starts_with(FIRST_MAGIC) {
        return Err(SealError::FirstFormat);
    }
    if !header.starts_with(MAGIC) || header.get(8) != Some(&(kind as u8)) {
        return Err(SealError::Format);
    }
    let associated = [header, name.as_bytes()].concat();
    for (number, cipher) in key.ciphers("object", header.get(8..).unwrap_or_default()) {
        let mut body = body.to_vec();
        let opened = cipher.open_in_place(nonce(), Aad::from(&associated), &mut body);
        if let Ok(length) = opened.map(|opened| opened.len()) {
            body.truncate(length);
            return Ok((body, number));
        }
    }
    Err(SealError::Tampered)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: (Kind, &str) = (Kind::Manifest, "snapshots/one");

    #[test]
    fn every_flipped_byte_is_found() {
        let key = VaultKey::from_bytes([7; 32]);
        let sealed = seal(&key, PLACE, b"content");
        assert_eq!(open(&key, PLACE, &sealed).unwrap(), b"content");
        for position in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[position] ^= 1;
            assert!(open(&key, PLACE, &damaged).is_err(), "byte {position}");
        }
        assert_eq!(open(&key, (Kind::Segment, PLACE.1), &sealed), Err(SealError::Format));
        assert!(open(&VaultKey::from_bytes([8; 32]), PLACE, &sealed).is_err());
    }

    #[test]
    fn an_object_of_another_place_does_not_open() {
        let key = VaultKey::from_bytes([7; 32]);
        let sealed = seal(&key, (Kind::Segment, "oplog/one/a-b"), b"content");
        let there = open(&key, (Kind::Segment, "oplog/two/a-b"), &sealed);
        assert_eq!(there, Err(SealError::Tampered));
    }
}
