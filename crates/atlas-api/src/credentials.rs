//! Credentials as the real service makes and shows them.

use ring::digest;
use tidemark_catalog::NewSecret;
use tidemark_model::{Secret, SecretId, ServiceAccountId, random_bytes};

const CLIENT_ID_PREFIX: &str = "mdb_sa_id_";
const SECRET_PREFIX: &str = "mdb_sa_sk_";
/// Digits of a secret that stay visible when it is masked.
const VISIBLE_DIGITS: usize = 4;

/// The two halves of a new API key.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// Eight lower-case letters.
    pub public_key: String,
    /// A random UUID.
    pub private_key: Secret,
}

impl KeyPair {
    /// A new pair.
    pub fn new() -> Self {
        let public_key =
            random_bytes::<8>().iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        let text = Secret::random::<16>();
        let part = |from: usize, to: usize| text.expose().get(from..to).unwrap_or_default();
        let private_key = format!(
            "{}-{}-4{}-a{}-{}",
            part(0, 8),
            part(8, 12),
            part(13, 16),
            part(17, 20),
            part(20, 32)
        );
        Self { public_key, private_key: Secret::new(private_key) }
    }
}

impl Default for KeyPair {
    fn default() -> Self {
        Self::new()
    }
}

/// A private key as it is shown after its creation: of a UUID the last group is readable, of
/// another text nothing.
pub fn mask_private_key(private_key: &str) -> String {
    let end = match private_key.rsplit_once('-') {
        Some((rest, end)) if rest.len() == 23 && end.len() == 12 => end,
        _ => "************",
    };
    format!("********-****-****-{end}")
}

/// A new secret of a service account.
pub fn new_account_secret() -> Secret {
    Secret::new(format!("{SECRET_PREFIX}{}", Secret::random::<32>().expose()))
}

/// What is kept of a secret that is made now.
pub fn secret_record(
    secret: &Secret,
    created_at: jiff::Timestamp,
    lifetime: jiff::SignedDuration,
) -> NewSecret {
    NewSecret {
        id: SecretId::new(created_at),
        hash: hash_secret(secret.expose()),
        masked: mask_secret(secret.expose()),
        created_at,
        expires_at: created_at.saturating_add(lifetime).unwrap_or(created_at),
    }
}

fn mask_secret(secret: &str) -> String {
    let length = secret.chars().count();
    // Of a short text the end would be too much of it.
    let visible = if length < 4 * VISIBLE_DIGITS { 0 } else { VISIBLE_DIGITS };
    let end: String = secret.chars().skip(length - visible).collect();
    format!("{SECRET_PREFIX}...{end}")
}

/// The client id of a service account.
pub fn client_id_of(account: ServiceAccountId) -> String {
    format!("{CLIENT_ID_PREFIX}{account}")
}

/// The service account with a client id.
pub fn account_of(client_id: &str) -> Option<ServiceAccountId> {
    client_id.strip_prefix(CLIENT_ID_PREFIX)?.to_ascii_lowercase().parse().ok()
}

/// The hash under which a secret of a service account is kept: SHA-256 in hex.
///
/// These secrets are 256 random bits, so a slow hash would add nothing.
pub fn hash_secret(secret: &str) -> String {
    let hash = digest::digest(&digest::SHA256, secret.as_bytes());
    hash.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_have_the_recorded_forms() {
        let pair = KeyPair::new();
        assert_eq!(pair.public_key.len(), 8);
        let private_key = pair.private_key.expose();
        assert_eq!(private_key.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        let shown = mask_private_key("40395d07-a353-4881-853b-01bdd56c8977");
        assert_eq!(shown, "********-****-****-01bdd56c8977");
        assert_eq!(mask_private_key("not-a-uuid"), "********-****-****-************");
        let secret = new_account_secret();
        assert!(secret.expose().starts_with("mdb_sa_sk_"));
        assert_eq!(mask_secret("mdb_sa_sk_0123456789"), "mdb_sa_sk_...6789");
        assert_eq!(mask_secret("short"), "mdb_sa_sk_...");
        let id = ServiceAccountId::from_bytes([0xab; 12]);
        assert_eq!(account_of(&client_id_of(id)), Some(id));
        assert_eq!(account_of("mdb_sa_id_x"), None);
    }
}
