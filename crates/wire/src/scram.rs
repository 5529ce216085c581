//! SCRAM-SHA-256, both sides of the conversation.
//!
//! Source: RFC 5802 and RFC 7677, and the authentication specification of the MongoDB drivers.
//! Passwords are taken as they are: SASLprep leaves every ASCII password unchanged.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

/// Rounds of PBKDF2 for new credentials, MongoDB's own default.
pub const SCRAM_ITERATIONS: u32 = 15_000;
/// Fewer rounds than this are refused by drivers, and by our own client.
const FEWEST_ITERATIONS: u32 = 4_096;
const KEY_BYTES: usize = digest::SHA256_OUTPUT_LEN;
/// No channel binding, in base64.
const NO_CHANNEL_BINDING: &str = "biws";

/// Why a conversation ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// The other side does not follow the protocol.
    #[error("the SCRAM message is malformed: {0}")]
    Malformed(&'static str),
    /// The proof is wrong.
    #[error("authentication failed")]
    WrongProof,
}

/// What a server keeps of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramCredential {
    /// Random bytes, different for each user.
    pub salt: Vec<u8>,
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// The hash of the client's key: checks a proof.
    pub stored_key: [u8; KEY_BYTES],
    /// The server's key: proves the server.
    pub server_key: [u8; KEY_BYTES],
}

impl std::fmt::Debug for ScramCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScramCredential")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

impl ScramCredential {
    /// Derives a credential from a password.
    pub fn derive(password: &str, salt: Vec<u8>, iterations: u32) -> Self {
        let salted = salted_password(password, &salt, iterations);
        Self {
            stored_key: sha256(&hmac_sha256(&salted, b"Client Key")),
            server_key: hmac_sha256(&salted, b"Server Key"),
            salt,
            iterations,
        }
    }
}

fn salted_password(password: &str, salt: &[u8], iterations: u32) -> [u8; KEY_BYTES] {
    let mut salted = [0; KEY_BYTES];
    let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, password.as_bytes(), &mut salted);
    salted
}

fn sha256(bytes: &[u8]) -> [u8; KEY_BYTES] {
    let mut out = [0; KEY_BYTES];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

fn hmac_sha256(key: &[u8], bytes: &[u8]) -> [u8; KEY_BYTES] {
    let mut out = [0; KEY_BYTES];
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    out.copy_from_slice(hmac::sign(&key, bytes).as_ref());
    out
}

fn xor(left: [u8; KEY_BYTES], right: &[u8]) -> [u8; KEY_BYTES] {
    let mut out = left;
    out.iter_mut().zip(right).for_each(|(byte, other)| *byte ^= other);
    out
}

/// Compares without telling by the time it takes where the first difference is.
fn is_equal(left: &[u8; KEY_BYTES], right: &[u8; KEY_BYTES]) -> bool {
    left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// Takes the value of the attribute `name` out of `a=…,b=…`.
fn attribute<'a>(message: &'a str, name: &str) -> Result<&'a str, ScramError> {
    message
        .split(',')
        .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        .ok_or(ScramError::Malformed("an attribute is missing"))
}

fn text(payload: &[u8]) -> Result<&str, ScramError> {
    std::str::from_utf8(payload).map_err(|_| ScramError::Malformed("it is not UTF-8"))
}

/// The user name in a client's first message.
pub fn user_of_first_message(payload: &[u8]) -> Result<String, ScramError> {
    let name = attribute(text(payload)?, "n")?;
    Ok(name.replace("=2C", ",").replace("=3D", "="))
}

/// The server's side, after the client's first message.
#[derive(Debug)]
pub struct ScramServer {
    credential: ScramCredential,
    nonce: String,
    /// Client-first-bare and server-first, joined by a comma.
    conversation: String,
}

impl ScramServer {
    /// Answers the client's first message with `credential` of the named user.
    ///
    /// `nonce` is fresh printable randomness without commas.
    pub fn start(
        payload: &[u8],
        credential: ScramCredential,
        nonce: &str,
    ) -> Result<(Self, Vec<u8>), ScramError> {
        let first = text(payload)?;
        let bare = first
            .strip_prefix("n,,")
            .ok_or(ScramError::Malformed("channel binding and authorization names are not used"))?;
        let nonce = format!("{}{nonce}", attribute(bare, "r")?);
        let salt = BASE64.encode(&credential.salt);
        let reply = format!("r={nonce},s={salt},i={}", credential.iterations);
        let conversation = format!("{bare},{reply}");
        Ok((Self { credential, nonce, conversation }, reply.into_bytes()))
    }

    /// Checks the client's proof and proves the server.
    pub fn finish(&self, payload: &[u8]) -> Result<Vec<u8>, ScramError> {
        let message = text(payload)?;
        let (without_proof, proof) =
            message.rsplit_once(",p=").ok_or(ScramError::Malformed("the proof is missing"))?;
        if attribute(without_proof, "c")? != NO_CHANNEL_BINDING {
            return Err(ScramError::Malformed("channel binding is not supported"));
        }
        if attribute(without_proof, "r")? != self.nonce {
            return Err(ScramError::WrongProof);
        }
        let proof =
            BASE64.decode(proof).map_err(|_| ScramError::Malformed("the proof is not base64"))?;
        let auth_message = format!("{},{without_proof}", self.conversation);
        let signature = hmac_sha256(&self.credential.stored_key, auth_message.as_bytes());
        if proof.len() != KEY_BYTES {
            return Err(ScramError::WrongProof);
        }
        let client_key = xor(signature, &proof);
        if !is_equal(&sha256(&client_key), &self.credential.stored_key) {
            return Err(ScramError::WrongProof);
        }
        let server = hmac_sha256(&self.credential.server_key, auth_message.as_bytes());
        Ok(format!("v={}", BASE64.encode(server)).into_bytes())
    }
}

/// The client's side.
#[derive(Debug)]
pub struct ScramClient {
    bare: String,
    nonce: String,
}

impl ScramClient {
    /// Starts a conversation; `nonce` is fresh printable randomness without commas.
    pub fn start(user: &str, nonce: &str) -> (Self, Vec<u8>) {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={user},r={nonce}");
        let first = format!("n,,{bare}").into_bytes();
        (Self { bare, nonce: nonce.to_owned() }, first)
    }

    /// Answers the server's first message with a proof; the second value is what the server
    /// must send at the end.
    pub fn answer(
        &self,
        password: &str,
        server_first: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), ScramError> {
        let server_first = text(server_first)?;
        let nonce = attribute(server_first, "r")?;
        if !nonce.starts_with(&self.nonce) {
            return Err(ScramError::Malformed("the server changed our nonce"));
        }
        let salt = BASE64
            .decode(attribute(server_first, "s")?)
            .map_err(|_| ScramError::Malformed("the salt is not base64"))?;
        let iterations = attribute(server_first, "i")?
            .parse()
            .ok()
            .filter(|iterations| *iterations >= FEWEST_ITERATIONS)
            .ok_or(ScramError::Malformed("too few iterations"))?;
        let credential = ScramCredential::derive(password, salt.clone(), iterations);
        let client_key = hmac_sha256(&salted_password(password, &salt, iterations), b"Client Key");
        let without_proof = format!("c={NO_CHANNEL_BINDING},r={nonce}");
        let auth_message = format!("{},{server_first},{without_proof}", self.bare);
        let signature = hmac_sha256(&credential.stored_key, auth_message.as_bytes());
        let proof = BASE64.encode(xor(client_key, &signature));
        let server = hmac_sha256(&credential.server_key, auth_message.as_bytes());
        Ok((
            format!("{without_proof},p={proof}").into_bytes(),
            format!("v={}", BASE64.encode(server)).into_bytes(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example conversation of RFC 7677.
    #[test]
    fn the_conversation_of_rfc_7677_is_reproduced() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let credential = ScramCredential::derive("pencil", salt, 4096);
        let first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
        let (server, reply) =
            ScramServer::start(first, credential, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0").unwrap();
        assert_eq!(
            reply,
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let (client, client_first) = ScramClient::start("user", "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(client_first, first);
        let (proof, expected) = client.answer("pencil", &reply).unwrap();
        assert!(proof.ends_with(b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
        assert_eq!(server.finish(&proof).unwrap(), expected);
        assert_eq!(expected, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn a_wrong_password_is_refused() {
        let credential = ScramCredential::derive("right", vec![1; 28], 4096);
        let (client, first) = ScramClient::start("a,b=c", "abc");
        assert_eq!(user_of_first_message(&first).unwrap(), "a,b=c");
        let (server, reply) = ScramServer::start(&first, credential, "def").unwrap();
        let (proof, _) = client.answer("wrong", &reply).unwrap();
        assert_eq!(server.finish(&proof), Err(ScramError::WrongProof));
        assert!(server.finish(b"c=biws,r=abcdef,p=").is_err());
    }
}
