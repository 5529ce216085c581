//! Who makes a request.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use tidemark_catalog::CatalogError;
use tidemark_model::Caller;

use crate::api::Api;
use crate::digest_auth::{Credentials, challenge};
use crate::token::{Nonce, Signer};

/// Why a request is not authenticated.
#[derive(Debug)]
pub(crate) enum AuthError {
    /// No credentials, or wrong ones; the challenge to answer.
    Challenge(String),
    /// The records could not be read.
    Catalog(CatalogError),
}

impl From<CatalogError> for AuthError {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(error)
    }
}

/// How many used nonces are remembered before old ones are looked for.
const NONCES_BEFORE_CLEANING: usize = 10_000;

impl Api {
    /// Finds out who makes a request.
    pub(crate) fn authenticate(
        &self,
        method: &str,
        target: &str,
        headers: &HeaderMap,
    ) -> Result<Caller, AuthError> {
        let header =
            headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match header.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                self.by_token(token.trim())
            }
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("digest") => {
                self.by_digest(rest, method, target)
            }
            _ => Err(self.challenge(false)),
        }
    }

    fn challenge(&self, stale: bool) -> AuthError {
        AuthError::Challenge(challenge(&self.signer.issue_nonce(self.clock.now()), stale))
    }

    fn by_token(&self, token: &str) -> Result<Caller, AuthError> {
        let token = self
            .signer
            .check_token(token, self.clock.now())
            .ok_or_else(|| self.challenge(false))?;
        if self.catalog.is_revoked(&token.id)? {
            return Err(self.challenge(false));
        }
        let account = self.catalog.find_service_account(token.account)?;
        let account = account.ok_or_else(|| self.challenge(false))?;
        Ok(Caller { org: account.org, roles: account.roles })
    }

    fn by_digest(&self, header: &str, method: &str, target: &str) -> Result<Caller, AuthError> {
        let credentials = Credentials::parse(header).ok_or_else(|| self.challenge(false))?;
        let key = self.catalog.find_api_key(&credentials.username)?;
        let key = key.ok_or_else(|| self.challenge(false))?;
        if credentials.uri != target || !credentials.proves(&key.ha1, method) {
            return Err(self.challenge(false));
        }
        match self.signer.check_nonce(&credentials.nonce, self.clock.now()) {
            Nonce::Foreign => Err(self.challenge(false)),
            Nonce::Stale => Err(self.challenge(true)),
            // A repeated request may be a replay: the client has to prove itself once more.
            Nonce::Fresh if !self.use_nonce(&credentials) => Err(self.challenge(true)),
            Nonce::Fresh => Ok(Caller { org: key.org, roles: key.roles }),
        }
    }

    /// Remembers that a nonce was used with this counter; `false` if it was before.
    fn use_nonce(&self, credentials: &Credentials) -> bool {
        let Some(count) = credentials.count() else {
            return false;
        };
        let now = self.clock.now();
        let mut used = self.used_nonces.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Looked through whenever it would have to grow, which is ever more seldom.
        if used.len() >= NONCES_BEFORE_CLEANING && used.len() == used.capacity() {
            used.retain(|_, end| *end > now);
        }
        used.insert((credentials.nonce.clone(), count), Signer::nonce_end(now)).is_none()
    }
}
