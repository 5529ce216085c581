//! HTTP digest authentication exactly as the real service challenges.
//!
//! Source: RFC 7616 with MD5 and `qop=auth`. Only HA1 is stored, never the private key.

use md5::{Digest, Md5};

use crate::token::is_equal;

/// The realm of the real service; it is part of every stored HA1.
pub const REALM: &str = "MMS Public API";

fn md5_hex(text: &str) -> String {
    Md5::digest(text.as_bytes())
        .iter()
        .fold(String::new(), |out, byte| out + &format!("{byte:02x}"))
}

/// What is stored of a private key.
pub fn ha1(public_key: &str, private_key: &str) -> String {
    md5_hex(&format!("{public_key}:{REALM}:{private_key}"))
}

/// The challenge, with its directives in the recorded order.
pub(crate) fn challenge(nonce: &str, stale: bool) -> String {
    format!(
        r#"Digest realm="{REALM}", domain="", nonce="{nonce}", algorithm=MD5, qop="auth", stale={stale}"#
    )
}

/// The `Authorization` header of a client that answers a challenge; nothing if the challenge is not
/// one of ours. `cnonce` is random, `uri` the path with its query.
pub fn answer_challenge(
    challenge: &str,
    (public_key, private_key): (&str, &str),
    (method, uri): (&str, &str),
    cnonce: &str,
) -> Option<String> {
    let directives = directives(challenge.strip_prefix("Digest ")?);
    let find = |wanted: &str| {
        directives
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value)
    };
    let (realm, nonce) = (find("realm")?, find("nonce")?);
    let ha1 = md5_hex(&format!("{public_key}:{realm}:{private_key}"));
    let ha2 = md5_hex(&format!("{method}:{uri}"));
    let response = md5_hex(&format!("{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}"));
    Some(format!(
        r#"Digest username="{public_key}", realm="{realm}", nonce="{nonce}", uri="{uri}", algorithm=MD5, response="{response}", qop=auth, nc=00000001, cnonce="{cnonce}""#
    ))
}

/// What a client answers to a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    realm: String,
    pub(crate) nonce: String,
    pub(crate) uri: String,
    response: String,
    algorithm: String,
    qop: String,
    nc: String,
    cnonce: String,
}

impl Credentials {
    /// Reads an `Authorization` header after its `Digest `.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let mut credentials = Self::default();
        for (name, value) in directives(header) {
            match name.to_ascii_lowercase().as_str() {
                "username" => credentials.username = value,
                "realm" => credentials.realm = value,
                "nonce" => credentials.nonce = value,
                "uri" => credentials.uri = value,
                "response" => credentials.response = value,
                "algorithm" => credentials.algorithm = value,
                "qop" => credentials.qop = value,
                "nc" => credentials.nc = value,
                "cnonce" => credentials.cnonce = value,
                _ => {}
            }
        }
        let is_complete = !credentials.username.is_empty()
            && credentials.realm == REALM
            && credentials.qop == "auth"
            && matches!(credentials.algorithm.as_str(), "" | "MD5")
            && !credentials.cnonce.is_empty();
        is_complete.then_some(credentials)
    }

    /// How often the client has used the nonce.
    pub(crate) fn count(&self) -> Option<u32> {
        u32::from_str_radix(&self.nc, 16).ok()
    }

    /// Whether the response proves that the client knows the private key.
    pub(crate) fn proves(&self, ha1: &str, method: &str) -> bool {
        let ha2 = md5_hex(&format!("{method}:{}", self.uri));
        let expected = md5_hex(&format!(
            "{ha1}:{}:{}:{}:{}:{ha2}",
            self.nonce, self.nc, self.cnonce, self.qop
        ));
        is_equal(expected.as_bytes(), self.response.to_ascii_lowercase().as_bytes())
    }
}

/// Cuts `a="b, c", d=e` into its parts.
fn directives(header: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = header.trim();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.push((name.trim().to_owned(), value.trim().to_owned()));
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_the_recorded_one() {
        assert_eq!(
            challenge("NSAKm++K2BQJYzcgPMhbHV58yB2M3vCv", false),
            r#"Digest realm="MMS Public API", domain="", nonce="NSAKm++K2BQJYzcgPMhbHV58yB2M3vCv", algorithm=MD5, qop="auth", stale=false"#
        );
    }

    #[test]
    fn our_own_client_proves_itself() {
        let asked = ("POST", "/a?b=c");
        let header = answer_challenge(&challenge("n", false), ("public", "private"), asked, "c");
        let header = header.unwrap();
        let credentials = Credentials::parse(header.strip_prefix("Digest ").unwrap()).unwrap();
        assert!(credentials.proves(&ha1("public", "private"), "POST"));
        assert!(!credentials.proves(&ha1("public", "other"), "POST"));
        assert_eq!((credentials.nonce.as_str(), credentials.uri.as_str()), ("n", "/a?b=c"));
        for other in ["Bearer x", "Digest realm=\"r\"", ""] {
            assert_eq!(answer_challenge(other, ("public", "private"), asked, "c"), None);
        }
    }

    #[test]
    fn a_response_is_checked_whatever_the_spelling_of_the_header() {
        let ha1 = ha1("public", "private");
        let ha2 = md5_hex("GET:/a?b=c");
        let response = md5_hex(&format!("{ha1}:n:00000001:c:auth:{ha2}"));
        for header in [
            format!(
                r#"username="public", realm="MMS Public API", nonce="n", uri="/a?b=c", response="{response}", algorithm="MD5", qop=auth, nc=00000001, cnonce="c""#
            ),
            format!(
                r#"username="public",realm="MMS Public API",nonce="n",uri="/a?b=c",cnonce="c",nc=00000001,algorithm=MD5,response="{response}",qop="auth""#
            ),
        ] {
            let credentials = Credentials::parse(&header).unwrap();
            assert!(credentials.proves(&ha1, "GET"));
            assert!(!credentials.proves(&ha1, "POST"));
            assert_eq!(credentials.count(), Some(1));
        }
        assert_eq!(Credentials::parse("username=\"public\""), None);
        assert_eq!(Credentials::parse("===,,\"\""), None);
    }
}
