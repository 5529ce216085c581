//! Signed values: bearer tokens and nonces.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use ring::hmac;
use serde_json::{Value, json};
use tidemark_model::{Secret, SecretId, ServiceAccountId, random_bytes};

use crate::credentials::{account_of, client_id_of};

/// How long a token works.
pub(crate) const TOKEN_LIFETIME_SECONDS: i64 = 3_600;
/// How long a nonce works.
const NONCE_LIFETIME_SECONDS: i64 = 300;
const AUDIENCE: &str = "api://admin";

/// A valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) id: String,
    pub(crate) account: ServiceAccountId,
    /// The secret with which it was got; it ends with that.
    pub(crate) secret: SecretId,
    pub(crate) expires_at: Timestamp,
}

/// Whether a nonce may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nonce {
    /// Made here, and young enough.
    Fresh,
    /// Made here, but too old.
    Stale,
    /// Not made here.
    Foreign,
}

/// Signs and checks.
pub(crate) struct Signer {
    tokens: hmac::Key,
    nonces: hmac::Key,
    tickets: hmac::Key,
}

impl Signer {
    pub(crate) fn new(key: &Secret) -> Self {
        let derive = |purpose: &str| {
            hmac::Key::new(hmac::HMAC_SHA256, format!("{purpose}/{}", key.expose()).as_bytes())
        };
        Self {
            tokens: derive("tokens"),
            nonces: derive("nonces"),
            tickets: derive("download tickets"),
        }
    }

    /// The secret part of the link to what has this id.
    pub(crate) fn ticket(&self, id: &str) -> String {
        let signature = hmac::sign(&self.tickets, id.as_bytes());
        let bytes = signature.as_ref().iter().take(16);
        bytes.fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    /// A token for a service account, as a JSON web token with HMAC-SHA-256.
    pub(crate) fn issue_token(
        &self,
        (account, secret): (ServiceAccountId, SecretId),
        now: Timestamp,
    ) -> String {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "HS256", "typ": "JWT" }).to_string());
        let claims = json!({
            "iss": "tidemark",
            "aud": AUDIENCE,
            "sub": client_id_of(account),
            "iat": now.as_second(),
            "exp": now.as_second() + TOKEN_LIFETIME_SECONDS,
            "jti": Secret::random::<16>().expose(),
            "sid": secret.to_string(),
        });
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = hmac::sign(&self.tokens, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Checks a token's signature and time; whether it was revoked is asked elsewhere.
    pub(crate) fn check_token(&self, text: &str, now: Timestamp) -> Option<Token> {
        let (signed, signature) = text.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        hmac::verify(&self.tokens, signed.as_bytes(), &signature).ok()?;
        let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        let expires_at = Timestamp::from_second(claims.get("exp")?.as_i64()?).ok()?;
        let is_ours = claims.get("aud")?.as_str()? == AUDIENCE;
        (is_ours && expires_at > now).then_some(Token {
            id: claims.get("jti")?.as_str()?.to_owned(),
            account: account_of(claims.get("sub")?.as_str()?)?,
            secret: claims.get("sid")?.as_str()?.parse().ok()?,
            expires_at,
        })
    }

    /// A nonce: the second it was made, random bytes, and a signature; 24 bytes in base64.
    pub(crate) fn issue_nonce(&self, now: Timestamp) -> String {
        let seconds = u32::try_from(now.as_second()).unwrap_or(0);
        let mut bytes = seconds.to_be_bytes().to_vec();
        bytes.extend(random_bytes::<8>());
        let signature = hmac::sign(&self.nonces, &bytes);
        bytes.extend(signature.as_ref().iter().take(12));
        STANDARD.encode(bytes)
    }

    /// Checks a nonce of a server that started at one instant and is asked at another.
    pub(crate) fn check_nonce(
        &self,
        nonce: &str,
        (started_at, now): (Timestamp, Timestamp),
    ) -> Nonce {
        let Ok(bytes) = STANDARD.decode(nonce) else {
            return Nonce::Foreign;
        };
        let Some((content, signature)) = bytes.split_at_checked(12) else {
            return Nonce::Foreign;
        };
        let expected = hmac::sign(&self.nonces, content);
        let expected = expected.as_ref().get(..12).unwrap_or_default();
        if signature.len() != 12 || !is_equal(signature, expected) {
            return Nonce::Foreign;
        }
        let made =
            content.first_chunk::<4>().map_or(0, |bytes| i64::from(u32::from_be_bytes(*bytes)));
        let is_young = now.as_second() - made <= NONCE_LIFETIME_SECONDS;
        // Which nonces were used before the start is not known any more.
        if is_young && made >= started_at.as_second() { Nonce::Fresh } else { Nonce::Stale }
    }

    /// When a nonce that is used now need not be remembered any more.
    pub(crate) fn nonce_end(now: Timestamp) -> Timestamp {
        Timestamp::from_second(now.as_second() + NONCE_LIFETIME_SECONDS + 1).unwrap_or(now)
    }
}

/// Compares without telling by the time it takes where the first difference is.
pub(crate) fn is_equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn tokens_end_and_cannot_be_forged() {
        let signer = Signer::new(&Secret::new("key"));
        let account = ServiceAccountId::from_bytes([5; 12]);
        let token = signer.issue_token((account, SecretId::new(at(1_000))), at(1_000));
        assert_eq!(signer.check_token(&token, at(1_001)).unwrap().account, account);
        assert_eq!(signer.check_token(&token, at(1_000 + TOKEN_LIFETIME_SECONDS)), None);
        assert_eq!(Signer::new(&Secret::new("other")).check_token(&token, at(1_001)), None);
        assert_eq!(signer.check_token("a.b.c", at(1_001)), None);
    }

    #[test]
    fn nonces_have_the_recorded_form_and_grow_old() {
        let signer = Signer::new(&Secret::new("key"));
        let nonce = signer.issue_nonce(at(1_000));
        assert_eq!(nonce.len(), 32);
        assert_eq!(signer.check_nonce(&nonce, (at(900), at(1_010))), Nonce::Fresh);
        assert_eq!(signer.check_nonce(&nonce, (at(900), at(2_000))), Nonce::Stale);
        assert_eq!(signer.check_nonce(&nonce, (at(1_001), at(1_010))), Nonce::Stale);
        assert_eq!(signer.check_nonce("AAAA", (at(900), at(1_010))), Nonce::Foreign);
        assert_eq!(
            Signer::new(&Secret::new("other")).check_nonce(&nonce, (at(900), at(1_010))),
            Nonce::Foreign
        );
    }
}
